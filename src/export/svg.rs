//! A drawn screen as SVG: exact, without a display.

use std::fmt::Write;

use ratatui::{
    buffer::{Buffer, Cell},
    layout::Position,
    style::{Color, Modifier},
};
use unicode_width::UnicodeWidthStr;

use super::{
    color::{Page, rgb},
    markup::escape,
};

/// Size of a cell, and how far its text's baseline is below its top.
const WIDTH: f32 = 8.4;
const HEIGHT: f32 = 18.0;
const BASELINE: f32 = 13.5;
const FONT: &str = "'JetBrains Mono', 'DejaVu Sans Mono', 'Cascadia Mono', Menlo, Consolas, monospace";
/// Space around the screen.
const MARGIN: f32 = 12.0;

/// What neighbouring cells must share to be drawn in one go.
#[derive(Clone, Copy, PartialEq)]
struct Look {
    fg: [u8; 3],
    bg: Option<[u8; 3]>,
    modifiers: Modifier,
}

/// The picture of a screen; `cursor` is where text entry is.
pub fn svg(buffer: &Buffer, cursor: Option<Position>, page: Page, title: &str) -> String {
    let area = buffer.area;
    let width = f32::from(area.width) * WIDTH + 2.0 * MARGIN;
    let height = f32::from(area.height) * HEIGHT + 2.0 * MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.1}\" height=\"{height:.1}\" viewBox=\"0 0 {width:.1} {height:.1}\" role=\"img\">\n\
         <title>{}</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{}\"/>\n\
         <g font-family=\"{FONT}\" font-size=\"14\" xml:space=\"preserve\">\n",
        escape(title),
        hex(page.background),
    );
    for y in area.top()..area.bottom() {
        let top = MARGIN + f32::from(y - area.top()) * HEIGHT;
        let runs = runs(buffer, y, page);
        for run in &runs {
            if let Some(bg) = run.look.bg {
                let (x, w) = (run.x(), f32::from(run.cells) * WIDTH);
                let _ = writeln!(
                    out,
                    "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{w:.1}\" height=\"{HEIGHT:.1}\" fill=\"{}\"/>",
                    hex(bg)
                );
            }
        }
        for run in runs.iter().filter(|r| !r.text.trim().is_empty()) {
            push_run(&mut out, run, top);
        }
    }
    if let Some(at) = cursor.filter(|&at| area.contains(at)) {
        let (x, y) = (MARGIN + f32::from(at.x - area.left()) * WIDTH, MARGIN + f32::from(at.y - area.top()) * HEIGHT);
        let _ = writeln!(
            out,
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"2\" height=\"{:.1}\" fill=\"{}\"/>",
            y + 1.0,
            HEIGHT - 2.0,
            hex(page.text)
        );
    }
    out.push_str("</g>\n</svg>\n");
    out
}

/// Cells of one look in a row.
struct Run {
    column: u16,
    cells: u16,
    text: String,
    look: Look,
}

impl Run {
    fn x(&self) -> f32 {
        MARGIN + f32::from(self.column) * WIDTH
    }
}

fn runs(buffer: &Buffer, y: u16, page: Page) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut x = buffer.area.left();
    while x < buffer.area.right() {
        let cell = &buffer[(x, y)];
        let symbol = cell.symbol();
        let cells = (symbol.width() as u16).max(1);
        let look = look(cell, page);
        // Fonts draw wide and unusual characters at widths of their own: each gets a place of its own.
        let alone = cells > 1 || symbol.chars().any(|c| !is_exact(c));
        match runs.last_mut() {
            Some(run) if run.look == look && !alone && run.text.chars().all(is_exact) => {
                run.text.push_str(symbol);
                run.cells += cells;
            }
            _ => runs.push(Run { column: x - buffer.area.left(), cells, text: symbol.to_owned(), look }),
        }
        x += cells;
    }
    runs
}

/// Characters that monospaced fonts agree on.
fn is_exact(c: char) -> bool {
    c.is_ascii() || ('\u{a0}'..='\u{24f}').contains(&c)
}

fn push_run(out: &mut String, run: &Run, top: f32) {
    let text = run.text.trim_end();
    let lead = text.len() - text.trim_start().len();
    let (x, text) = (run.x() + lead as f32 * WIDTH, text.trim_start());
    if push_shape(out, text, x, top, run.look) {
        return;
    }
    let length = text.width() as f32 * WIDTH;
    let modifiers = run.look.modifiers;
    let _ = write!(
        out,
        "<text x=\"{x:.1}\" y=\"{:.1}\" textLength=\"{length:.1}\" lengthAdjust=\"spacingAndGlyphs\" fill=\"{}\"",
        top + BASELINE,
        hex(run.look.fg)
    );
    for (modifier, attribute) in [
        (Modifier::BOLD, " font-weight=\"bold\""),
        (Modifier::ITALIC, " font-style=\"italic\""),
        (Modifier::UNDERLINED, " text-decoration=\"underline\""),
    ] {
        if modifiers.contains(modifier) {
            out.push_str(attribute);
        }
    }
    let _ = writeln!(out, ">{}</text>", escape(text));
}

