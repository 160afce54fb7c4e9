//! Which columns of the table fit, and how wide they are.

use prunelens_core::compare::{GRID, Variant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Marker and number.
    Latent,
    /// What it is called, in so many cells.
    Name(usize),
    Value(Variant),
    /// In two prompts, and from the first to the second.
    Pair(Variant),
    /// From original to pruned.
    Change,
    /// The latent's best match in `trained`.
    Match,
    /// Activation against ratio, in this many cells.
    Path(usize),
}

impl Column {
    /// The longest name, its mark when rows are sorted by it, and a gap.
    pub const VALUE: usize = 10;
    pub const CHANGE: usize = 7;
    /// A variant's name or its value in the first prompt, its value in the second, and the difference.
    pub const PAIR: [usize; 3] = [9, 6, 7];
    /// What a match needs beside the digits of a number: gap, `#`, cosine and the mark of a mutual one.
    const MATCH: usize = 8;
    /// What a number needs beside its digits: marker, `#` and gap.
    const LATENT: usize = 5;
    /// Cells of a name.
    const LEAST_NAME: usize = 14;
    const MOST_NAME: usize = 44;
    /// Cells of a path where space is scarce.
    const SHORT_PATH: usize = 8;

    pub fn width(self, digits: usize) -> usize {
        match self {
            Self::Latent => Self::LATENT + digits,
            Self::Name(cells) => cells,
            Self::Value(_) => Self::VALUE,
            Self::Pair(_) => Self::PAIR.iter().sum(),
            Self::Change => Self::CHANGE,
            Self::Match => Self::MATCH + digits,
            Self::Path(cells) => 2 + cells,
        }
    }
}

/// Digits of the numbers of a dictionary's latents, with room for the column's head.
pub fn digits(d_sae: usize) -> usize {
    d_sae.saturating_sub(1).to_string().len().max(4)
}

/// Columns for variants present, in reading order. What matters least goes first where space is scarce.
pub fn columns(width: u16, variants: &[Variant], digits: usize, named: bool) -> Vec<Column> {
    let has = |v: &Variant| variants.contains(v);
    let mut all = vec![Column::Latent];
    all.extend([Variant::Original, Variant::Transfer, Variant::Pruned].into_iter().filter(has).map(Column::Value));
    all.push(Column::Change);
    if has(&Variant::Trained) {
        all.extend([Column::Value(Variant::Trained), Column::Match]);
    }
    all.push(Column::Path(Column::SHORT_PATH));
    let used = |columns: &[Column]| columns.iter().map(|c| c.width(digits)).sum::<usize>();
    let width = usize::from(width);
    let expendable = [
        Column::Match,
        Column::Value(Variant::Trained),
        Column::Value(Variant::Transfer),
        Column::Path(Column::SHORT_PATH),
    ];
    drop_to_fit(&mut all, &expendable, width, digits);
    // A wide table shows every step of the grid.
    if used(&all) + GRID - Column::SHORT_PATH <= width
        && let Some(Column::Path(cells)) = all.last_mut()
    {
        *cells = GRID;
    }
    let left = width.saturating_sub(used(&all));
    if named && left >= Column::LEAST_NAME {
        all.insert(1, Column::Name(left.min(Column::MOST_NAME)));
    }
    all
}

/// Columns of two prompts.
pub fn of_pair(width: u16, variants: &[Variant], digits: usize) -> Vec<Column> {
    let mut all = vec![Column::Latent];
    all.extend(Variant::ALL.into_iter().filter(|v| variants.contains(v)).map(Column::Pair));
    let expendable = [Variant::Trained, Variant::Transfer].map(Column::Pair);
    drop_to_fit(&mut all, &expendable, usize::from(width), digits);
    all
}

fn drop_to_fit(all: &mut Vec<Column>, expendable: &[Column], width: usize, digits: usize) {
    for column in expendable {
        if all.iter().map(|c| c.width(digits)).sum::<usize>() > width {
            all.retain(|c| c != column);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fit_the_width_they_get() {
        for width in 56..200 {
            for variants in [&Variant::ALL[..], &Variant::ALL[..3], &Variant::ALL[..1]] {
                for digits in [4, 6] {
                    let columns = columns(width, variants, digits, width % 2 == 0);
                    for columns in [columns, of_pair(width, variants, digits)] {
                        let used: usize = columns.iter().map(|c| c.width(digits)).sum();
                        assert!(used <= usize::from(width), "{width}: {columns:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_usual_panel_shows_everything() {
        // 78 cells: the panel of a screen 120 wide.
        assert_eq!(columns(78, &Variant::ALL, digits(2048), true).len(), 8);
        assert!(columns(78, &Variant::ALL, digits(131_072), true).len() >= 7);
        // A screen 200 wide has room for names.
        assert_eq!(columns(132, &Variant::ALL, digits(2048), true)[1], Column::Name(42));
        assert_eq!(of_pair(78, &Variant::ALL, digits(2048)).len(), 4, "both prompts in all variants of the one SAE");
        assert_eq!(of_pair(118, &Variant::ALL, digits(2048)).len(), 5);
    }
}
