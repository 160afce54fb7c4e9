//! `prunelens study redundancy`.

use clap::Args;
use prunelens_core::{
    error::{Error, Result},
    files::write_under,
    progress::Tick,
    sae::{Criterion, Knob},
    session::{Compress, Models, Session, SessionSpec, Source},
    text::safe,
};
use prunelens_metrics::{
    fingerprint,
    study::{
        Rows,
        redundancy::{Likeness, SaeFigures, Setting},
    },
    sweep::{Mode, SweepSpec},
};
use serde_json::{Value, json};

use crate::{
    cli::{
        setup,
        train::{self, Finished, Member, Outcome, TrainArgs},
    },
    export::study::redundancy::{Study, Trained},
    interrupt,
    output::{self, ProgressLine, printable},
    settings::values,
    study::cells::{cell, of, plain},
};

#[derive(Args, Clone, Debug)]
#[command(mut_arg("resume", |arg| arg.hide(true)))]
pub struct RedundancyArgs {
    /// Ratios at which every SAE is pruned, with commas between [default: 0.1 to 0.95 in nine steps].
    #[arg(long, value_name = "R,R", value_delimiter = ',', value_parser = values::ratio)]
    pub ratios: Vec<f64>,
    /// How the SAEs' weights are ranked.
    #[arg(long, value_name = "NAME", default_value = "wanda", value_parser = values::criterion())]
    pub criterion: Criterion,
    /// Rows of held-out text to measure on [default: all of it].
    #[arg(long, value_name = "N")]
    pub rows: Option<usize>,
    #[command(flatten)]
    pub train: TrainArgs,
}

/// Folders in `--out`.
const SAES: &str = "saes";
const CELLS: &str = "cells";

pub fn run(args: &RedundancyArgs) -> Result<()> {
    let sweep = SweepSpec::new(Mode::Masked, Knob::Ratio(args.criterion), &args.ratios, &[args.criterion], 1)?;
    if args.rows == Some(0) {
        return Err(Error::Usage("--rows 0: expected at least 1 row".into()));
    }
    let train = training(args)?;
    let spec = setup::headless(args.train.model.clone())?.spec;
    let tick: Tick = &mut interrupt::tick;
    // SAEs are of the original model: what pruning costs them is asked.
    let alone = SessionSpec { compress: Compress::None, pruned_model: None, ..spec.clone() };
    match train::work(&train, &alone, tick)? {
        Outcome::Planned(answer) if args.train.json => output::answer(&answer),
        Outcome::Planned(answer) => {
            let points = sweep.settings.len() + 2;
            let then = format!("then each SAE is measured at {points} points on held-out text, without a pass back");
            output::answer(&printable(&format!("{answer}\n{then}")))
        }
        Outcome::Trained(finished) => {
            finished.check()?;
            measure(args, &train, &spec, &sweep, &finished, tick)
        }
    }
}

/// The training below `--out`: with two seeds, and going on where one was stopped.
fn training(args: &RedundancyArgs) -> Result<TrainArgs> {
    let mut train = TrainArgs { out: args.train.out.join(SAES), ..args.train.clone() };
    if train.hook.len() != 1 || train.hook[0].contains('{') {
        return Err(Error::Usage("study redundancy takes one --hook: SAEs of other hooks cannot be compared".into()));
    }
    if train.vary.iter().all(|vary| is_seed(vary)) {
        return Err(Error::Usage(
            "study redundancy needs SAEs that differ: give --vary k=8,32, --vary d-sae=512,2048 or --vary l1=1,5; two seeds of each come by themselves".into(),
        ));
    }
    if !train.vary.iter().any(|vary| is_seed(vary)) {
        train.vary.push("seed=0,1".into());
    }
    train.resume = train::begun(&train)?;
    Ok(train)
}

fn is_seed(vary: &str) -> bool {
    vary.split('=').next().is_some_and(|key| key.trim().trim_start_matches("--") == "seed")
}

