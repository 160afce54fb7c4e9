//! Load the model, compress it, train, save, measure, print.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use candle_core::Tensor;
use prunelens_core::{
    data,
    error::{Error, Result},
    files::{create_folder, write_atomic},
    model::{Model, Space, Tick},
    progress::Progress,
    sae::{Normalize, Sae, SaeConfig, formats},
    session::{Models, SessionSpec},
    text::safe,
    train::{
        Resumable, State, TrainEvent, TrainFigures, TrainSpec, activations::ModelActivations, checkpoint::Checkpoint,
        train,
    },
};
use prunelens_metrics::core::evaluate::{Evaluation, evaluate};
use serde_json::{Map, Value, json};

use super::{TrainArgs, spec::train_spec};
use crate::output::{self, ProgressLine, printable};

/// Tokens in a row unless the user or the model says otherwise.
const CONTEXT: usize = 256;

/// Load the model, compress it, train, save, measure, print. `tick` may stop it (Ctrl-C); then a checkpoint is left.
pub fn run(args: &TrainArgs, session: &SessionSpec, tick: Tick) -> Result<()> {
    create_folder(&args.out)?;
    refuse_finished(&args.out)?;
    let mut line = ProgressLine::new();
    let texts = read_all(&args.text)?;
    let held_out = read_all(&args.eval_text)?;
    let models = Models::load(session, &mut |progress: Progress| {
        line.show(&progress);
        tick()
    })?;
    let model = &models.pruned;
    model.check_hook(args.hook)?;
    let spec = train_spec(args, model.d_in(args.hook.site))?;
    spec.check(model.d_in(args.hook.site))?;

    let bos = !args.tuning.no_bos;
    let context = context(args, model)?;
    line.line(|| "reading text".into());
    let mut training = rows(&models, &texts, "--text", context, bos)?;
    let (held_out, of) = match held_out.is_empty() {
        true => (hold_out(&mut training, context, args.tokens), "the end of --text, which was not trained on"),
        false => (rows(&models, &held_out, "--eval-text", context, bos)?, "--eval-text"),
    };
    let measured = (!held_out.is_empty()).then(|| format!("{} rows of {context} tokens, {of}", held_out.len()));
    let mut source = ModelActivations::new(
        model,
        args.hook,
        if args.tuning.exclude_bos { models.tokenizer.specials() } else { Default::default() },
        training,
        args.tuning.text_tokens.map(|tokens| tokens.div_ceil(context)),
        spec.seed,
        (args.tuning.cache.max(0.0) * f64::from(1 << 30)) as u64,
    );
    let about = json!({
        "model": model.name,
        "compression": models.compression,
        "calibration": models.calibration.label,
        "hook": args.hook.to_string(),
        "model_dtype": model.dtype.as_str(),
        "context": context,
        "bos": bos,
        "exclude_bos": args.tuning.exclude_bos,
        "text": source.fingerprint(),
        "held_out": measured,
    });
    let checkpoint = Checkpoint::new(&args.out, json!({"train": spec, "data": about}));
    check_resume(&checkpoint, args.resume)?;
    let resumable = Resumable {
        checkpoint: &checkpoint,
        every: Duration::from_secs_f64((args.tuning.checkpoint_every * 60.0).clamp(1.0, 1e6)),
        resume: args.resume,
    };
    let epoch = source.tokens();
    let trained = train(&spec, &mut source, Some(&resumable), &mut |event| line.line(|| describe(&event)), tick);
    let (state, figures) = match trained {
        Err(Error::Interrupted) if checkpoint.exists() => {
            line.end(&format!("checkpoint written: {}; go on with --resume", checkpoint.path().display()));
            return Err(Error::Interrupted);
        }
        other => other?,
    };

    let mut report = json!({"settings": spec, "data": about, "text_tokens": epoch, "training": figures});
    let sae = Arc::new(finished(args, &spec, state, model)?);
    let metadata = metadata(args, &spec, model, context, &report);
    formats::save(&sae, &args.out, args.tuning.save_dtype, metadata)?;
    write_report(&args.out, &report)?;
    checkpoint.remove()?;
    let evaluation = match held_out {
        rows if rows.is_empty() => None,
        // What is measured is what was saved, rounded to 16 bits or not.
        rows => {
            let sae = Arc::new(formats::load(&args.out)?);
            let mut listen =
                |done, total| line.line(|| format!("measuring  {:3.0} %", 100.0 * done as f64 / total as f64));
            Some(evaluate(model, &models.tokenizer, sae, rows, &mut listen, tick)?)
        }
    };
    if let Some(evaluation) = &evaluation {
        report["held_out"] = json!(evaluation);
        write_report(&args.out, &report)?;
    }
    line.clear();
    if args.json {
        output::answer(&output::json(&report)?)
    } else {
        output::answer(&printable(&table(args, &figures, &evaluation, measured.as_deref())))
    }
}

