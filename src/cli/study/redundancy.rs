//! `prunelens study redundancy`.

use clap::Args;
use prunelens_core::{
    error::{Error, Result},
    files::write_under,
    progress::Tick,
    sae::{Criterion, Knob},
};
use prunelens_metrics::sweep::{Mode, SweepSpec};

use crate::{
    cli::{setup, train::TrainArgs},
    interrupt, output,
    settings::values,
    study::redundancy::RedundancySpec,
    training::Outcome,
};

#[derive(Args, Clone, Debug)]
#[command(mut_arg("restart", |arg| arg.hide(true)))]
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

pub fn run(args: &RedundancyArgs) -> Result<()> {
    let sweep = SweepSpec::new(Mode::Masked, Knob::Ratio(args.criterion), &args.ratios, &[args.criterion], 1)?;
    if args.rows == Some(0) {
        return Err(Error::Usage("--rows 0: expected at least 1 row".into()));
    }
    let train = training(args)?;
    let out = &args.train.out;
    let study = RedundancySpec {
        training: train.run_spec()?,
        session: setup::headless(args.train.model.clone())?.spec,
        sweep,
        criterion: args.criterion,
        rows: args.rows,
        out: out.clone(),
    };
    let tick: Tick = &mut interrupt::tick;
    match study.train(tick)? {
        Outcome::Planned(plan) => output::answer_as(args.train.json, &plan.to_json(), || {
            let points = study.sweep.settings.len() + 2;
            let then = format!("then each SAE is measured at {points} points on held-out text, without a pass back");
            format!("{}\n{then}", plan.text())
        }),
        Outcome::Trained(finished) => {
            let report = study.measure(&finished, args.train.hook.join(" "), tick)?;
            write_under(out, report.files()?)?;
            output::answer_as(args.train.json, &report, || report.text(&out.join("redundancy.md")))
        }
    }
}

/// The training in a folder below `--out`, with two seeds of each setting.
fn training(args: &RedundancyArgs) -> Result<TrainArgs> {
    let mut train = TrainArgs { out: args.train.out.join("saes"), ..args.train.clone() };
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
    Ok(train)
}

fn is_seed(vary: &str) -> bool {
    vary.split('=').next().is_some_and(|key| key.trim().trim_start_matches("--") == "seed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_given_by_that_flag() {
        assert!(is_seed("seed=0,1") && is_seed("--seed=3") && !is_seed("k=1"));
    }
}
