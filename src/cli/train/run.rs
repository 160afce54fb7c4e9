//! Load the model, compress it, train, save, measure, print.

use std::{collections::HashSet, time::Duration};

use prunelens_core::{
    error::{Error, Result},
    files::create_folder,
    model::{HookPoint, Model},
    progress::{Progress, Tick},
    session::{Models, SessionSpec},
    train::{
        Keeping, Report, Run, TrainEvent, TrainFigures, TrainSpec, Trained,
        activations::ModelActivations,
        checkpoint::Checkpoint,
        report::{self, Rows},
        run::check_resume,
        spec::first_difference,
        train,
    },
};
use serde_json::{Value, json};

use super::{
    TrainArgs, finish,
    plan::{Memory, plan},
    spec::train_spec,
    text,
    vary::{Member, hooks, is_finished, members},
};
use crate::{
    output::{self, ProgressLine, printable},
    words::time,
};

/// One SAE of the run with its settings, and what else its outcome depends on.
struct Ready {
    member: Member,
    spec: TrainSpec,
    data: Value,
}

impl Ready {
    fn checkpoint(&self) -> Checkpoint {
        Checkpoint::new(&self.member.folder, json!({"train": self.spec, "data": self.data}))
    }
}

/// The text of a run: rows to train on, rows to measure on, and what these are, in words.
struct Text {
    context: usize,
    training: Vec<Vec<u32>>,
    held_out: Vec<Vec<u32>>,
    measured: Option<String>,
}

/// What came of a run.
pub enum Outcome {
    /// What it would take, for people or as JSON.
    Planned(String),
    Trained(Finished),
}

/// SAEs in their folders, with their reports; and what went wrong.
pub struct Finished {
    pub saes: Vec<(Member, Value)>,
    asked: usize,
    failed: Vec<String>,
}

impl Finished {
    /// Some came to nothing: said when the others are in their places.
    pub fn check(&self) -> Result<()> {
        match self.failed.len() {
            0 => Ok(()),
            n => Err(Error::invalid(format!("{n} of {} SAEs came to nothing: {}", self.asked, self.failed.join("; ")))),
        }
    }
}

/// Train and print.
pub fn run(args: &TrainArgs, session: &SessionSpec, tick: Tick) -> Result<()> {
    match work(args, session, tick)? {
        Outcome::Planned(answer) => output::answer(&printable(&answer)),
        Outcome::Trained(finished) => {
            let saes: Vec<_> = finished.saes.iter().map(|(member, report)| (member, report.clone())).collect();
            answer(args, &saes, finished.asked)?;
            finished.check()
        }
    }
}

