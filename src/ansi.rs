//! Frames as escape sequences: what differs from the frame before, in few bytes. Over a slow link every byte is waited for.

use std::fmt::Write;

use ratatui::{
    buffer::{Buffer, Cell},
    layout::Position,
    style::{Color, Modifier},
};
use unicode_width::UnicodeWidthStr;

/// Blank cells from which on erasing is shorter than writing them.
const ERASE: usize = 7;

/// What is on the screen, and where and how the terminal would write next.
#[derive(Default)]
pub struct Painter {
    last: Option<Buffer>,
    pen: Pen,
    /// Where the cursor is, as far as that is known.
    at: Option<(u16, u16)>,
    /// The cursor is seen.
    seen: Option<bool>,
}

/// Colours and modifiers of the next character.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pen {
    fg: Color,
    bg: Color,
    modifier: Modifier,
}

impl Pen {
    /// What to write a cell with after this: the colour of a blank is not seen.
    fn for_cell(self, cell: &Cell) -> Self {
        let pen = Self { fg: cell.fg, bg: cell.bg, modifier: cell.modifier };
        let seen = (cell.modifier | self.modifier).intersects(SHOWN_ON_BLANK);
        if cell.symbol() == " " && !seen { Self { bg: cell.bg, ..self } } else { pen }
    }

    /// Whether it erases to the terminal's own background.
    fn is_plain(self) -> bool {
        self.bg == Color::Reset && !self.modifier.intersects(SHOWN_ON_BLANK)
    }
}

/// Neighbouring cells of a row that differ and have one colour.
struct Run {
    y: usize,
    start: usize,
    end: usize,
    pen: Pen,
    /// They are blank, and erased instead of written.
    erase: Option<Erase>,
}

#[derive(Clone, Copy, PartialEq)]
enum Erase {
    Cells,
    ToEnd,
}

/// What differs in a row whose characters all take one cell.
fn find_runs(runs: &mut Vec<Run>, before: &[Cell], after: &[Cell], y: usize) {
    let differs = |x: &usize| !looks_the_same(&before[*x], &after[*x]);
    let mut pen = runs.last().map(|run| run.pen).unwrap_or_default();
    let mut x = 0;
    while let Some(start) = (x..after.len()).find(differs) {
        let blank = after[start..].iter().take_while(|cell| is_blank(cell)).count();
        let to_end = start + blank == after.len();
        // Of the blanks, those behind the last one that differs are blank already.
        let blank = (start..start + blank).rev().find(differs).map_or(0, |last| last + 1 - start);
        if blank > ERASE || to_end && blank > 3 {
            pen = if pen.is_plain() { pen } else { Pen::default() };
            let erase = Some(if to_end { Erase::ToEnd } else { Erase::Cells });
            runs.push(Run { y, start, end: start + blank, pen, erase });
            x = start + blank;
            continue;
        }
        pen = pen.for_cell(&after[start]);
        x = start + 1;
        match runs.last_mut() {
            Some(run) if run.y == y && run.end == start && run.pen == pen && run.erase.is_none() => run.end = x,
            _ => runs.push(Run { y, start, end: x, pen, erase: None }),
        }
    }
}

/// Modifiers that show on a blank.
const SHOWN_ON_BLANK: Modifier = Modifier::REVERSED.union(Modifier::UNDERLINED).union(Modifier::CROSSED_OUT);

/// Modifiers and the parameters that set and clear them.
const MODIFIERS: [(Modifier, &str, &str); 6] = [
    (Modifier::BOLD, "1", "22"),
    (Modifier::DIM, "2", "22"),
    (Modifier::ITALIC, "3", "23"),
    (Modifier::UNDERLINED, "4", "24"),
    (Modifier::REVERSED, "7", "27"),
    (Modifier::CROSSED_OUT, "9", "29"),
];

