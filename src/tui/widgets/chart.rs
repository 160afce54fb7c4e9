//! A small chart of braille dots, two columns and four rows of them a cell.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

/// The cell of `ratio` on a scale from 0 to 1 that is `cells` wide. Chart and slider share it, so that they line up.
pub fn column_of(ratio: f64, cells: u16) -> u16 {
    dot_of(ratio, cells) / 2
}

fn dot_of(ratio: f64, cells: u16) -> u16 {
    let last = f64::from((cells * 2).saturating_sub(1));
    (ratio.clamp(0.0, 1.0) * last).round() as u16
}

/// Bits of a braille character by row: left column, right column.
const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

#[derive(Clone, Copy, Default)]
struct Dots {
    bits: u8,
    /// Later layers win a cell's colour, since a cell has only one.
    style: Style,
    ascii: Option<char>,
}

/// Dots to be drawn into an area.
pub struct Chart {
    area: Rect,
    cells: Vec<Dots>,
    x: (f64, f64),
    y: (f32, f32),
}

impl Chart {
    /// A chart from 0 to 1 across and from 0 to `top` up.
    pub fn new(area: Rect, top: f32) -> Self {
        Self::over(area, (0.0, 1.0), (0.0, if top > 0.0 { f64::from(top) } else { 1.0 }))
    }

    /// A chart over these values across and up.
    pub fn over(area: Rect, x: (f64, f64), y: (f64, f64)) -> Self {
        let cells = usize::from(area.width) * usize::from(area.height);
        Self { area, cells: vec![Dots::default(); cells], x, y: (y.0 as f32, y.1 as f32) }
    }

    /// Column of dots for a value, from the left.
    fn column_of(&self, x: f64) -> u16 {
        let (low, high) = self.x;
        dot_of(if high > low { (x - low) / (high - low) } else { 0.5 }, self.area.width)
    }

    /// The cell, column and row, of a point.
    pub fn cell_of(&self, x: f64, y: f32) -> (u16, u16) {
        (self.column_of(x) / 2, self.row_of(y) / 4)
    }

    fn rows(&self) -> u16 {
        self.area.height * 4
    }

    /// Row of dots for a value, from the top.
    fn row_of(&self, value: f32) -> u16 {
        let last = f32::from(self.rows().saturating_sub(1));
        let (low, high) = self.y;
        let share = if high > low { ((value - low) / (high - low)).clamp(0.0, 1.0) } else { 0.5 };
        (last - share * last).round() as u16
    }

    fn dot(&mut self, x: u16, y: u16, style: Style, ascii: char) {
        let (column, row) = (x / 2, y / 4);
        if column < self.area.width && row < self.area.height {
            let at = usize::from(row) * usize::from(self.area.width) + usize::from(column);
            let cell = &mut self.cells[at];
            cell.bits |= BITS[usize::from(y % 4)][usize::from(x % 2)];
            cell.style = style;
            cell.ascii = Some(ascii);
        }
    }

    /// A level across the chart, in dashes.
    pub fn level(&mut self, value: f32, style: Style) {
        let y = self.row_of(value);
        for x in (0..self.area.width * 2).filter(|x| x % 4 < 2) {
            self.dot(x, y, style, '-');
        }
    }

    /// A vertical line at a ratio.
    pub fn upright(&mut self, ratio: f64, style: Style) {
        let x = self.column_of(ratio);
        for y in 0..self.rows() {
            self.dot(x, y, style, '|');
        }
    }

    /// A single point.
    pub fn point(&mut self, x: f64, y: f32, style: Style) {
        let (x, y) = (self.column_of(x), self.row_of(y));
        self.dot(x, y, style, '*');
    }

    /// A curve through points with ascending places across.
    pub fn curve(&mut self, points: &[(f64, f32)], style: Style) {
        for pair in points.windows(2) {
            let [(x0, y0), (x1, y1)] = [pair[0], pair[1]].map(|(x, y)| (self.column_of(x), self.row_of(y)));
            let steps = x1.abs_diff(x0).max(y1.abs_diff(y0)).max(1);
            for step in 0..=steps {
                let mix = |a: u16, b: u16| {
                    let share = f32::from(step) / f32::from(steps);
                    (f32::from(a) + (f32::from(b) - f32::from(a)) * share).round() as u16
                };
                self.dot(mix(x0, x1), mix(y0, y1), style, '*');
            }
        }
    }

    pub fn render(self, buffer: &mut Buffer, ascii: bool) {
        let area = self.area.intersection(buffer.area);
        for y in area.top()..area.bottom() {
            for x in area.left()..area.right() {
                let at = usize::from(y - self.area.y) * usize::from(self.area.width) + usize::from(x - self.area.x);
                let dots = self.cells[at];
                if dots.bits != 0 {
                    let braille = char::from_u32(0x2800 + u32::from(dots.bits)).unwrap_or(' ');
                    let symbol = if ascii { dots.ascii.unwrap_or(' ') } else { braille };
                    buffer[(x, y)].set_char(symbol).set_style(dots.style);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(chart: Chart) -> Vec<String> {
        let mut buffer = Buffer::empty(chart.area);
        let area = chart.area;
        chart.render(&mut buffer, true);
        (0..area.height).map(|y| (0..area.width).map(|x| buffer[(x, y)].symbol().to_owned()).collect()).collect()
    }

    #[test]
    fn a_falling_curve_goes_from_corner_to_corner() {
        let mut chart = Chart::new(Rect::new(0, 0, 4, 4), 2.0);
        chart.curve(&[(0.0, 2.0), (1.0, 0.0)], Style::new());
        assert_eq!(drawn(chart), ["*   ", " *  ", "  * ", "   *"]);
    }

    #[test]
    fn nothing_is_drawn_outside() {
        for (w, h) in [(0, 0), (1, 1), (3, 2)] {
            let mut chart = Chart::new(Rect::new(0, 0, w, h), 0.0);
            chart.curve(&[(0.0, 5.0), (2.0, -1.0)], Style::new());
            chart.upright(0.99, Style::new());
            chart.level(f32::NAN, Style::new());
            drawn(chart);
        }
    }
}
