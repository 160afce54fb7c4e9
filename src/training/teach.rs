//! The training itself: where it goes on from, what is told meanwhile, and what is said when it is stopped.

use prunelens_core::{
    error::{Error, Result},
    progress::Tick,
    train::{
        Keeping, Run, TrainEvent, TrainFigures, Trained, activations::ModelActivations, checkpoint::Checkpoint, train,
    },
};

use super::{RunSpec, run::Ready};
use crate::{
    measurement::say,
    output::{self, ProgressLine, printable},
    words::time,
};

/// Train those that are not finished.
pub fn teach(
    run: &RunSpec,
    open: &[&Ready],
    source: Box<ModelActivations>,
    line: &mut ProgressLine,
    tick: Tick,
) -> Result<Vec<Trained>> {
    let checkpoints: Vec<Checkpoint> = open.iter().map(|ready| ready.checkpoint()).collect();
    if run.restart {
        checkpoints.iter().try_for_each(Checkpoint::remove)?;
    }
    let begun: Vec<_> = checkpoints.iter().filter(|checkpoint| checkpoint.exists()).collect();
    if let [one, ..] = begun[..] {
        let place = match checkpoints.len() {
            1 => one.path().display().to_string(),
            all => format!("checkpoints of {} of {all} SAEs", begun.len()),
        };
        line.clear();
        say(&format!("goes on from {place}; --restart begins anew"));
    }
    let runs = open.iter().zip(&checkpoints).map(|(ready, checkpoint)| Run {
        spec: ready.spec.clone(),
        hook: ready.member.hook,
        checkpoint: Some(checkpoint.clone()),
    });
    let keeping = Keeping { every: run.checkpoint_every, resume: true };
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
                _ => format!("one for each SAE in {}", run.out.display()),
            };
            let without = if run.restart { " without --restart" } else { "" };
            line.end(&format!(
                "checkpoint written: {}; the same command{without} goes on from there",
                printable(&place)
            ));
            Err(Error::Interrupted)
        }
        other => other,
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