impl Painter {
    /// Nothing is known of the screen any more: the next frame clears it.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// What makes the frame before this one; empty where they look the same.
    pub fn frame(&mut self, next: &Buffer, cursor: Option<Position>) -> String {
        let mut out = String::new();
        let last = match self.last.take() {
            Some(last) if last.area == next.area => last,
            _ => {
                self.forget();
                out.push_str("\x1b[m\x1b[2J");
                Buffer::empty(next.area)
            }
        };
        let width = usize::from(next.area.width).max(1);
        let mut runs = Vec::new();
        for (y, (before, after)) in last.content.chunks(width).zip(next.content.chunks(width)).enumerate() {
            match before.iter().chain(after).all(is_simple) {
                true => find_runs(&mut runs, before, after, y),
                // Half a wide character is never left over: rows with such are painted whole.
                false if before != after => self.whole_row(&mut out, after, y as u16),
                false => {}
            }
        }
        // A colour is long to say and a place is short: what has the same colour is written together, wherever it is.
        let mut pens = vec![self.pen];
        for run in &runs {
            if !pens.contains(&run.pen) {
                pens.push(run.pen);
            }
        }
        for pen in pens {
            for run in runs.iter().filter(|run| run.pen == pen) {
                self.run(&mut out, run, &next.content[run.y * width..][..width]);
            }
        }
        self.point(&mut out, cursor);
        self.last = Some(next.clone());
        out
    }

    /// Show the cursor where text entry is, or hide it.
    fn point(&mut self, out: &mut String, cursor: Option<Position>) {
        if let Some(Position { x, y }) = cursor
            && self.at != Some((x, y))
        {
            self.go(out, x, y, &[]);
        }
        if self.seen != Some(cursor.is_some()) {
            out.push_str(if cursor.is_some() { "\x1b[?25h" } else { "\x1b[?25l" });
            self.seen = Some(cursor.is_some());
        }
    }

    /// Cells that differ, in one colour.
    fn run(&mut self, out: &mut String, run: &Run, row: &[Cell]) {
        self.pick_up(out, run.pen);
        self.go(out, run.start as u16, run.y as u16, row);
        match run.erase {
            Some(Erase::Cells) => *out += &format!("\x1b[{}X", run.end - run.start),
            Some(Erase::ToEnd) => *out += "\x1b[K",
            None => row[run.start..run.end].iter().for_each(|cell| self.put(out, cell, row.len())),
        }
    }

    fn whole_row(&mut self, out: &mut String, after: &[Cell], y: u16) {
        let mut x = 0;
        while let Some(cell) = after.get(x) {
            self.go(out, x as u16, y, &[]);
            self.pick_up(out, self.pen.for_cell(cell));
            self.put(out, cell, after.len());
            x += cell.symbol().width().max(1);
            if !is_simple(cell) {
                // Terminals disagree on how wide it is.
                self.at = None;
            }
        }
    }

    /// Write one character.
    fn put(&mut self, out: &mut String, cell: &Cell, width: usize) {
        out.push_str(cell.symbol());
        // Behind the last column terminals disagree on where the cursor is.
        self.at = self.at.map(|(x, y)| (x + 1, y)).filter(|(x, _)| usize::from(*x) < width);
    }

    /// Move the cursor: over what is there anyway where writing it again is shortest.
    fn go(&mut self, out: &mut String, x: u16, y: u16, row: &[Cell]) {
        let Some(from) = self.at.filter(|(at, line)| *line == y && *at <= x).map(|(at, _)| at) else {
            let _ = match self.at {
                Some((at, line)) if at == x && line + 1 == y => write!(out, "\x1b[B"),
                Some((at, line)) if at == x && line < y => write!(out, "\x1b[{}B", y - line),
                Some((_, line)) if line == y => write!(out, "\x1b[{}G", x + 1),
                _ if x == 0 => write!(out, "\x1b[{}H", y + 1),
                _ => write!(out, "\x1b[{};{}H", y + 1, x + 1),
            };
            self.at = Some((x, y));
            return;
        };
        let jump = match x - from {
            0 => String::new(),
            1 => "\x1b[C".into(),
            n => format!("\x1b[{n}C"),
        };
        let between = row.get(usize::from(from)..usize::from(x)).unwrap_or_default();
        let same_pen = between.iter().all(|cell| self.pen.for_cell(cell) == self.pen);
        let written: usize = between.iter().map(|cell| cell.symbol().len()).sum();
        if !between.is_empty() && same_pen && written <= jump.len() {
            between.iter().for_each(|cell| out.push_str(cell.symbol()));
        } else {
            out.push_str(&jump);
        }
        self.at = Some((x, y));
    }

