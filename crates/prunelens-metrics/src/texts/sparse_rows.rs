//! Sparse rows: in memory as far as a budget goes, beyond that in a file without a name.

use std::{
    fs::File,
    io::{BufWriter, Write},
};

use memmap2::Mmap;
use prunelens_core::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// One entry: index and value, as their bytes.
type Entry = [u8; 8];

/// Rows of `width` values, of which only those that are not 0 are kept.
#[derive(Debug)]
pub struct SparseRows {
    /// Size of the dictionary.
    pub width: usize,
    /// Entries of row `r` are `spans[r].0 .. spans[r].1`, those in memory first.
    spans: Vec<(u64, u64)>,
    memory: Vec<Entry>,
    budget: usize,
    spilled: Option<Spilled>,
}

#[derive(Debug)]
struct Spilled {
    file: BufWriter<File>,
    entries: u64,
    map: Option<Mmap>,
}

/// Rows as a job keeps them.
#[derive(Serialize, Deserialize)]
pub struct SavedRows {
    spans: Vec<(u64, u64)>,
    entries: Vec<Entry>,
}

impl SparseRows {
    /// `rows` empty rows; at most `budget` bytes of entries are held in memory.
    pub fn new(width: usize, rows: usize, budget: usize) -> Self {
        Self { width, spans: vec![(0, 0); rows], memory: Vec::new(), budget, spilled: None }
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Bytes of all entries.
    pub fn bytes(&self) -> usize {
        let entries: u64 = self.spans.iter().map(|(start, end)| end - start).sum();
        entries as usize * size_of::<Entry>()
    }

    /// Whether some rows are in the file.
    pub fn has_spilled(&self) -> bool {
        self.spilled.is_some()
    }

    /// Fill a row.
    pub fn set(&mut self, row: usize, entries: &[(u32, f32)]) -> Result<()> {
        let packed = entries.iter().map(|&(index, value)| pack(index, value));
        let fits = (self.memory.len() + entries.len()) * size_of::<Entry>() <= self.budget;
        // Rows stay in the order in which they came: nothing goes to memory once there is a file.
        let start = if fits && self.spilled.is_none() {
            self.memory.extend(packed);
            (self.memory.len() - entries.len()) as u64
        } else {
            let in_memory = self.memory.len() as u64;
            let spilled = match &mut self.spilled {
                Some(spilled) => spilled,
                none => none.insert(Spilled::new()?),
            };
            let start = in_memory + spilled.entries;
            packed.into_iter().try_for_each(|entry| spilled.file.write_all(&entry)).map_err(full)?;
            spilled.entries += entries.len() as u64;
            spilled.map = None;
            start
        };
        self.spans[row] = (start, start + entries.len() as u64);
        Ok(())
    }

    /// To be called when the last row is in, before rows are read.
    pub fn seal(&mut self) -> Result<()> {
        let Some(spilled) = &mut self.spilled else { return Ok(()) };
        spilled.file.flush().map_err(full)?;
        if spilled.map.is_none() && spilled.entries > 0 {
            // SAFETY: the file has no name, and nothing writes to it while it is mapped.
            spilled.map = Some(unsafe { Mmap::map(spilled.file.get_ref()) }.map_err(full)?);
        }
        Ok(())
    }

    /// Indices, ascending, and values of a row.
    pub fn row(&self, row: usize) -> impl Iterator<Item = (usize, f32)> + '_ {
        self.entries(row).iter().map(|entry| {
            let [a, b, c, d, e, f, g, h] = *entry;
            (u32::from_le_bytes([a, b, c, d]) as usize, f32::from_le_bytes([e, f, g, h]))
        })
    }

    /// One value of a row; 0 where there is no entry.
    pub fn get(&self, row: usize, index: usize) -> f32 {
        let entries = self.entries(row);
        let at = entries.partition_point(|[a, b, c, d, ..]| (u32::from_le_bytes([*a, *b, *c, *d]) as usize) < index);
        match entries.get(at) {
            Some([a, b, c, d, e, f, g, h]) if u32::from_le_bytes([*a, *b, *c, *d]) as usize == index => {
                f32::from_le_bytes([*e, *f, *g, *h])
            }
            _ => 0.0,
        }
    }