fn refuse_finished(folder: &Path) -> Result<()> {
    if folder.join("cfg.json").exists() {
        return Err(Error::Usage(format!("{} already holds an SAE; choose another --out", folder.display())));
    }
    Ok(())
}

fn check_resume(checkpoint: &Checkpoint, resume: bool) -> Result<()> {
    let path = checkpoint.path().display();
    match (resume, checkpoint.exists()) {
        (true, false) => Err(Error::Usage(format!("there is no checkpoint {path} to resume from; leave --resume out"))),
        (false, true) => Err(Error::Usage(format!("{path} is of a stopped run; add --resume to go on, or delete it"))),
        _ => Ok(()),
    }
}

fn context(args: &TrainArgs, model: &Model) -> Result<usize> {
    let n_ctx = model.config.n_ctx;
    match args.tuning.context {
        Some(context) if context < 2 || context > n_ctx => {
            Err(Error::Usage(format!("--context {context} does not fit; {} reads 2 to {n_ctx} tokens", model.name)))
        }
        Some(context) => Ok(context),
        None => Ok(CONTEXT.min(n_ctx)),
    }
}

/// Documents of all files; of a folder, those that can be read, in name order, subfolders included.
fn read_all(paths: &[PathBuf]) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for path in paths {
        if path.is_dir() {
            let before = texts.len();
            read_folder(path, &mut texts)?;
            if texts.len() == before {
                return Err(Error::file(path, "holds no .txt or .jsonl files"));
            }
        } else {
            texts.extend(data::read_texts(path)?);
        }
    }
    Ok(texts)
}

fn read_folder(folder: &Path, texts: &mut Vec<String>) -> Result<()> {
    let refused = |e| Error::io(folder, e);
    let entries = fs::read_dir(folder).map_err(refused)?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>().map_err(refused)?;
    paths.sort();
    for path in paths {
        // Links to folders could lead round in a circle.
        if path.is_dir() && !path.is_symlink() {
            read_folder(&path, texts)?;
        } else if path.extension().is_some_and(|e| e == "txt" || e == "jsonl") {
            texts.extend(data::read_texts(&path)?);
        }
    }
    Ok(())
}

fn rows(models: &Models, texts: &[String], flag: &str, context: usize, bos: bool) -> Result<Vec<Vec<u32>>> {
    let rows = data::rows(&models.tokenizer, texts.iter().map(String::as_str), context, bos)?;
    if rows.is_empty() {
        return Err(Error::Usage(format!(
            "the text of {flag} does not fill one row of {context} tokens; give more text"
        )));
    }
    data::rows::check_rows(&rows, models.original.config.d_vocab)?;
    Ok(rows)
}

/// Rows to measure on, taken from the end of the text so that none of them is trained on; none of a text of a few rows.
/// Measuring a token costs as much as training on several: a short run measures a tenth of its tokens.
fn hold_out(training: &mut Vec<Vec<u32>>, context: usize, tokens: Option<u64>) -> Vec<Vec<u32>> {
    const SHARE: usize = 20;
    const MOST_TOKENS: usize = 20_000;
    const FEWEST_ROWS: usize = 16;
    let budget = tokens.map_or(MOST_TOKENS, |tokens| usize::try_from(tokens / 10).unwrap_or(MOST_TOKENS));
    let most = (MOST_TOKENS.min(budget) / context).max(FEWEST_ROWS);
    let n = (training.len() / SHARE).min(most);
    training.split_off(training.len() - n)
}

fn describe(event: &TrainEvent) -> String {
    match event {
        TrainEvent::Filling(done, total) => format!("reading activations  {done} of {total} tokens"),
        TrainEvent::Step(f) => format!(
            "training {:3.0} %  step {}  {:.2} M tokens  {:.1} k tokens/s  mse {:.4}  EV {:.4}  L0 {:.1}  dead {:.1} %  {} left",
            100.0 * f.progress,
            f.step,
            f.tokens as f64 / 1e6,
            f.tokens_per_second / 1e3,
            f.mse,
            f.explained_variance,
            f.l0,
            100.0 * f.dead,
            clock(f.seconds_left),
        ),
    }
}

