//! One SAE in training, on batches that it may share with others.

use serde::{Deserialize, Serialize};

use super::{
    checkpoint,
    spec::{Budget, TrainSpec},
    state::{State, Work},
    stream::{Position, Stream},
};
use crate::{
    error::{Error, Result},
    sae::Normalize,
};

/// Figures of about the last 50 steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainFigures {
    /// Batches that were trained on.
    pub step: u64,
    /// Tokens that were trained on.
    pub tokens: u64,
    /// Time spent, interruptions left out; with that of others trained beside it.
    pub seconds: f64,
    /// Since the start or the resumption.
    pub tokens_per_second: f64,
    /// All that is minimised, for a token, in the units trained on.
    pub loss: f64,
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

/// Tokens of the sample from which `b_dec` begins.
const SAMPLE: usize = 8192;

/// An SAE on its way, with the settings that decide its outcome.
pub struct Trainer {
    spec: TrainSpec,
    hook: usize,
    /// Made from the first buffer.
    state: Option<State>,
    batch: Vec<f32>,
    work: Work,
    /// Seconds and tokens that were there when this process took it up.
    before: (f64, u64),
    failed: Option<Error>,
}

impl Trainer {
    /// Yet to begin, on the activations of one of the source's hooks.
    pub fn new(spec: TrainSpec, hook: usize) -> Self {
        Self { spec, hook, state: None, batch: Vec::new(), work: Work::default(), before: (0.0, 0), failed: None }
    }

    /// Its settings.
    pub fn spec(&self) -> &TrainSpec {
        &self.spec
    }

    /// What it has come to, once it has begun.
    pub fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// Go on from a state of a run with the same settings and the same activations.
    pub fn resume(&mut self, state: State) {
        self.before = (state.seconds, state.tokens);
        self.state = Some(state);
    }

    /// The state as bytes that [`Self::restore`] takes up, to the bit.
    pub fn to_bytes(&self) -> Result<Option<Vec<u8>>> {
        self.state.as_ref().map(|state| checkpoint::encode(&self.spec, state, None)).transpose()
    }

    /// Undo [`Self::to_bytes`] for a trainer of the same settings on activations of `d_in`.
    pub fn restore(&mut self, bytes: &[u8], d_in: usize) -> Result<()> {
        let broken = |what: String| Error::invalid(format!("a training's saved state cannot be used: {what}"));
        let state = checkpoint::decode(bytes, &self.spec, d_in, None, &broken)?;
        self.resume(state);
        Ok(())
    }

    pub(super) fn position(&self) -> Position {
        self.state.as_ref().map_or(Position::default(), |state| state.position)
    }

    /// Memory that the SAE takes while it is trained, in bytes: weights with their moments, and about what a step works on.
    pub fn bytes(spec: &TrainSpec, d_in: usize) -> u64 {
        let (d_sae, d_in, batch) = (spec.d_sae as u64, d_in as u64, spec.batch as u64);
        let vectors = spec.architecture.vectors().len() as u64;
        let state = 3 * (2 * d_sae * d_in + (1 + vectors) * d_sae + d_in) * 4 + 8 * d_sae;
        state + 4 * 4 * batch * d_in + Work::bytes(spec, d_in)
    }

    /// Whether there is something left to do after so many seconds of this process.
    pub(super) fn is_active(&self, seconds: f64) -> bool {
        let tokens = self.state.as_ref().map_or(0, |state| state.tokens);
        self.failed.is_none() && self.spec.budget.progress(tokens, self.before.0 + seconds) < 1.0
    }

    /// What ended it before its time, if something did.
    pub fn take_error(&mut self) -> Option<Error> {
        self.failed.take()
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// What is left of it when it is done.
    pub(super) fn into_state(self) -> Option<State> {
        self.state
    }

    /// One step on the batch at hand; what goes wrong ends this SAE and no other.
    pub(super) fn step(&mut self, stream: &Stream, seconds: f64) {
        if let Err(error) = self.try_step(stream, seconds) {
            self.failed = Some(error);
        }
    }

    fn try_step(&mut self, stream: &Stream, seconds: f64) -> Result<()> {
        if self.state.is_none() {
            self.state = Some(self.begin(stream)?);
        }
        let Some(state) = &mut self.state else { return Ok(()) };
        state.seconds = self.before.0 + seconds;
        stream.batch(self.hook, &mut self.batch);
        prepare(&self.spec, &mut self.batch, state.weights.d_in, state.scale);
        let progress = self.spec.budget.progress(state.tokens, state.seconds);
        state.step(&self.spec, &self.batch, progress, &mut self.work)
    }

    /// Told after a step: where the next one reads, and the time until now.
    pub(super) fn advance(&mut self, position: Position, seconds: f64) {
        if let Some(state) = self.state.as_mut().filter(|_| self.failed.is_none()) {
            state.position = position;
            state.seconds = self.before.0 + seconds;
        }
    }

    /// Find the scale of the activations, and draw the weights.
    fn begin(&self, stream: &Stream) -> Result<State> {
        let (d_in, length) = (stream.width(self.hook), stream.mean_length(self.hook));
        if !(length.is_finite() && length > 0.0) {
            return Err(Error::invalid(format!(
                "activations have a mean length of {length}; there is nothing to train on"
            )));
        }
        let scale = if self.spec.layer_norm { 1.0 } else { ((d_in as f64).sqrt() / length) as f32 };
        let mut sample = Vec::new();
        stream.sample(self.hook, SAMPLE, &mut sample);
        prepare(&self.spec, &mut sample, d_in, scale);
        Ok(State::new(&self.spec, d_in, scale, &sample))
    }

    /// How it goes, once it has begun.
    pub fn figures(&self) -> Option<TrainFigures> {
        let (spec, state, before) = (&self.spec, self.state.as_ref()?, self.before);
        let progress = spec.budget.progress(state.tokens, state.seconds);
        let tokens_per_second = (state.tokens - before.1) as f64 / (state.seconds - before.0).max(1e-9);
        let seconds_left = match spec.budget {
            Budget::Tokens(total) if state.tokens >= total => 0.0,
            Budget::Tokens(total) => (total - state.tokens) as f64 / tokens_per_second,
            Budget::Minutes(minutes) => (minutes * 60.0 - state.seconds).max(0.0),
        };
        Some(TrainFigures {
            step: state.adam.steps,
            tokens: state.tokens,
            seconds: state.seconds,
            tokens_per_second,
            loss: state.recent.loss(),
            mse: state.recent.mse() / f64::from(state.scale).powi(2),
            explained_variance: state.recent.explained_variance(),
            l0: state.recent.l0(),
            dead: state.dead(spec).len() as f64 / spec.d_sae as f64,
            schedule: spec.schedule(progress).0,
            progress,
            seconds_left,
        })
    }

    /// The figures, if this is a step whose figures are kept as part of the curve.
    pub fn report(&self) -> Option<TrainFigures> {
        let every = self.spec.reports_every();
        self.figures().filter(|figures| figures.progress >= 1.0 || figures.step % every == 0)
    }
}

/// From activations to what is trained on.
fn prepare(spec: &TrainSpec, rows: &mut [f32], d_in: usize, scale: f32) {
    if spec.layer_norm {
        Normalize::LayerNorm.apply(rows, d_in);
    }
    rows.iter_mut().for_each(|x| *x *= scale);
}
