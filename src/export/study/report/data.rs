//! Every figure of every cell as data.

use prunelens_core::{data::frame::Frame, error::Result};
use prunelens_metrics::statistics::Interval;
use serde_json::json;

use super::Report;
use crate::{
    export::table::csv_line,
    output,
    study::results::{Measured, Point},
};

const WORDS: [&str; 9] =
    ["session", "compress", "cell", "metric", "category", "figure", "variant", "criterion", "better"];
/// The last two are the interval of 95 % over rows.
const NUMBERS: [&str; 7] = ["layer", "ratio", "training_seed", "seed", "value", "low", "high"];

/// A figure of a cell.
struct Line<'a> {
    cell: &'a Measured,
    point: Point,
    rows: Option<Interval>,
}

fn lines<'a>(report: &Report<'a>) -> Vec<Line<'a>> {
    let of = |cell: &'a Measured| {
        let points = cell.points();
        let rows = cell.intervals(&points);
        points.into_iter().zip(rows).map(move |(point, rows)| Line { cell, point, rows })
    };
    report.results.measured.iter().flat_map(of).collect()
}

/// `figures.csv`, `.json` with the decisions, and `.parquet`.
pub fn files(report: &Report) -> Result<Vec<(String, Vec<u8>)>> {
    let lines = lines(report);
    let json = json!({
        "study": report.name,
        "rules": report.rules,
        "decisions": report.decided,
        "cells": report.results.measured.iter().map(|of| cell(of, &lines)).collect::<Vec<_>>(),
        "missing": report.results.missing,
    });
    Ok(vec![
        ("figures.csv".into(), csv(&lines).into_bytes()),
        ("figures.json".into(), (output::json(&json)? + "\n").into_bytes()),
        ("figures.parquet".into(), frame(&lines).to_parquet()?),
    ])
}

fn cell(cell: &Measured, lines: &[Line<'_>]) -> serde_json::Value {
    let own = lines.iter().filter(|line| std::ptr::eq(line.cell, cell));
    let figures = own.map(|line| {
        let mut figure = json!(line.point);
        figure["rows"] = json!(line.rows);
        figure
    });
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
        "figures": figures.collect::<Vec<_>>(),
    })
}

fn words(Line { cell, point, .. }: &Line<'_>) -> [String; WORDS.len()] {
    [
        cell.place.session.clone(),
        cell.place.compress.clone(),
        cell.name.clone(),
        cell.table.metric.clone(),
        point.category.clone(),
        point.figure.clone(),
        point.of.variant.to_string(),
        point.of.criterion.clone().unwrap_or_default(),
        format!("{:?}", point.better).to_lowercase(),
    ]
}

fn numbers(Line { cell, point, rows }: &Line<'_>) -> [Option<f64>; NUMBERS.len()] {
    let layer = point.layer.map(|layer| layer as f64);
    let (training, seed) = (cell.place.seed.map(|seed| seed as f64), cell.seed().map(|seed| seed as f64));
    [layer, point.of.ratio, training, seed, point.value, rows.map(|rows| rows.low), rows.map(|rows| rows.high)]
}

fn csv(lines: &[Line<'_>]) -> String {
    let mut out = csv_line(WORDS.into_iter().chain(NUMBERS).map(String::from));
    for line in lines {
        let numbers = numbers(line).map(|value| value.map(|v| v.to_string()).unwrap_or_default());
        out += &csv_line(words(line).into_iter().chain(numbers));
    }
    out
}

fn frame(lines: &[Line<'_>]) -> Frame {
    let mut frame = Frame {
        numbers: NUMBERS.map(|name| (name.to_owned(), Vec::new())).into(),
        words: WORDS.map(|name| (name.to_owned(), Vec::new())).into(),
    };
    for line in lines {
        for ((_, column), value) in frame.numbers.iter_mut().zip(numbers(line)) {
            column.push(value.unwrap_or(f64::NAN));
        }
        for ((_, column), word) in frame.words.iter_mut().zip(words(line)) {
            column.push(word.into());
        }
    }
    frame
}