/// Name of an SAE without its seed.
fn setting(name: &str) -> String {
    let is_seed = |part: &&str| part.strip_prefix("seed").is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    name.split('-').filter(|part| !is_seed(part)).collect::<Vec<_>>().join("-")
}

fn measure(
    args: &RedundancyArgs,
    train: &TrainArgs,
    spec: &SessionSpec,
    sweep: &SweepSpec,
    finished: &Finished,
    tick: Tick,
) -> Result<()> {
    let out = &args.train.out;
    let models = Models::load(spec, &mut output::listener())?;
    output::warn(&models.warnings);
    let (context, mut rows) = train::held_out(train, &models)?;
    rows.truncate(args.rows.unwrap_or(usize::MAX));
    let rows = Rows { rows, context, text: "held-out text".into() };
    let mut line = ProgressLine::new();
    let mut measured: Vec<(&Member, Value, SaeFigures)> = Vec::new();
    for (member, _) in &finished.saes {
        let session = session(spec, args.criterion, &models, member)?;
        let about = of(json!({
            "session": fingerprint::of_session(&session),
            "rows": rows.digest(),
            "context": rows.context,
            "ratios": sweep.settings,
        }))?;
        let name = &member.name;
        let mut listen =
            |done, total| line.line(|| format!("measuring  {name}  {:3.0} %", 100.0 * done as f64 / total as f64));
        let figures = cell(&out.join(CELLS).join(plain(name) + ".json"), &about, || {
            SaeFigures::measure(&session, sweep, &rows, &mut listen, tick)
        })?;
        measured.push((member, about["session"]["sae"].clone(), figures));
    }
    let mut names: Vec<String> = measured.iter().map(|(member, ..)| setting(&member.name)).collect();
    names.dedup();
    let mut settings = Vec::new();
    for name in &names {
        let own: Vec<_> = measured.iter().filter(|(member, ..)| setting(&member.name) == *name).collect();
        let likeness = match own[..] {
            [(a, of_a, _), (b, of_b, _), ..] => {
                line.line(|| format!("matching  {name}"));
                let path = out.join(CELLS).join(format!("{}--{}.json", plain(&a.name), plain(&b.name)));
                Some(cell(&path, &of(json!([of_a, of_b]))?, || {
                    let session = |member: &Member| session(spec, args.criterion, &models, member);
                    Likeness::of(&session(a)?, &session(b)?, tick)
                })?)
            }
            _ => None,
        };
        let figures: Vec<_> = own.iter().map(|(member, _, figures)| (member.name.as_str(), figures)).collect();
        settings.extend(Setting::of(name, &figures, likeness));
    }
    line.clear();
    let trained = |(member, report): &(Member, Value)| Trained {
        name: member.name.clone(),
        tokens: report["training"]["tokens"].as_u64().unwrap_or(0),
    };
    let study = Study {
        model: safe(&models.original.name),
        compression: models.compression.clone(),
        hook: args.train.hook.join(" "),
        criterion: args.criterion.name().to_owned(),
        rows: rows.measured(),
        context,
        trained: finished.saes.iter().map(trained).collect(),
        settings,
        saes: measured.into_iter().map(|(member, _, figures)| (member.name.clone(), figures)).collect(),
    };
    write_under(out, study.files()?)?;
    match args.train.json {
        true => output::answer(&output::json(&study)?),
        false => output::answer(&printable(&study.text(&out.join("redundancy.md")))),
    }
}

fn session(spec: &SessionSpec, criterion: Criterion, models: &Models, member: &Member) -> Result<Session> {
    let spec = SessionSpec { criterion, ..spec.clone() }.with_sae(Source::Path(member.folder.clone()));
    Session::with_models(&spec, models.clone(), &mut output::listener())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_name_without_its_seed() {
        for (name, expected) in [("k16-d-sae512-seed0", "k16-d-sae512"), ("seed11-l15", "l15"), ("topk-seed2", "topk")]
        {
            assert_eq!(setting(name), expected);
        }
        assert!(is_seed("seed=0,1") && is_seed("--seed=3") && !is_seed("k=1"));
    }
}
