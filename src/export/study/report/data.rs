//! Every figure of every cell as data.

use prunelens_core::{data::frame::Frame, error::Result};
use serde_json::json;

use super::Report;
use crate::{
    export::table::csv_line,
    output,
    study::results::{Measured, Point},
};

const WORDS: [&str; 9] =
    ["session", "compress", "cell", "metric", "category", "figure", "variant", "criterion", "better"];
const NUMBERS: [&str; 5] = ["layer", "ratio", "training_seed", "seed", "value"];

/// `figures.csv`, `.json` with the decisions, and `.parquet`.
pub fn files(report: &Report) -> Result<Vec<(String, Vec<u8>)>> {
    let json = json!({
        "study": report.name,
        "rules": report.rules,
        "decisions": report.decided,
        "cells": report.results.measured.iter().map(cell).collect::<Vec<_>>(),
        "missing": report.results.missing,
    });
    Ok(vec![
        ("figures.csv".into(), csv(report).into_bytes()),
        ("figures.json".into(), (output::json(&json)? + "\n").into_bytes()),
        ("figures.parquet".into(), frame(report).to_parquet()?),
    ])
}

fn cell(cell: &Measured) -> serde_json::Value {
    json!({
        "place": cell.place,
        "cell": cell.name,
        "metric": cell.table.metric,
        "seed": cell.seed(),
        "job": cell.job,
        "grounds": cell.basis,
        "device": cell.device,
        "version": cell.version,
        "settings": cell.table.settings,
        "warnings": cell.table.warnings,
        "figures": cell.points(),
    })
}

fn words(cell: &Measured, point: &Point) -> [String; WORDS.len()] {
    [
        cell.place.session.clone(),
        cell.place.compress.clone(),
        cell.name.clone(),
        cell.table.metric.clone(),
        point.category.clone(),
        point.figure.clone(),
        point.variant.to_string(),
        point.criterion.clone().unwrap_or_default(),
        format!("{:?}", point.better).to_lowercase(),
    ]
}

fn numbers(cell: &Measured, point: &Point) -> [Option<f64>; NUMBERS.len()] {
    let layer = point.layer.map(|layer| layer as f64);
    let (training, seed) = (cell.place.seed.map(|seed| seed as f64), cell.seed().map(|seed| seed as f64));
    [layer, point.ratio, training, seed, point.value]
}

fn csv(report: &Report) -> String {
    let mut out = csv_line(WORDS.into_iter().chain(NUMBERS).map(String::from));
    for cell in &report.results.measured {
        for point in cell.points() {
            let numbers = numbers(cell, &point).map(|value| value.map(|v| v.to_string()).unwrap_or_default());
            out += &csv_line(words(cell, &point).into_iter().chain(numbers));
        }
    }
    out
}

fn frame(report: &Report) -> Frame {
    let mut frame = Frame {
        numbers: NUMBERS.map(|name| (name.to_owned(), Vec::new())).into(),
        words: WORDS.map(|name| (name.to_owned(), Vec::new())).into(),
    };
    for cell in &report.results.measured {
        for point in cell.points() {
            for ((_, column), value) in frame.numbers.iter_mut().zip(numbers(cell, &point)) {
                column.push(value.unwrap_or(f64::NAN));
            }
            for ((_, column), word) in frame.words.iter_mut().zip(words(cell, &point)) {
                column.push(word.into());
            }
        }
    }
    frame
}