    /// Change colours and modifiers, in the shorter of two ways: what differs, or all from the beginning.
    fn pick_up(&mut self, out: &mut String, pen: Pen) {
        let before = std::mem::replace(&mut self.pen, pen);
        if before == pen {
            return;
        }
        let mut change = Vec::new();
        let gone = before.modifier - pen.modifier;
        let mut come = pen.modifier - before.modifier;
        if gone.intersects(Modifier::BOLD | Modifier::DIM) {
            // One parameter clears both.
            come |= pen.modifier & (Modifier::BOLD | Modifier::DIM);
        }
        for (modifier, _, clear) in MODIFIERS {
            if gone.contains(modifier) && !change.iter().any(|c| c == clear) {
                change.push(clear.to_owned());
            }
        }
        push_modifiers(&mut change, come);
        if before.fg != pen.fg {
            change.push(color(pen.fg, 30));
        }
        if before.bg != pen.bg {
            change.push(color(pen.bg, 40));
        }
        let mut anew = vec![String::new()];
        push_modifiers(&mut anew, pen.modifier);
        anew.extend((pen.fg != Color::Reset).then(|| color(pen.fg, 30)));
        anew.extend((pen.bg != Color::Reset).then(|| color(pen.bg, 40)));
        let (change, anew) = (change.join(";"), anew.join(";"));
        let _ = write!(out, "\x1b[{}m", if change.len() < anew.len() { change } else { anew });
    }
}

fn push_modifiers(parameters: &mut Vec<String>, modifier: Modifier) {
    parameters.extend(MODIFIERS.iter().filter(|(m, ..)| modifier.contains(*m)).map(|(_, set, _)| (*set).to_owned()));
}

/// One character in one cell, whose width no terminal doubts.
fn is_simple(cell: &Cell) -> bool {
    let mut characters = cell.symbol().chars();
    let one = characters.next().is_some() && characters.next().is_none();
    one && (cell.symbol().is_ascii() || cell.symbol().width() == 1)
}

fn is_blank(cell: &Cell) -> bool {
    cell.symbol() == " " && cell.bg == Color::Reset && !cell.modifier.intersects(SHOWN_ON_BLANK)
}

fn looks_the_same(a: &Cell, b: &Cell) -> bool {
    let blanks = a.symbol() == " " && b.symbol() == " ";
    let plain = !(a.modifier | b.modifier).intersects(SHOWN_ON_BLANK);
    if blanks && plain {
        return a.bg == b.bg;
    }
    a.symbol() == b.symbol() && a.fg == b.fg && a.bg == b.bg && a.modifier == b.modifier
}

