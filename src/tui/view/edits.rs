//! Edits in words.

use prunelens_core::edit::{Edits, ErrorTerm};

use crate::safe;

/// What is in force: the edits that there is room for, how many more there are, and whether the models read reconstructions.
pub fn in_force(edits: &Edits, room: usize) -> String {
    let error = if edits.error == ErrorTerm::Drop { ", what the SAE misses dropped" } else { "" };
    let list: Vec<String> = edits.list.iter().map(|edit| format!("#{edit}")).collect();
    let said = |shown: usize| {
        let more = list.len() - shown;
        let more = if more > 0 { format!(", {more} more") } else { String::new() };
        format!("{}{more}{error}", list[..shown].join(", "))
    };
    let fits = (1..=list.len()).rev().map(said).find(|text| safe::width(text) <= room);
    fits.unwrap_or_else(|| format!("{}{error}", list.len()))
}