    fn entries(&self, row: usize) -> &[Entry] {
        let (start, end) = self.spans[row];
        let in_memory = self.memory.len() as u64;
        if start < in_memory || start == end {
            return &self.memory[start.min(in_memory) as usize..end.min(in_memory) as usize];
        }
        let map = self.spilled.as_ref().and_then(|spilled| spilled.map.as_deref()).unwrap_or_default();
        let entries = map.as_chunks().0;
        entries.get((start - in_memory) as usize..(end - in_memory) as usize).unwrap_or_default()
    }

    /// For a job's state; `None` if the rows are too many for one.
    pub fn saved(&self, most_bytes: usize) -> Option<SavedRows> {
        let fits = self.spilled.is_none() && self.bytes() <= most_bytes;
        fits.then(|| SavedRows { spans: self.spans.clone(), entries: self.memory.clone() })
    }

    /// Take up what [`saved`](Self::saved) gave; false if it is of other rows.
    pub fn restore(&mut self, saved: SavedRows) -> bool {
        let entries = saved.entries.len() as u64;
        let index = |[a, b, c, d, ..]: &Entry| (u32::from_le_bytes([*a, *b, *c, *d]) as usize) < self.width;
        let fits = saved.spans.len() == self.spans.len()
            && saved.spans.iter().all(|(start, end)| start <= end && *end <= entries)
            && saved.entries.iter().all(index);
        if fits {
            (self.spans, self.memory, self.spilled) = (saved.spans, saved.entries, None);
        }
        fits
    }
}

impl Spilled {
    fn new() -> Result<Self> {
        Ok(Self { file: BufWriter::new(tempfile::tempfile().map_err(full)?), entries: 0, map: None })
    }
}

fn pack(index: u32, value: f32) -> Entry {
    let ([a, b, c, d], [e, f, g, h]) = (index.to_le_bytes(), value.to_le_bytes());
    [a, b, c, d, e, f, g, h]
}

fn full(source: std::io::Error) -> Error {
    Error::invalid(format!(
        "latents do not fit in --memory, and the temporary folder {} does not take them: {source}; allow more memory or measure fewer texts",
        std::env::temp_dir().display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(row: usize) -> Vec<(u32, f32)> {
        (0..row as u32 % 5).map(|i| (10 * i + row as u32 % 10, row as f32 + i as f32)).collect()
    }

    #[test]
    fn rows_are_the_same_in_memory_and_in_the_file() {
        for budget in [0, 8 * 7, 8 * 40, usize::MAX] {
            let mut rows = SparseRows::new(60, 40, budget);
            // In any order, and one of them never.
            for row in (0..40).rev().filter(|row| *row != 13) {
                rows.set(row, &entries(row)).unwrap();
            }
            rows.seal().unwrap();
            assert_eq!(rows.has_spilled(), budget < 8 * 70, "{budget}");
            for row in 0..40 {
                let expected = if row == 13 { Vec::new() } else { entries(row) };
                let found: Vec<_> = rows.row(row).map(|(i, v)| (i as u32, v)).collect();
                assert_eq!(found, expected, "row {row} with {budget} bytes");
                for index in 0..60 {
                    let value = expected.iter().find(|(i, _)| *i == index).map_or(0.0, |(_, v)| *v);
                    assert_eq!(rows.get(row, index as usize), value);
                }
            }
        }
    }

    #[test]
    fn saved_rows_come_back() {
        let mut rows = SparseRows::new(60, 3, usize::MAX);
        rows.set(1, &entries(4)).unwrap();
        assert!(rows.saved(8).is_none());
        let mut again = SparseRows::new(60, 3, usize::MAX);
        assert!(again.restore(rows.saved(1000).unwrap()));
        assert!(again.row(1).eq(rows.row(1)));
        assert!(!SparseRows::new(60, 2, 0).restore(rows.saved(1000).unwrap()), "another number of rows");
        assert!(!SparseRows::new(9, 3, 0).restore(rows.saved(1000).unwrap()), "another width");
    }
}
