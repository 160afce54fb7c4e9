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