/// Load the model, compress it, train, save, measure. `tick` may stop it (Ctrl-C); then checkpoints are left.
pub fn work(args: &TrainArgs, session: &SessionSpec, tick: Tick) -> Result<Outcome> {
    let hooks = hooks(&args.hook)?;
    let members = members(args, &hooks)?;
    if !args.plan {
        for member in &members {
            create_folder(&member.folder)?;
            if !args.resume && is_finished(&member.folder) {
                let folder = member.folder.display();
                return Err(Error::Usage(format!("{folder} already holds an SAE; choose another --out")));
            }
        }
    }
    let mut line = ProgressLine::new();
    let texts = [text::read_all(&args.text)?, text::read_all(&args.eval_text)?];
    let models = Models::load(session, &mut |progress: Progress| {
        line.show(&progress);
        tick()
    })?;
    let model = &models.pruned;
    let specs = specs(args, model, &hooks, &members)?;
    line.line(|| "reading text".into());
    let text = split(args, &models, &texts)?;
    let cache = (args.tuning.cache.max(0.0) * f64::from(1 << 30)) as u64;
    let source = ModelActivations::new(
        model.clone(),
        hooks.clone(),
        if args.tuning.exclude_bos { models.tokenizer.specials() } else { HashSet::default() },
        text.training,
        args.tuning.text_tokens.map(|tokens| tokens.div_ceil(text.context)),
        args.tuning.data_seed,
        cache,
    );
    let epoch = source.tokens();
    let widths: Vec<usize> = hooks.iter().map(|hook| model.d_in(hook.site)).collect();
    let numbered: Vec<_> = specs.iter().cloned().zip(members.iter().map(|member| member.hook)).collect();
    let memory = Memory::of(&numbered, &widths, epoch, cache, &model.device);
    if args.plan {
        line.line(|| "taking a few steps".into());
        let answer = plan(&numbered, source, &memory, cache, args.json, tick)?;
        line.clear();
        return Ok(Outcome::Planned(answer));
    }
    memory.check()?;

    let rows = Rows {
        context: text.context,
        bos: !args.tuning.no_bos,
        exclude_bos: args.tuning.exclude_bos,
        fingerprint: source.fingerprint(),
    };
    let data = |hook: &HookPoint| -> Result<Value> {
        let mut data = report::data(&models, *hook, &rows)?;
        data["held_out"] = json!(text.measured);
        Ok(data)
    };
    let data = hooks.iter().map(data).collect::<Result<Vec<_>>>()?;
    let all: Vec<Ready> = members
        .into_iter()
        .zip(specs)
        .map(|(member, spec)| Ready { data: data[member.hook].clone(), member, spec })
        .collect();
    let (done, open): (Vec<_>, Vec<_>) = all.iter().partition(|ready| is_finished(&ready.member.folder));
    done.into_iter().try_for_each(same_run)?;
    let mut failed = Vec::new();
    if !open.is_empty() {
        let trained = teach(args, &open, open.len() < all.len(), Box::new(source), &mut line, tick)?;
        for (ready, trained) in open.iter().zip(&trained) {
            if let Ok((state, _)) = trained {
                // A disk that takes no SAE may still take this in the last one's place: --resume then only has to write.
                let _ = ready.checkpoint().save(&ready.spec, state);
            }
        }
        for (ready, trained) in open.iter().zip(trained) {
            match trained {
                Ok((state, figures)) => {
                    let Ready { member, spec, data } = ready;
                    let report = Report { settings: spec, data, text_tokens: Some(epoch), training: Some(figures) };
                    let trainee = finish::trainee(args, member, hooks[member.hook], model, text.context);
                    trainee.save(state, &report, &member.folder, args.tuning.save_dtype)?;
                    ready.checkpoint().remove()?;
                }
                Err(error) if all.len() == 1 => return Err(error),
                Err(error) => failed.push(format!("{}: {error}", ready.member.name)),
            }
        }
    }
    let mut finished = Vec::new();
    for ready in all.iter().filter(|ready| is_finished(&ready.member.folder)) {
        let name = &ready.member.name;
        let mut listen =
            |done, total| line.line(|| format!("measuring  {name}  {:3.0} %", 100.0 * done as f64 / total as f64));
        let folder = &ready.member.folder;
        let report = finish::measure(model, &models.tokenizer, folder, &text.held_out, &mut listen, tick)?;
        finished.push((ready.member.clone(), report));
    }
    line.clear();
    Ok(Outcome::Trained(Finished { saes: finished, asked: all.len(), failed }))
}

/// The settings of each SAE, checked against the model.
fn specs(args: &TrainArgs, model: &Model, hooks: &[HookPoint], members: &[Member]) -> Result<Vec<TrainSpec>> {
    hooks.iter().try_for_each(|hook| model.check_hook(*hook))?;
    let of = |member: &Member| {
        let d_in = model.d_in(hooks[member.hook].site);
        let spec = train_spec(args, &member.sae, d_in)?;
        spec.check(d_in).map(|()| spec)
    };
    let named = |member: &Member, error: Error| match (error, member.name.is_empty()) {
        (Error::Usage(what), false) => Error::Usage(format!("{}: {what}", member.name)),
        (error, _) => error,
    };
    members.iter().map(|member| of(member).map_err(|error| named(member, error))).collect()
}

/// Whether some SAE of a run is finished, or has a checkpoint.
pub fn begun(args: &TrainArgs) -> Result<bool> {
    let members = members(args, &hooks(&args.hook)?)?;
    let begun = |member: &Member| is_finished(&member.folder) || Checkpoint::new(&member.folder, Value::Null).exists();
    Ok(members.iter().any(begun))
}

/// Rows that no SAE of a run is trained on, with their context.
pub fn held_out(args: &TrainArgs, models: &Models) -> Result<(usize, Vec<Vec<u32>>)> {
    let text = split(args, models, &[text::read_all(&args.text)?, text::read_all(&args.eval_text)?])?;
    match text.held_out.is_empty() {
        false => Ok((text.context, text.held_out)),
        true => Err(Error::Usage("the text of --text is too short to hold any of it out: give --eval-text".into())),
    }
}

fn split(args: &TrainArgs, models: &Models, [training, held_out]: &[Vec<String>; 2]) -> Result<Text> {
    let (bos, context) = (!args.tuning.no_bos, text::context(args.tuning.context, &models.pruned)?);
    let mut training = text::rows(models, training, "--text", context, bos)?;
    let (held_out, of) = match held_out.is_empty() {
        true => (text::hold_out(&mut training, context, args.tokens), "the end of --text, which was not trained on"),
        false => (text::rows(models, held_out, "--eval-text", context, bos)?, "--eval-text"),
    };
    let measured = (!held_out.is_empty()).then(|| format!("{} rows of {context} tokens, {of}", held_out.len()));
    Ok(Text { context, training, held_out, measured })
}