/// Blocks, braille and lines as shapes: fonts leave gaps between them, or lack them.
fn push_shape(out: &mut String, text: &str, x: f32, top: f32, look: Look) -> bool {
    let mut characters = text.chars();
    let (Some(c), None) = (characters.next(), characters.next()) else { return false };
    let fill = hex(look.fg);
    let mut rect = |x0: f32, y0: f32, w: f32, h: f32| {
        let _ = writeln!(
            out,
            "<rect x=\"{:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{:.2}\" fill=\"{fill}\"/>",
            x + x0 * WIDTH,
            top + y0 * HEIGHT,
            w * WIDTH,
            h * HEIGHT
        );
    };
    match c as u32 {
        eighths @ 0x2581..=0x2588 => {
            let h = (eighths - 0x2580) as f32 / 8.0;
            rect(0.0, 1.0 - h, 1.0, h);
        }
        eighths @ 0x2589..=0x258f => rect(0.0, 0.0, (0x2590 - eighths) as f32 / 8.0, 1.0),
        dots @ 0x2800..=0x28ff => {
            // Bits of a braille character by row: left column, right column.
            const BITS: [[u32; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
            for (row, bits) in BITS.iter().enumerate() {
                for (column, bit) in bits.iter().enumerate() {
                    if (dots - 0x2800) & bit != 0 {
                        rect(0.14 + 0.5 * column as f32, 0.07 + 0.25 * row as f32, 0.24, 0.12);
                    }
                }
            }
        }
        _ => return push_line(out, c, x, top, &fill),
    }
    true
}

/// Box drawing, as strokes from the middle of the cell to its sides.
fn push_line(out: &mut String, c: char, x: f32, top: f32, fill: &str) -> bool {
    let (w, h) = (WIDTH, HEIGHT);
    let (mx, my) = (w / 2.0, h / 2.0);
    let heavy = matches!(c, '━' | '┃' | '╋');
    let path = match c {
        '─' | '━' => format!("M0 {my}H{w}"),
        '│' | '┃' => format!("M{mx} 0V{h}"),
        '╭' => format!("M{mx} {h}Q{mx} {my} {w} {my}"),
        '╮' => format!("M{mx} {h}Q{mx} {my} 0 {my}"),
        '╰' => format!("M{mx} 0Q{mx} {my} {w} {my}"),
        '╯' => format!("M{mx} 0Q{mx} {my} 0 {my}"),
        '├' => format!("M{mx} 0V{h}M{mx} {my}H{w}"),
        '┤' => format!("M{mx} 0V{h}M0 {my}H{mx}"),
        '┴' => format!("M0 {my}H{w}M{mx} 0V{my}"),
        '┬' => format!("M0 {my}H{w}M{mx} {my}V{h}"),
        '┼' | '╋' => format!("M0 {my}H{w}M{mx} 0V{h}"),
        '╌' | '╍' => format!("M0.5 {my}h2.6m2 0h2.6"),
        _ => return false,
    };
    let stroke = if heavy { 2.2 } else { 1.1 };
    let _ = writeln!(
        out,
        "<path transform=\"translate({x:.1} {top:.1})\" d=\"{path}\" fill=\"none\" stroke=\"{fill}\" stroke-width=\"{stroke}\"/>"
    );
    true
}

fn look(cell: &Cell, page: Page) -> Look {
    let color = |c: Color| rgb(c);
    let (mut fg, mut bg) = (color(cell.fg).unwrap_or(page.text), color(cell.bg));
    if cell.modifier.contains(Modifier::REVERSED) {
        (fg, bg) = (bg.unwrap_or(page.background), Some(fg));
    }
    if cell.modifier.contains(Modifier::DIM) {
        let behind = bg.unwrap_or(page.background);
        fg = std::array::from_fn(|i| ((u16::from(fg[i]) * 3 + u16::from(behind[i]) * 2) / 5) as u8);
    }
    Look { fg, bg, modifiers: cell.modifier & (Modifier::BOLD | Modifier::ITALIC | Modifier::UNDERLINED) }
}

fn hex([r, g, b]: [u8; 3]) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

#[cfg(test)]
mod tests {
    use ratatui::style::Style;

    use super::*;

    const PAGE: Page = Page { text: [200; 3], background: [0; 3] };

    #[test]
    fn text_is_escaped() {
        let mut buffer = Buffer::with_lines(["<a & \"b\">"]);
        let picture = svg(&buffer, None, PAGE, "<&>");
        assert!(picture.contains("&lt;a &amp; &quot;b&quot;&gt;</text>"), "{picture}");
        assert!(picture.contains("<title>&lt;&amp;&gt;</title>"));
        buffer[(0, 0)].set_symbol("\u{1b}");
        assert!(!svg(&buffer, None, PAGE, "").contains('\u{1b}'));
    }

    #[test]
    fn every_run_has_its_exact_place() {
        let mut buffer = Buffer::with_lines(["ab cd"]);
        buffer.set_style(
            ratatui::layout::Rect::new(3, 0, 2, 1),
            Style::new().fg(Color::Rgb(1, 2, 3)).bg(Color::Rgb(4, 5, 6)),
        );
        let picture = svg(&buffer, Some(Position::new(1, 0)), PAGE, "");
        assert!(picture.contains(&format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" textLength=\"{:.1}\"",
            MARGIN + 3.0 * WIDTH,
            MARGIN + BASELINE,
            2.0 * WIDTH
        )));
        assert!(picture.contains("fill=\"#040506\""));
    }

    #[test]
    fn blocks_and_braille_are_shapes() {
        let picture = svg(&Buffer::with_lines(["▄⣿╭"]), None, PAGE, "");
        assert!(!picture.contains("<text"), "{picture}");
        assert_eq!(picture.matches("<rect").count(), 1 + 1 + 8);
    }
}
