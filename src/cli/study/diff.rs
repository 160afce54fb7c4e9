//! `prunelens study diff`.

use std::path::{Path, PathBuf};

use clap::Args;
use prunelens_core::error::{Error, Result};

use crate::{
    export::table,
    output,
    study::{
        Place,
        diff::{Change, Diff, Name},
        results::Results,
    },
};

#[derive(Args, Clone, Debug)]
pub struct DiffArgs {
    /// Folder of a study.
    #[arg(value_name = "FIRST")]
    pub first: PathBuf,
    /// Folder of another: of another version, machine or compression.
    #[arg(value_name = "SECOND")]
    pub second: PathBuf,
    /// Figures that are no further apart than this share of the larger count as the same.
    #[arg(long, value_name = "SHARE", default_value_t = 1e-6)]
    pub beyond: f64,
    /// Print everything as one JSON object.
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &DiffArgs) -> Result<()> {
    if !(0.0..1.0).contains(&args.beyond) {
        return Err(Error::Usage(format!("--beyond {}: expected a share from 0 to below 1", args.beyond)));
    }
    let [first, second] = [&args.first, &args.second].map(|folder| found(folder));
    let diff = Diff::of(&first?, &second?, args.beyond);
    output::answer_as(args.json, &diff, || text(&diff))
}

/// What a folder holds; one without any cell is no study, or one that was not begun.
pub fn found(folder: &Path) -> Result<Results> {
    let results = Results::found(folder)?;
    if results.measured.is_empty() && results.missing.is_empty() {
        return Err(Error::file(folder, "no cells of a study are in it; `prunelens study run` makes them"));
    }
    Ok(results)
}

fn text(diff: &Diff) -> String {
    let mut out: Vec<String> = vec![diff.summary()];
    for (session, [first, second]) in &diff.compressions {
        out.push(format!("{session}: {first} in the first is laid beside {second} in the second"));
    }
    if diff.trained_apart > 0 {
        let cells = diff.trained_apart;
        out.push(format!(
            "trained is left out in {cells} of them: one study has trained it, and the other was given one"
        ));
    }
    let mut last = String::new();
    for change in &diff.changed {
        let head = format!("{}: {}{}", place(&change.place), change.metric, seed(change));
        if head != last {
            out.push(format!("\n{head}"));
            last = head;
        }
        let name = format!("{} {}", change.figure, change.of);
        let numbers = format!("{:>12} {:>12}", number(change.left), number(change.right));
        let by = match (change.left, change.right) {
            (Some(left), Some(right)) => format!("{:>+12.4}  {}", right - left, change.way()),
            _ => String::new(),
        };
        out.push(format!("  {name:<48} {numbers} {by}").trim_end().to_owned());
    }
    if !diff.incomparable.is_empty() {
        out.push("\nnot comparable".into());
        let line = |at: &crate::study::diff::Incomparable| format!("  {}: {}", cell(&at.cell), at.differs.join(", "));
        out.extend(diff.incomparable.iter().map(line));
    }
    for (title, names) in [("only in the first", &diff.only_left), ("only in the second", &diff.only_right)] {
        if !names.is_empty() {
            out.push(format!("\n{title}"));
            out.extend(names.iter().map(|name| format!("  {}", cell(name))));
        }
    }
    if !diff.unclear.is_empty() {
        out.push("\nunclear".into());
        out.extend(diff.unclear.iter().map(|m| format!("  {}, {}: {}", place(&m.place), m.name, m.why)));
    }
    out.join("\n")
}

fn place(place: &Place) -> String {
    let layer = place.layer.map(|layer| format!(", layer {layer}")).unwrap_or_default();
    let seed = place.seed.map(|seed| format!(", trained with seed {seed}")).unwrap_or_default();
    format!("{}, {}{layer}{seed}", place.session, place.compress)
}

fn cell(name: &Name) -> String {
    format!("{}, {}", place(&name.place), name.name)
}

fn seed(change: &Change) -> String {
    change.seed.map(|seed| format!(", seed {seed}")).unwrap_or_default()
}

fn number(value: Option<f64>) -> String {
    value.map_or("-".into(), table::number)
}
