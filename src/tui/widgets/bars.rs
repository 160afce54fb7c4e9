//! Bars made of block characters.

/// Eighths of a cell, from the bottom.
const BLOCKS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
const ASCII: [&str; 9] = [" ", ".", ".", ":", ":", "+", "+", "#", "#"];

/// A column of one cell for a share; anything above zero can be seen.
pub fn column(share: f32, ascii: bool) -> &'static str {
    let eighths = if share > 0.0 { ((share.min(1.0) * 8.0).round() as usize).max(1) } else { 0 };
    if ascii { ASCII[eighths] } else { BLOCKS[eighths] }
}

/// A column `rows` cells high: what is drawn in row `row`, counted from the top.
pub fn tall_column(share: f32, row: u16, rows: u16, ascii: bool) -> &'static str {
    let below = f32::from(rows - 1 - row.min(rows - 1));
    let least = if share > 0.0 { share.max(0.125 / f32::from(rows)) } else { 0.0 };
    column((least * f32::from(rows) - below).max(0.0), ascii)
}

/// Values sampled to `cells` columns, each relative to `full`. A full one stays an eighth below the cell's top, so that
/// sparks in rows under each other do not grow together.
pub fn spark(values: &[f32], full: f32, cells: usize, ascii: bool) -> Vec<&'static str> {
    (0..cells)
        .map(|cell| {
            let value = values.get(cell * values.len() / cells.max(1)).copied().unwrap_or(0.0);
            column(if full > 0.0 { 0.875 * value / full } else { 0.0 }, ascii)
        })
        .collect()
}

/// A horizontal meter of `cells` cells: full ones, a partial one, blank ones.
pub fn meter(share: f64, cells: usize, ascii: bool) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share.clamp(0.0, 1.0) * cells as f64 * 8.0).round() as usize;
    let (full, part) = (eighths / 8, PARTS[eighths % 8]);
    if ascii {
        return format!("{}{}", "#".repeat(full), ".".repeat(cells - full));
    }
    let rest = cells - full - usize::from(!part.is_empty());
    format!("{}{part}{}", "█".repeat(full), " ".repeat(rest))
}

/// How strong a value is, where there are no colours to say it.
pub fn strength(share: f32, ascii: bool) -> &'static str {
    let step = if share > 0.0 { ((share * 4.0).ceil() as usize).clamp(1, 4) } else { 0 };
    if ascii { [" ", ".", "+", "*", "#"][step] } else { [" ", "░", "▒", "▓", "█"][step] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_above_zero_is_seen() {
        assert_eq!([0.0, 0.001, 0.5, 1.0, 7.0].map(|v| column(v, false)), [" ", "▁", "▄", "█", "█"]);
        assert_eq!([0, 1].map(|row| tall_column(0.75, row, 2, false)), ["▄", "█"]);
        assert_eq!([0, 1].map(|row| tall_column(0.01, row, 2, false)), [" ", "▁"]);
        assert_eq!([0.0, 0.1, 0.26, 1.0].map(|v| strength(v, false)), [" ", "░", "▒", "█"]);
    }

    #[test]
    fn meters_fill_their_width() {
        for cells in 0..20 {
            for step in 0..=40 {
                for ascii in [false, true] {
                    assert_eq!(meter(f64::from(step) / 40.0, cells, ascii).chars().count(), cells);
                }
            }
        }
    }

    #[test]
    fn sparks_sample_the_whole_path() {
        let path: Vec<f32> = (0..20).map(|i| 1.0 - i as f32 / 20.0).collect();
        assert_eq!(spark(&path, 1.0, 8, false).concat(), "▇▆▅▅▄▃▂▁");
        assert_eq!(spark(&[], 0.0, 3, false).concat(), "   ");
    }
}