/// Parameters of a colour; `base` is 30 for text, 40 for the background.
fn color(color: Color, base: u8) -> String {
    let ansi = match color {
        Color::Reset => 9,
        Color::Rgb(r, g, b) => return format!("{};2;{r};{g};{b}", base + 8),
        Color::Indexed(i) => return format!("{};5;{i}", base + 8),
        Color::Black => 0,
        Color::Red => 1,
        Color::Green => 2,
        Color::Yellow => 3,
        Color::Blue => 4,
        Color::Magenta => 5,
        Color::Cyan => 6,
        Color::Gray => 7,
        Color::DarkGray => 60,
        Color::LightRed => 61,
        Color::LightGreen => 62,
        Color::LightYellow => 63,
        Color::LightBlue => 64,
        Color::LightMagenta => 65,
        Color::LightCyan => 66,
        Color::White => 67,
    };
    (base + ansi).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ratatui::{layout::Rect, style::Style};

    use super::*;

    const SIZE: (u16, u16) = (24, 4);

    /// The screen of a terminal that was sent frames is the last frame.
    fn check(frames: &[Buffer]) {
        let mut painter = Painter::default();
        let mut terminal = vt100::Parser::new(SIZE.1, SIZE.0, 0);
        for frame in frames {
            terminal.process(painter.frame(frame, None).as_bytes());
            for y in 0..SIZE.1 {
                let mut x = 0;
                while x < SIZE.0 {
                    let (cell, shown) = (&frame[(x, y)], terminal.screen().cell(y, x).unwrap());
                    let contents = if shown.contents().is_empty() { " " } else { shown.contents() };
                    assert_eq!(contents, cell.symbol(), "{x},{y}");
                    assert_eq!(shown.bgcolor(), vt(cell.bg), "{x},{y}");
                    let blank = cell.symbol() == " " && !cell.modifier.intersects(SHOWN_ON_BLANK);
                    if !blank {
                        assert_eq!(shown.fgcolor(), vt(cell.fg), "{x},{y}");
                        let [bold, dim] = [Modifier::BOLD, Modifier::DIM].map(|m| cell.modifier.contains(m));
                        // This terminal knows one of the two at a time.
                        match bold && dim {
                            true => assert!(shown.bold() || shown.dim(), "{x},{y}"),
                            false => assert_eq!((shown.bold(), shown.dim()), (bold, dim), "{x},{y}"),
                        }
                    }
                    assert_eq!(shown.underline(), cell.modifier.contains(Modifier::UNDERLINED), "{x},{y}");
                    assert_eq!(shown.inverse(), cell.modifier.contains(Modifier::REVERSED), "{x},{y}");
                    x += cell.symbol().width().max(1) as u16;
                }
            }
            assert_eq!(painter.frame(frame, None), "", "nothing differs, nothing is sent");
        }
    }

    fn vt(color: Color) -> vt100::Color {
        match color {
            Color::Rgb(r, g, b) => vt100::Color::Rgb(r, g, b),
            Color::Indexed(i) => vt100::Color::Idx(i),
            Color::Red => vt100::Color::Idx(1),
            Color::LightBlue => vt100::Color::Idx(12),
            _ => vt100::Color::Default,
        }
    }

    const COLORS: [Color; 5] =
        [Color::Reset, Color::Red, Color::LightBlue, Color::Indexed(200), Color::Rgb(200, 10, 99)];
    const TEXTS: [&str; 6] = ["x", "                      ", "words and more", "日本語", "e\u{301}te", "⣿⡇─│"];

    /// A frame with texts in styles here and there.
    fn frame() -> impl Strategy<Value = Buffer> {
        let piece = (0..SIZE.0, 0..SIZE.1, 0..TEXTS.len(), 0..COLORS.len(), 0..COLORS.len(), 0..64_u16);
        prop::collection::vec(piece, 0..8).prop_map(|pieces| {
            let mut buffer = Buffer::empty(Rect::new(0, 0, SIZE.0, SIZE.1));
            for (x, y, text, fg, bg, bits) in pieces {
                let modifiers = [Modifier::BOLD, Modifier::DIM, Modifier::UNDERLINED, Modifier::REVERSED];
                let chosen = modifiers.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1).map(|(_, m)| *m);
                let style = Style::new().fg(COLORS[fg]).bg(COLORS[bg]).add_modifier(chosen.collect());
                buffer.set_stringn(x, y, TEXTS[text], usize::from(SIZE.0 - x), style);
            }
            buffer
        })
    }

    proptest! {
        #[test]
        fn a_terminal_shows_what_was_drawn(frames in prop::collection::vec(frame(), 1..5)) {
            check(&frames);
        }
    }

    #[test]
    fn few_bytes_for_small_changes() {
        let mut painter = Painter::default();
        let lines = |words: &str| Buffer::with_lines([format!("{words:<40}")]);
        painter.frame(&lines("one two three"), None);
        assert_eq!(painter.frame(&lines("one TWO three"), None), "\x1b[5GTWO");
        assert_eq!(painter.frame(&lines("ONE TWO"), None), "\x1b[1GONE\x1b[5C\x1b[K");
        assert_eq!(painter.frame(&lines("ONE TWO"), Some(Position::new(3, 0))), "\x1b[4G\x1b[?25h");
        assert_eq!(painter.frame(&lines("ONE"), None), "    \x1b[?25l");
    }
}