fn clock(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "?".into();
    }
    format!("{:.0}:{:02.0}", (seconds / 60.0).floor(), (seconds % 60.0).floor())
}

/// The SAE as others read it: for activations as the model gives them.
fn finished(args: &TrainArgs, spec: &TrainSpec, state: State, model: &Model) -> Result<Sae> {
    let (weights, activation) = state.finish(spec);
    let (d_in, d_sae) = (weights.d_in, weights.d_sae);
    let matrix = |values: Vec<f32>| Tensor::from_vec(values, (d_sae, d_in), &candle_core::Device::Cpu);
    let config = SaeConfig {
        name: args.out.file_name().map_or_else(|| "sae".into(), |n| safe(&n.to_string_lossy())),
        architecture: spec.architecture.saved_as(),
        d_in,
        d_sae,
        hook: args.hook,
        module: None,
        normalize: if spec.layer_norm { Normalize::LayerNorm } else { Normalize::None },
        apply_b_dec_to_input: true,
        prepend_bos: !args.tuning.no_bos,
        space: if model.processed { Space::Tl } else { Space::Raw },
        source: Value::Null,
        warnings: Vec::new(),
    };
    Ok(Sae {
        config,
        w_enc: matrix(weights.w_enc)?,
        b_enc: weights.b_enc,
        w_dec: matrix(weights.w_dec)?,
        b_dec: weights.b_dec,
        activation,
        decode_scale: None,
    })
}

fn metadata(args: &TrainArgs, spec: &TrainSpec, model: &Model, context: usize, report: &Value) -> Map<String, Value> {
    let names: Vec<_> = args.text.iter().filter_map(|p| p.file_name()).map(|n| safe(&n.to_string_lossy())).collect();
    let mut out = Map::new();
    out.insert("model_name".into(), model.name.clone().into());
    out.insert("context_size".into(), context.into());
    out.insert("dataset_path".into(), names.join(", ").into());
    out.insert("training_architecture".into(), spec.architecture.trained_as().into());
    out.insert("prunelens".into(), report.clone());
    out
}

fn write_report(folder: &Path, report: &Value) -> Result<()> {
    write_atomic(folder.join("training.json"), format!("{report:#}\n").as_bytes())
}

fn table(args: &TrainArgs, figures: &TrainFigures, evaluation: &Option<Evaluation>, measured: Option<&str>) -> String {
    let mut lines = vec![
        format!("written: {}", args.out.display()),
        format!(
            "trained on {} tokens in {} steps, {:.0} s, {:.0} tokens/s",
            figures.tokens, figures.step, figures.seconds, figures.tokens_per_second
        ),
        format!("{:<22} {:>10} {:>10}", "", "training", if evaluation.is_some() { "held out" } else { "" }),
    ];
    let mut row = |name: &str, trained: Option<f64>, held_out: Option<f64>| {
        if trained.is_none() && held_out.is_none() {
            return;
        }
        let cell = |value: Option<f64>| value.map_or_else(|| "-".into(), |v| format!("{v:.4}"));
        let held_out = if evaluation.is_some() { cell(held_out) } else { String::new() };
        lines.push(format!("{name:<22} {:>10} {held_out:>10}", cell(trained)).trim_end().to_owned());
    };
    let held = |get: fn(&Evaluation) -> f64| evaluation.as_ref().map(get);
    row("explained variance", Some(figures.explained_variance), held(|e| e.explained_variance));
    row("mse", Some(figures.mse), held(|e| e.mse));
    row("L0", Some(figures.l0), held(|e| e.l0));
    row("dead", Some(figures.dead), held(|e| e.dead));
    row("ce_loss_score", None, held(|e| e.ce_loss_score));
    row("ce_loss_without_sae", None, held(|e| e.ce_loss_without_sae));
    row("ce_loss_with_sae", None, held(|e| e.ce_loss_with_sae));
    row("ce_loss_with_ablation", None, held(|e| e.ce_loss_with_ablation));
    match measured {
        Some(measured) => lines.push(format!(
            "held out: {measured}; BOS and other special tokens count in the losses alone. Training figures are of {} tokens",
            if args.tuning.exclude_bos { "ordinary" } else { "all" }
        )),
        None => lines.push("the text is too short to hold any of it out: give --eval-text".into()),
    }
    lines.join("\n")
}
