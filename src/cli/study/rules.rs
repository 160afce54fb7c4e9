//! `prunelens study rules`.

use std::path::PathBuf;

use clap::Args;
use prunelens_core::{
    error::{Error, Result},
    files::write_under,
    session::{Compress, SessionSpec},
};
use serde_json::json;

use super::status::in_words;
use crate::{
    cli::setup,
    interrupt,
    output::{self, printable},
    settings::SessionSettings,
    study::rules::{RulesPlan, RulesSpec},
    words::time,
};

#[derive(Args, Clone, Debug)]
#[command(mut_arg("compress", |arg| arg.hide(true)), mut_arg("pruned_model", |arg| arg.hide(true)))]
pub struct RulesArgs {
    /// Folder for the report and its cells; cells that are there are not measured again.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Rules of equal sparsity, with commas between, as --compress spells them.
    #[arg(
        long,
        value_name = "SPEC,SPEC",
        value_delimiter = ',',
        default_value = "wanda:0.5,magnitude:0.5,iterative:5:wanda:0.5,iterative:5:magnitude:0.5,wanda:2:4"
    )]
    pub rules: Vec<Compress>,
    /// Rows of text to measure on [default: as many as suit the model].
    #[arg(long, value_name = "N")]
    pub rows: Option<usize>,
    /// Tokens in a row [default: 128, or the model's context if that is shorter].
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// Say what is there and what the rest takes on this device, by a probe of a few tokens, and measure nothing.
    #[arg(long)]
    pub plan: bool,
    /// Print the figures as one JSON object.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub session: SessionSettings,
}

pub fn run(args: &RulesArgs) -> Result<()> {
    let given = &args.session.model;
    if given.compress.is_some() || given.pruned_model.is_some() {
        return Err(Error::Usage("study rules compresses the model itself: give the rules with --rules".into()));
    }
    if let Some(twice) = args.rules.iter().enumerate().find(|(at, rule)| args.rules[..*at].contains(rule)) {
        return Err(Error::Usage(format!("--rules lists {} twice", twice.1)));
    }
    if args.rules.contains(&Compress::None) {
        return Err(Error::Usage("--rules: none compresses nothing; leave it out".into()));
    }
    let study = RulesSpec {
        session: SessionSpec { pruned_model: None, ..setup::headless(args.session.clone())?.spec }.untrained(),
        rules: args.rules.clone(),
        rows: args.rows,
        context: args.context,
        out: args.out.clone(),
    };
    if args.plan {
        return plan(args, &study.plan(&mut interrupt::tick)?);
    }
    let report = study.measure(&mut interrupt::tick)?;
    write_under(&args.out, report.files()?)?;
    output::answer_as(args.json, &report, || report.text(&args.out.join("rules.md")))
}

fn plan(args: &RulesArgs, RulesPlan { rules, estimate }: &RulesPlan) -> Result<()> {
    if args.json {
        let of = |(rule, there): &(Compress, bool)| {
            json!({
                "rule": rule.to_string(),
                "there": there,
                "tokens": estimate.tokens,
                "passes": estimate.passes,
                "seconds": estimate.seconds,
                "bytes": estimate.bytes,
            })
        };
        return output::answer(&output::json(&json!({ "rules": rules.iter().map(of).collect::<Vec<_>>() }))?);
    }
    let of = |(rule, there): &(Compress, bool)| match there {
        true => format!("there   {rule}\n"),
        false => format!("to do   {rule}{}\n", in_words(estimate)),
    };
    let to_do = rules.iter().filter(|(_, there)| !there).count();
    let left = estimate.seconds.unwrap_or_default() * to_do as f64;
    output::answer(&printable(&format!(
        "{}What is left takes about {} here, and the copies' making: each reads the calibration text, an iterative one in every \
         pass. What is there is looked at once more when it is run, and measured again if it is of other settings.",
        rules.iter().map(of).collect::<String>(),
        time(left)
    )))
}
