//! One row of a table, and where its wanted columns stand; every layout gives the same.

use std::path::Path;

use crate::{
    error::{Error, Result},
    text::shorten,
};

/// Columns of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// For people: "line 3" of a `.jsonl` file, "row 3" of the other tables; counted from 1, without the header.
    pub place: String,
    /// In the order in which the columns were asked for; `None` where the row has no value.
    pub values: Vec<Option<String>>,
}

/// Most bytes that the rows of a table may take: a small packed file can hold any amount.
const MAX_BYTES: u64 = 2 << 30;
/// What a row takes beside its texts, counted generously.
const ROW: u64 = 128;

/// Rows as they are read, up to what may be kept.
pub struct Records {
    rows: Vec<Record>,
    left: u64,
}

impl Default for Records {
    fn default() -> Self {
        Self { rows: Vec::new(), left: MAX_BYTES }
    }
}

impl Records {
    /// One more row, or why there is no room for it.
    pub fn push(&mut self, record: Record) -> Result<(), String> {
        let texts: usize = record.values.iter().flatten().map(String::len).sum();
        self.left = self.left.checked_sub(ROW + texts as u64).ok_or_else(|| {
            format!("{}: the rows up to here take the {MAX_BYTES} bytes that are read; use a part of it", record.place)
        })?;
        self.rows.push(record);
        Ok(())
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// All of them.
    pub fn into_rows(self) -> Vec<Record> {
        self.rows
    }
}

/// Places of the wanted columns among a table's.
pub fn columns(path: &Path, wanted: &[&str], header: &[String]) -> Result<Vec<usize>> {
    let place = |name: &&str| {
        header.iter().position(|column| column == name).ok_or_else(|| {
            let found: Vec<_> = header.iter().take(20).map(|column| shorten(column, 40)).collect();
            Error::file(path, format!("has no column {:?}; found {}", shorten(name, 40), found.join(", ")))
        })
    };
    wanted.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_kept_up_to_a_bound() {
        let mut records = Records { rows: Vec::new(), left: 3 * ROW };
        let record = |text: &str| Record { place: "row 7".into(), values: vec![Some(text.into()), None] };
        records.push(record("")).unwrap();
        records.push(record(&"x".repeat(ROW as usize))).unwrap();
        let refused = records.push(record("")).unwrap_err();
        assert!(refused.starts_with("row 7") && refused.contains("bytes that are read"), "{refused}");
        assert_eq!((records.len(), records.into_rows().len()), (2, 2));
    }
}
