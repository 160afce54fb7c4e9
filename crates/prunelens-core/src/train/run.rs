//! Training to the end of the budget, with what is kept on disk on the way: checkpoints and curves.

use std::time::{Duration, Instant};

use super::{
    checkpoint::Checkpoint, curve::Curve, spec::TrainSpec, state::State, stream::Activations, trainer::TrainFigures,
    training::Training,
};
use crate::{error::Result, progress::Tick};

/// What a running training tells.
pub enum TrainEvent<'a> {
    /// The buffer is being filled with activations: tokens there, tokens wanted.
    Filling(usize, usize),
    /// A batch more, for each SAE that has begun, by its number.
    Step(&'a [(usize, TrainFigures)]),
    /// Something could not be written; the training goes on.
    Warning(&'a str),
}

/// One SAE to train.
pub struct Run {
    /// Its settings.
    pub spec: TrainSpec,
    /// Number of the source's hook that it reads.
    pub hook: usize,
    /// Where its state and its curve are kept; nowhere if `None`.
    pub checkpoint: Option<Checkpoint>,
}

/// How often, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Keeping {
    /// How often to write checkpoints.
    pub every: Duration,
    /// Go on from those that are there; an SAE without one begins anew.
    pub resume: bool,
}

/// What became of an SAE: its state and its last figures.
pub type Trained = Result<(State, TrainFigures)>;

/// Train until all budgets are used up. An interruption by `tick` leaves checkpoints, any other error that ends it too.
pub fn train(
    runs: Vec<Run>,
    source: Box<dyn Activations>,
    keeping: Keeping,
    listen: &mut dyn FnMut(TrainEvent),
    tick: Tick,
) -> Result<Vec<Trained>> {
    let widths = source.widths();
    let (all, checkpoints): (Vec<_>, Vec<_>) =
        runs.into_iter().map(|run| ((run.spec, run.hook), run.checkpoint)).unzip();
    let hooks: Vec<usize> = all.iter().map(|(_, hook)| *hook).collect();
    let mut training = Training::new(source, all)?;
    let mut curves = Vec::new();
    for ((trainer, checkpoint), hook) in training.trainers_mut().iter_mut().zip(&checkpoints).zip(hooks) {
        let Some(checkpoint) = checkpoint else {
            curves.push(None);
            continue;
        };
        let mut step = 0;
        if keeping.resume && checkpoint.exists() {
            let state = checkpoint.load(trainer.spec(), widths[hook])?;
            step = state.adam.steps;
            trainer.resume(state);
        }
        curves.push(Some(Curve::open(checkpoint.folder(), step)?));
    }

    let mut saved = Instant::now();
    loop {
        match training.step(&mut |done, total| listen(TrainEvent::Filling(done, total)), tick) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                save(&training, &checkpoints)?;
                return Err(error);
            }
        }
        tell(&training, &mut curves, listen);
        if saved.elapsed() >= keeping.every {
            // The old file is whole, and the next try may succeed: hours of work do not end here.
            if let Err(error) = save(&training, &checkpoints) {
                listen(TrainEvent::Warning(&format!("{error}. The training goes on")));
            }
            saved = Instant::now();
        }
    }
    Ok(training.finish())
}

/// How far everyone is, to the listener and to the curves.
fn tell(training: &Training, curves: &mut [Option<Curve>], listen: &mut dyn FnMut(TrainEvent)) {
    let trainers = training.trainers().iter().enumerate();
    let figures: Vec<_> = trainers.filter_map(|(at, trainer)| Some((at, trainer.figures()?))).collect();
    listen(TrainEvent::Step(&figures));
    for (trainer, curve) in training.trainers().iter().zip(curves) {
        if let (Some(file), Some(report)) = (curve.as_mut(), trainer.report())
            && let Err(error) = file.add(&report)
        {
            listen(TrainEvent::Warning(&format!("{error}: the curve of this run ends here. The training goes on")));
            *curve = None;
        }
    }
}

/// The state of each SAE that is under way.
fn save(training: &Training, checkpoints: &[Option<Checkpoint>]) -> Result<()> {
    for (trainer, checkpoint) in training.trainers().iter().zip(checkpoints) {
        if let Some(checkpoint) = checkpoint.as_ref().filter(|_| !trainer.has_failed())
            && let Some(state) = trainer.state()?
        {
            checkpoint.save(trainer.spec(), &state)?;
        }
    }
    Ok(())
}
