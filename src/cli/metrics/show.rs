//! `prunelens metrics show`: the figures of a folder of result files, this program's or SAEBench's.

use std::{collections::BTreeMap, path::PathBuf};

use prunelens_core::{
    error::Result,
    text::{safe, shorten},
};
use prunelens_metrics::results::{Found, ResultFigures, find};
use serde_json::{Map, Value, json};
use unicode_width::UnicodeWidthStr;

use super::ShowArgs;
use crate::{export::table::short, output};

/// Files beside each other; more come under them.
const ACROSS: usize = 6;
/// Cells of a figure's column.
const CELLS: usize = 13;

pub fn run(args: &ShowArgs) -> Result<()> {
    let found = find(&args.folder)?;
    output::answer_as(args.json, &as_json(&found), || text(&found))
}

fn as_json(found: &Found) -> Value {
    let file = |f: &ResultFigures| {
        let figures = f
            .figures
            .iter()
            .map(|(category, name, value)| json!({ "category": category, "name": name, "value": value }));
        json!({
            "file": f.path.display().to_string(),
            "family": f.family,
            "release": f.release,
            "model_name": f.model,
            "variant": f.variant,
            "architecture": f.architecture,
            "d_sae": f.d_sae,
            "datetime_epoch_millis": f.when,
            "eval_id": f.run,
            "eval_config": f.config,
            "figures": figures.collect::<Vec<_>>(),
        })
    };
    let passed = |(path, why): &(PathBuf, String)| json!({ "file": path.display().to_string(), "why": why });
    json!({
        "files": found.files.iter().map(file).collect::<Vec<_>>(),
        "passed_over": found.passed_over.iter().map(passed).collect::<Vec<_>>(),
        "warnings": families(found).values().flat_map(|files| differences(files)).collect::<Vec<_>>(),
    })
}

fn families(found: &Found) -> BTreeMap<&str, Vec<&ResultFigures>> {
    let mut families: BTreeMap<&str, Vec<&ResultFigures>> = BTreeMap::new();
    for file in &found.files {
        families.entry(&file.family).or_default().push(file);
    }
    families
}

fn text(found: &Found) -> String {
    let mut out = String::new();
    for (family, files) in families(found) {
        if !out.is_empty() {
            out.push('\n');
        }
        out += &format!("{}\n", safe(family));
        for (at, file) in files.iter().enumerate() {
            let model = file.model.as_deref().map(|m| format!("  on {}", shorten(m, 80))).unwrap_or_default();
            out += &format!("  {:>2}  {}{model}\n", at + 1, shorten(&file.release, 120));
        }
        let numbered: Vec<_> = files.iter().enumerate().collect();
        for part in numbered.chunks(ACROSS) {
            out.push('\n');
            push_table(&mut out, part);
        }
        for warning in differences(&files) {
            out += &format!("! {}\n", safe(&warning));
        }
    }
    if !found.passed_over.is_empty() {
        out.push('\n');
    }
    for (path, why) in &found.passed_over {
        out += &format!("passed over: {}: {}\n", safe(&path.display().to_string()), safe(why));
    }
    out
}

/// Figures down, files across.
fn push_table(out: &mut String, files: &[(usize, &&ResultFigures)]) {
    let mut names: Vec<(&str, &str)> = Vec::new();
    for (category, name, _) in files.iter().flat_map(|(_, file)| &file.figures) {
        if !names.contains(&(category.as_str(), name.as_str())) {
            names.push((category, name));
        }
    }
    let width = names.iter().map(|(_, name)| safe(name).width() + 2).max().unwrap_or(0);
    let head = |(at, file): &(usize, &&ResultFigures)| {
        let variant = file.variant.map_or(String::new(), |v| format!("{v} "));
        format!("{:>CELLS$}", format!("{variant}{}", at + 1))
    };
    *out += &format!("{}{}\n", " ".repeat(width), files.iter().map(head).collect::<String>());
    let mut last = "";
    for (category, name) in names {
        if category != last {
            last = category;
            *out += &format!("{}\n", safe(category));
        }
        let name_cell = format!("  {}", safe(name));
        let pad = " ".repeat(width.saturating_sub(name_cell.width()));
        let cells: String = files.iter().map(|(_, file)| cell(file, category, name)).collect();
        *out += &format!("{name_cell}{pad}{cells}\n");
    }
}

fn cell(file: &ResultFigures, category: &str, name: &str) -> String {
    let value = file.figures.iter().find(|(c, n, _)| c == category && n == name).and_then(|(_, _, value)| *value);
    format!("{:>CELLS$}", value.map_or_else(|| "-".into(), short))
}

/// What of their settings keeps the files of a family from being compared.
fn differences(files: &[&ResultFigures]) -> Vec<String> {
    let Some((first, rest)) = files.split_first() else { return Vec::new() };
    let mut warnings = Vec::new();
    let none = Map::new();
    let config = |file: &ResultFigures| file.config.as_object().cloned().unwrap_or_else(|| none.clone());
    let expected = config(first);
    for (at, file) in rest.iter().enumerate() {
        let found = config(file);
        let names = expected.keys().chain(found.keys().filter(|name| !expected.contains_key(*name)));
        for name in names.filter(|name| *name != "model_name" && expected.get(*name) != found.get(*name)) {
            let word = |v: Option<&Value>| v.map_or_else(|| "nothing".into(), |v| shorten(&v.to_string(), 60));
            let (a, b) = (word(expected.get(name)), word(found.get(name)));
            warnings.push(format!("{name} is {a} in 1 and {b} in {}: they are not comparable", at + 2));
        }
    }
    // One line says it; a folder of many runs would fill the screen.
    warnings.truncate(8);
    warnings
}
