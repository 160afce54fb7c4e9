//! Which scale belongs to which weight, and weights made row by row.

use rayon::prelude::*;

use super::Stored;
use crate::error::Result;

/// Scales lie in a table: a row for some of the weight's rows, a column for each group of its columns.
#[derive(Clone, Debug)]
pub struct Grid {
    rows: usize,
    cols: usize,
    /// How many rows share a scale.
    height: usize,
    /// Groups of columns.
    groups: usize,
    /// How many columns share one, where they are side by side.
    width: usize,
}

impl Grid {
    /// Blocks of `height` rows and `width` columns; those at the edges may be cut.
    pub fn blocks([rows, cols]: [usize; 2], height: usize, width: usize) -> Self {
        let (height, width) = (height.clamp(1, rows.max(1)), width.clamp(1, cols.max(1)));
        Self { rows, cols, height, groups: cols.div_ceil(width), width }
    }

    /// Groups of so many columns of one row; `None` for whole rows.
    pub fn groups(shape: [usize; 2], width: Option<usize>) -> Self {
        Self::blocks(shape, 1, width.unwrap_or(shape[1]))
    }

    /// Rows and columns of the table.
    pub fn table(&self) -> [usize; 2] {
        [self.rows.div_ceil(self.height), self.groups]
    }

    /// The group of each column.
    pub fn columns(&self) -> Vec<usize> {
        (0..self.cols).map(|col| col / self.width).collect()
    }

    /// The same from a tensor that lists them, checked, if it is there.
    pub fn listed(&self, stored: &Stored, name: &str) -> Result<Vec<usize>> {
        if !stored.has(name) {
            return Ok(self.columns());
        }
        let listed = stored.integers(name)?;
        if listed.len() != self.cols {
            return Err(stored.wrong(name, format!("expected {} groups, found {}", self.cols, listed.len())));
        }
        let group = |(at, group): (usize, &i64)| {
            let known = usize::try_from(*group).ok().filter(|group| *group < self.groups);
            let expected = || format!("number {at}: expected a group below {}, found {group}", self.groups);
            known.ok_or_else(|| stored.wrong(name, expected()))
        };
        listed.iter().enumerate().map(group).collect()
    }

    /// The weight: `fill` makes a row from its number and the place of its scales in the table.
    pub fn fill(&self, fill: impl Fn(usize, usize, &mut [f32]) + Sync) -> Vec<f32> {
        let mut values = vec![0.0; self.rows * self.cols];
        values
            .par_chunks_mut(self.cols.max(1))
            .enumerate()
            .for_each(|(row, out)| fill(row, row / self.height * self.groups, out));
        values
    }
}
