//! The loop: fetch a batch, step, tell, now and then write a checkpoint.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{
    checkpoint::Checkpoint,
    spec::{Budget, TrainSpec},
    state::State,
    stream::{Activations, Position, Stream},
};
use crate::{
    error::{Error, Result},
    model::Tick,
};

/// Figures of about the last 50 steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TrainFigures {
    /// Batches that were trained on.
    pub step: u64,
    /// Tokens that were trained on.
    pub tokens: u64,
    /// Time spent, interruptions left out.
    pub seconds: f64,
    /// Since the start or the resumption.
    pub tokens_per_second: f64,
    /// `sum (x̂ - x)^2 / (N d_in)` in units of the activations (normalised ones with `layer_norm`).
    pub mse: f64,
    /// Share of the variance of the last batches.
    pub explained_variance: f64,
    /// Latents that fire on a token, on average.
    pub l0: f64,
    /// Share of the latents that have not fired for the time given in the settings.
    pub dead: f64,
    /// Factor of the learning rate.
    pub schedule: f64,
    /// Share of the budget used.
    pub progress: f64,
    /// To the end of the budget.
    pub seconds_left: f64,
}

/// What a running training tells.
pub enum TrainEvent<'a> {
    /// The buffer is being filled with activations: tokens there, tokens wanted.
    Filling(usize, usize),
    /// A batch more.
    Step(&'a TrainFigures),
}

/// Where a run may be stopped and taken up again.
pub struct Resumable<'a> {
    /// Where the state is kept.
    pub checkpoint: &'a Checkpoint,
    /// How often to write it.
    pub every: Duration,
    /// Go on from it.
    pub resume: bool,
}

/// Tokens of the sample from which `b_dec` begins.
const SAMPLE: usize = 8192;

/// Train until the budget is used up. An interruption by `tick` leaves a checkpoint.
pub fn train(
    spec: &TrainSpec,
    source: &mut dyn Activations,
    resumable: Option<&Resumable>,
    listen: &mut dyn FnMut(TrainEvent),
    tick: Tick,
) -> Result<(State, TrainFigures)> {
    let d_in = source.d_in();
    spec.check(d_in)?;
    let start = Instant::now();
    let resumed = match resumable {
        Some(r) if r.resume => Some(r.checkpoint.load(spec, d_in)?),
        _ => None,
    };
    let position = resumed.as_ref().map_or(Position::default(), |state| state.position);
    let mut stream = Stream::new(source, spec, position);
    let mut batch = Vec::new();
    let mut state = match resumed {
        Some(state) => state,
        None => begin(spec, d_in, &mut stream, &mut batch, listen, tick)?,
    };
    stream.set_scale(state.scale);
    let (seconds_before, tokens_before) = (state.seconds, state.tokens);
    let mut saved = Instant::now();
    loop {
        state.seconds = seconds_before + start.elapsed().as_secs_f64();
        let progress = spec.budget.progress(state.tokens, state.seconds);
        if progress >= 1.0 {
            break;
        }
        let mut fill = |done, total| listen(TrainEvent::Filling(done, total));
        if let Err(error) = tick().and_then(|()| stream.fetch(&mut batch, &mut fill, tick)) {
            if let (Error::Interrupted, Some(r)) = (&error, resumable) {
                r.checkpoint.save(spec, &state)?;
            }
            return Err(error);
        }
        state.step(spec, &batch, progress)?;
        stream.advance();
        state.position = stream.position();
        listen(TrainEvent::Step(&figures(spec, &state, seconds_before, tokens_before)));
        if let Some(r) = resumable.filter(|r| saved.elapsed() >= r.every) {
            r.checkpoint.save(spec, &state)?;
            saved = Instant::now();
        }
    }
    let figures = figures(spec, &state, seconds_before, tokens_before);
    Ok((state, figures))
}

/// Fill the first buffer, find the scale of the activations, and draw the weights.
fn begin(
    spec: &TrainSpec,
    d_in: usize,
    stream: &mut Stream,
    batch: &mut Vec<f32>,
    listen: &mut dyn FnMut(TrainEvent),
    tick: Tick,
) -> Result<State> {
    stream.fetch(batch, &mut |done, total| listen(TrainEvent::Filling(done, total)), tick)?;
    let length = stream.mean_length();
    if !(length.is_finite() && length > 0.0) {
        return Err(Error::invalid(format!(
            "activations have a mean length of {length}; there is nothing to train on"
        )));
    }
    let scale = if spec.layer_norm { 1.0 } else { ((d_in as f64).sqrt() / length) as f32 };
    stream.set_scale(scale);
    Ok(State::new(spec, d_in, scale, &stream.sample(SAMPLE)))
}

fn figures(spec: &TrainSpec, state: &State, seconds_before: f64, tokens_before: u64) -> TrainFigures {
    let progress = spec.budget.progress(state.tokens, state.seconds);
    let tokens_per_second = (state.tokens - tokens_before) as f64 / (state.seconds - seconds_before).max(1e-9);
    let seconds_left = match spec.budget {
        Budget::Tokens(total) => total.saturating_sub(state.tokens) as f64 / tokens_per_second,
        Budget::Minutes(minutes) => (minutes * 60.0 - state.seconds).max(0.0),
    };
    TrainFigures {
        step: state.adam.steps,
        tokens: state.tokens,
        seconds: state.seconds,
        tokens_per_second,
        mse: state.recent.mse() / f64::from(state.scale).powi(2),
        explained_variance: state.recent.explained_variance(),
        l0: state.recent.l0(),
        dead: state.dead(spec).len() as f64 / spec.d_sae as f64,
        schedule: spec.schedule(progress).0,
        progress,
        seconds_left,
    }
}
