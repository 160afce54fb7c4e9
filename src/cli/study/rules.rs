//! `prunelens study rules`.

use std::path::{Path, PathBuf};

use clap::Args;
use prunelens_core::{
    error::{Error, Result},
    files::write_under,
    progress::Tick,
    prune::masks,
    sae::Knob,
    session::{Compress, Session, SessionSpec},
    text::safe,
};
use prunelens_metrics::{
    Estimate, Job, Metric, Probe, Step,
    atlas::{Atlas, AtlasJob, AtlasOptions},
    fingerprint,
    study::{
        self, Rows,
        rules::{RuleFigures, survival},
    },
    sweep::{Mode, SweepJob, SweepOptions, SweepSpec},
};
use serde_json::json;

use super::status::in_words;
use crate::{
    cli::setup,
    export::study::rules::{Rule, Study},
    interrupt,
    output::{self, ProgressLine, printable},
    settings::SessionSettings,
    study::cells::{cell, of, plain},
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
    let spec = SessionSpec { pruned_model: None, ..setup::headless(args.session.clone())?.spec }.untrained();
    if args.plan {
        return plan(args, &spec);
    }
    let tick: Tick = &mut interrupt::tick;
    let (mut figures, mut atlases) = (Vec::new(), Vec::new());
    let mut about = None;
    for rule in &args.rules {
        let session = Session::load(&SessionSpec { compress: rule.clone(), ..spec.clone() }, &mut output::listener())?;
        let Knob::Ratio(criterion) = session.setting.knob else {
            return Err(Error::Usage("study rules prunes the SAE by --ratio; leave --knob out".into()));
        };
        let measured = measure(args, rule, &session, tick)?;
        about.get_or_insert_with(|| {
            let names = (safe(&session.models.original.name), safe(&session.sae.config.name), session.hook.to_string());
            (names, criterion.name(), session.setting.at)
        });
        figures.push((rule.to_string(), measured.0));
        atlases.push(measured.1);
    }
    let Some(((model, sae, hook), criterion, ratio)) = about else {
        return Err(Error::Usage("--rules is empty: name at least one".into()));
    };
    let survived = survival(&atlases, 0)?;
    let about = &atlases[0].about;
    let study = Study {
        model,
        sae,
        hook,
        criterion: criterion.to_owned(),
        ratio,
        rows: about.rows,
        positions: about.positions,
        text: about.text.clone(),
        rules: figures
            .into_iter()
            .zip(survived)
            .map(|((rule, figures), survival)| Rule { rule, figures, survival })
            .collect(),
    };
    write_under(&args.out, study.files()?)?;
    match args.json {
        true => output::answer(&output::json(&study)?),
        false => output::answer(&printable(&study.text(&args.out.join("rules.md")))),
    }
}

/// What is there, by its name, and what a rule takes: all take the same, but for the making of the copy.
fn plan(args: &RulesArgs, spec: &SessionSpec) -> Result<()> {
    let session = Session::load(&SessionSpec { compress: Compress::None, ..spec.clone() }, &mut output::listener())?;
    let probe = Probe::measure(&session, &mut interrupt::tick)?;
    let sweep = SweepOptions {
        variants: study::VARIANTS.to_vec(),
        ratios: vec![session.setting.at],
        rows: args.rows,
        context: args.context,
        ..SweepOptions::default()
    };
    let latents = probe.estimate(&AtlasJob::cost(&session, &options(args, &session))?);
    let curve = probe.estimate(&SweepJob::cost(&session, &sweep)?);
    let estimate = Estimate {
        passes: latents.passes + curve.passes,
        seconds: latents.seconds.zip(curve.seconds).map(|(a, b)| a + b),
        bytes: latents.bytes.max(curve.bytes),
        ..latents
    };
    let there = |rule: &Compress| {
        let folder = folder(&args.out, rule);
        folder.join(FIGURES).is_file() && Atlas::open(&folder).is_ok()
    };
    let rules: Vec<_> = args.rules.iter().map(|rule| (rule, there(rule))).collect();
    if args.json {
        let of = |(rule, there): &(&Compress, bool)| {
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
    let of = |(rule, there): &(&Compress, bool)| match there {
        true => format!("there   {rule}\n"),
        false => format!("to do   {rule}{}\n", in_words(&estimate)),
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

/// What is asked of the latents.
fn options(args: &RulesArgs, session: &Session) -> AtlasOptions {
    AtlasOptions {
        ratios: vec![session.setting.at],
        rows: args.rows,
        context: args.context,
        importance_rows: Some(0),
        ..AtlasOptions::default()
    }
}

const FIGURES: &str = "figures.json";

fn folder(out: &Path, rule: &Compress) -> PathBuf {
    out.join("cells").join(plain(&rule.to_string()))
}

/// One rule's cell: its figures, and the atlas of its latents.
fn measure(args: &RulesArgs, rule: &Compress, session: &Session, tick: Tick) -> Result<(RuleFigures, Atlas)> {
    let options = options(args, session);
    let rows = study::rows(session, args.rows, args.context)?;
    let about = of(json!({ "session": fingerprint::of_session(session), "rows": rows.digest() }))?;
    let folder = folder(&args.out, rule);
    let mut line = ProgressLine::new();
    // Both parts have to be there.
    let kept = Atlas::open(&folder).ok().filter(|atlas| atlas.about.tokens_sha256 == rows.digest());
    let path = folder.join(FIGURES);
    let mut fresh = None;
    let figures = cell(&path, &about, || {
        fresh = Some(atlas(session, &options, &folder, rule, &mut line, tick)?);
        figures(session, &rows, rule, &mut line, tick)
    })?;
    let atlas = match (fresh, kept) {
        (Some(atlas), _) => atlas,
        (None, Some(atlas)) => atlas,
        (None, None) => atlas(session, &options, &folder, rule, &mut line, tick)?,
    };
    Ok((figures, atlas))
}

fn figures(
    session: &Session,
    rows: &Rows,
    rule: &Compress,
    line: &mut ProgressLine,
    tick: Tick,
) -> Result<RuleFigures> {
    let Knob::Ratio(criterion) = session.setting.knob else {
        return Err(Error::Usage("study rules prunes the SAE by --ratio".into()));
    };
    let at = [session.setting.at];
    let sweep = SweepSpec::new(Mode::Masked, Knob::Ratio(criterion), &at, &[criterion], session.sae.d_in())?;
    let mut listen =
        |done, total| line.line(|| format!("measuring  {rule}  {:3.0} %", 100.0 * done as f64 / total as f64));
    Ok(RuleFigures {
        zeros: masks::zeros(&session.models.pruned)?,
        curves: study::curve(session, &sweep, rows, &mut listen, tick)?,
    })
}

fn atlas(
    session: &Session,
    options: &AtlasOptions,
    folder: &Path,
    rule: &Compress,
    line: &mut ProgressLine,
    tick: Tick,
) -> Result<Atlas> {
    let mut job = AtlasJob::new(session, options)?;
    while job.step(tick)? == Step::More {
        line.line(|| format!("latents  {rule}  {:3.0} %", 100.0 * job.progress().share()));
    }
    job.finish(folder)?;
    Atlas::open(folder)
}