/// Refuse to count a finished SAE of another run as one of this.
fn same_run(ready: &Ready) -> Result<()> {
    let report = report::read(&ready.member.folder)?;
    let stored = json!({"train": report["settings"], "data": report["data"]});
    // Numbers go through text as those stored did.
    let asked = json!({"train": ready.spec, "data": ready.data}).to_string();
    let asked: Value = serde_json::from_str(&asked).map_err(|e| Error::invalid(e.to_string()))?;
    match first_difference(&stored, &asked) {
        None => Ok(()),
        Some((key, stored, asked)) => Err(Error::file(
            &ready.member.folder,
            format!(
                "holds an SAE of another run: {key} was {stored}, but {asked} is asked for; give the same settings, or another --out"
            ),
        )),
    }
}

fn teach(
    args: &TrainArgs,
    open: &[&Ready],
    some_finished: bool,
    source: Box<ModelActivations>,
    line: &mut ProgressLine,
    tick: Tick,
) -> Result<Vec<Trained>> {
    let checkpoints: Vec<Checkpoint> = open.iter().map(|ready| ready.checkpoint()).collect();
    // Where some are finished, the others need not have begun.
    if !args.resume || !some_finished {
        check_resume(&checkpoints, args.resume)?;
    }
    let runs = open.iter().zip(&checkpoints).map(|(ready, checkpoint)| Run {
        spec: ready.spec.clone(),
        hook: ready.member.hook,
        checkpoint: Some(checkpoint.clone()),
    });
    let every = Duration::from_secs_f64((args.tuning.checkpoint_every * 60.0).clamp(1.0, 1e6));
    let keeping = Keeping { every, resume: args.resume };
    let mut listen = |event: TrainEvent| match event {
        TrainEvent::Warning(warning) => {
            line.clear();
            output::warn(&[warning.to_owned()]);
        }
        event => line.line(|| describe(&event)),
    };
    match train(runs.collect(), source, keeping, &mut listen, tick) {
        Err(Error::Interrupted) if checkpoints.iter().any(Checkpoint::exists) => {
            let place = match &checkpoints[..] {
                [one] => one.path().display().to_string(),
                _ => format!("one for each SAE in {}", args.out.display()),
            };
            line.end(&format!("checkpoint written: {}; go on with --resume", printable(&place)));
            Err(Error::Interrupted)
        }
        other => other,
    }
}

fn answer(args: &TrainArgs, finished: &[(&Member, Value)], asked: usize) -> Result<()> {
    match finished {
        [] => Ok(()),
        [(_, report)] if asked == 1 && args.json => output::answer(&output::json(report)?),
        [(member, report)] if asked == 1 => output::answer(&printable(&finish::table(args, &member.folder, report))),
        all if args.json => {
            let one = |(member, report): &(&Member, Value)| {
                let mut out = json!({"name": member.name, "folder": member.folder});
                let parts = report.as_object().into_iter().flatten();
                parts.for_each(|(key, value)| out[key] = value.clone());
                out
            };
            output::answer(&output::json(&json!({"saes": all.iter().map(one).collect::<Vec<_>>()}))?)
        }
        all => output::answer(&printable(&finish::tables(args, all))),
    }
}

fn describe(event: &TrainEvent) -> String {
    let all = match event {
        TrainEvent::Filling(done, total) => return format!("reading activations  {done} of {total} tokens"),
        TrainEvent::Warning(warning) => return (*warning).to_owned(),
        TrainEvent::Step(all) => all.iter().map(|(_, figures)| figures).collect::<Vec<_>>(),
    };
    let Some(f) = all.first() else { return String::new() };
    // Of several the least and the largest.
    let span = |get: fn(&TrainFigures) -> f64, digits: usize| {
        let (least, most) = all.iter().fold((f64::MAX, f64::MIN), |(a, b), f| (a.min(get(f)), b.max(get(f))));
        let [a, b] = [least, most].map(|v| format!("{v:.digits$}"));
        if a == b { a } else { format!("{a}-{b}") }
    };
    let saes = if all.len() == 1 { String::new() } else { format!("{} SAEs  ", all.len()) };
    format!(
        "training {:3.0} %  {saes}step {}  {:.2} M tokens  {:.1} k tokens/s  loss {}  EV {}  L0 {}  dead {} %  {} left",
        100.0 * f.progress,
        f.step,
        f.tokens as f64 / 1e6,
        f.tokens_per_second * all.len() as f64 / 1e3,
        span(|f| f.loss, 2),
        span(|f| f.explained_variance, 4),
        span(|f| f.l0, 1),
        span(|f| 100.0 * f.dead, 1),
        time(f.seconds_left),
    )
}
