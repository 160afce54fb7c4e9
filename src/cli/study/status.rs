//! `prunelens study plan` and `prunelens study status`.

use std::path::PathBuf;

use clap::Args;
use prunelens_core::{error::Result, session::Session, text::bytes};
use prunelens_metrics::{Estimate, Probe};
use serde_json::json;

use crate::{
    cli::setup,
    interrupt, output,
    settings::{ModelSettings, environment},
    study::{
        Before, Cell, Group, Study,
        claim::Claims,
        sharing::{self, Passes},
        status::{CellStatus, Counts, GroupStatus, Working},
    },
    words::time,
};

#[derive(Args, Clone, Debug)]
pub struct PlanArgs {
    /// A study's file, or the folder of one that was begun.
    #[arg(value_name = "FILE-or-DIR")]
    pub study: PathBuf,
    /// Folder with the cells of a file [default: study].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Load every session and say what its cells will take on this device: time from a probe of a few tokens.
    #[arg(long)]
    pub estimate: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    /// Folder of the study.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

pub fn status(args: &StatusArgs) -> Result<()> {
    let study = Study::open(&args.folder, &environment)?;
    let status = study.status(&Claims::to_look_at(&study.folder));
    if args.json {
        return output::answer(&output::json(&json!({ "groups": status }))?);
    }
    let mut text = String::new();
    for group in &status {
        let (done, all) = (group.done(), group.cells.len());
        text += &format!("{:<48} {done:>3} of {all}{}\n", group.group, worker(group));
        for (cell, why) in group.failed() {
            text += &format!("    failed  {cell}: {why}\n");
        }
    }
    output::answer(&output::printable(&format!("{text}{}", Counts::of(&status))))
}

/// "  worked on by HOST (123), sign 4 s ago: core wanda 0.5, 43 %".
fn worker(group: &GroupStatus) -> String {
    let Some((who, ago)) = &group.worker else { return String::new() };
    let working = group.working.as_ref().map(|Working { cell, share }| {
        let share = share.map(|share| format!(", {:.0} %", 100.0 * share));
        format!(": {cell}{}", share.unwrap_or_default())
    });
    format!("  worked on by {who}, sign {ago} s ago{}", working.unwrap_or_default())
}

/// What a cell will take, and what of it is shared.
type Estimated = Vec<(Option<Estimate>, Passes)>;

pub fn plan(args: &PlanArgs) -> Result<()> {
    let study = Study::at(&args.study, args.out.as_deref(), &environment)?;
    let status = study.status(&Claims::to_look_at(&study.folder));
    let estimates = if args.estimate { Some(estimates(&study)?) } else { None };
    if args.json {
        let groups = study.groups.iter().zip(&status).enumerate().map(|(at, (group, status))| {
            let cells = group.cells.iter().zip(&status.cells).enumerate().map(|(n, (cell, (_, status)))| {
                let (estimate, shared) = estimates
                    .as_ref()
                    .map(|all| &all[at][n])
                    .map_or((None, None), |(estimate, shared)| (estimate.as_ref(), Some(shared)));
                json!({
                    "name": cell.name,
                    "job": cell.job,
                    "status": status,
                    "folder": cell.folder,
                    "seconds": estimate.and_then(|e| e.seconds),
                    "tokens": estimate.map(|e| e.tokens),
                    "bytes": estimate.map(|e| e.bytes),
                    "passes": estimate.map(|e| e.passes),
                    "tokens_through_a_model": shared.map(|shared| shared.made),
                    "tokens_through_a_model_alone": shared.map(|shared| shared.alone),
                })
            });
            json!({ "group": group.name, "place": group.place, "cells": cells.collect::<Vec<_>>() })
        });
        return output::answer(&output::json(&json!({ "groups": groups.collect::<Vec<_>>() }))?);
    }
    let mut text = String::new();
    let mut left = 0.0;
    for (at, (group, status)) in study.groups.iter().zip(&status).enumerate() {
        text += &format!("{}\n", group.name);
        for (n, (cell, (_, status))) in group.cells.iter().zip(&status.cells).enumerate() {
            let word = match status {
                CellStatus::Done => "done",
                CellStatus::Open => "to do",
                CellStatus::Failed(_) => "failed",
            };
            let estimate = estimates.as_ref().and_then(|all| all[at][n].0.as_ref());
            if *status != CellStatus::Done {
                left += estimate.and_then(|e| e.seconds).unwrap_or_default();
            }
            text += &format!("    {word:<6}  {}{}\n", cell.name, estimate.map(in_words).unwrap_or_default());
        }
    }
    text += &Counts::of(&status).to_string();
    if let Some(estimates) = &estimates {
        let mut passes = Passes::default();
        estimates.iter().flatten().for_each(|(_, shared)| passes.add(*shared));
        text += &format!("\nAll of it: {passes}.");
        text += &format!("\nWhat is left takes about {} here, one cell after the other.", time(left));
    }
    output::answer(&output::printable(&text))
}

/// "   N tokens, 3 passes of a model each, about 0:05, 120 MiB".
pub fn in_words(estimate: &Estimate) -> String {
    let seconds = estimate.seconds.map_or_else(|| "time unknown".into(), |seconds| format!("about {}", time(seconds)));
    let passes = format!("{:.3} passes", estimate.passes);
    format!("   {} tokens, {passes} of a model each, {seconds}, {}", estimate.tokens, bytes(estimate.bytes))
}

/// Of every group's cells; a model is loaded and probed once.
fn estimates(study: &Study) -> Result<Vec<Estimated>> {
    setup::headless(ModelSettings::default())?;
    let mut before = Before::default();
    let mut all = Vec::new();
    for group in &study.groups {
        all.push(of_group(group, &mut before)?);
    }
    Ok(all)
}

fn of_group(group: &Group, before: &mut Before) -> Result<Estimated> {
    let session = Session::with_models(&group.spec, before.of(&group.spec)?, &mut output::listener())?;
    let probe = Probe::measure(&session, &mut interrupt::tick)?;
    let estimate = |(at, cell): (usize, &Cell)| {
        let joined = group.cells[..at].iter().any(|before| before.job.reads_like(&cell.job));
        let estimate = sharing::cost(&cell.job, &session, joined).map(|cost| probe.estimate(&cost));
        (estimate, Passes::of(&cell.job, &session, joined))
    };
    Ok(group.cells.iter().enumerate().map(estimate).collect())
}
