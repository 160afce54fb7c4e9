//! One SAE in training, on batches that it may share with others.

use std::borrow::Cow;

use candle_core::{D, Tensor};
use prunelens_kernels::with_f32;
use serde::{Deserialize, Serialize};

use super::{
    checkpoint,
    on_device::DeviceState,
    spec::{Budget, TrainSpec},
    state::{Course, State, Work},
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
    held: Option<Held>,
    /// Seconds and tokens that were there when this process took it up.
    before: (f64, u64),
    failed: Option<Error>,
}

/// A state where its steps are taken.
enum Held {
    Here(Box<Here>),
    OnDevice(Box<DeviceState>),
}

/// A state on the CPU, with the memory of its steps.
struct Here {
    state: State,
    work: Work,
}

impl Held {
    fn here(state: State) -> Self {
        Self::Here(Box::new(Here { state, work: Work::default() }))
    }

    /// Where the activations are, from now on.
    fn beside(self, stream: &Stream) -> Result<Self> {
        match (self, stream.backend()) {
            (Self::Here(here), Some(backend)) => {
                Ok(Self::OnDevice(Box::new(DeviceState::upload(backend.clone(), here.state)?)))
            }
            (held, _) => Ok(held),
        }
    }

    fn course(&self) -> &Course {
        match self {
            Self::Here(here) => &here.state.course,
            Self::OnDevice(state) => &state.course,
        }
    }

    fn course_mut(&mut self) -> &mut Course {
        match self {
            Self::Here(here) => &mut here.state.course,
            Self::OnDevice(state) => &mut state.course,
        }
    }

    fn steps(&self) -> u64 {
        match self {
            Self::Here(here) => here.state.adam.steps,
            Self::OnDevice(state) => state.steps,
        }
    }

    fn step(&mut self, spec: &TrainSpec, x: &Tensor, progress: f64) -> Result<()> {
        let x = prepare(spec, x, self.course().scale)?;
        match self {
            Self::Here(here) => {
                let Here { state, work } = &mut **here;
                with_f32(&x, |x| state.step(spec, x, progress, work))?
            }
            Self::OnDevice(state) => state.step(spec, &x, progress),
        }
    }

    fn state(&self) -> Result<Cow<'_, State>> {
        match self {
            Self::Here(here) => Ok(Cow::Borrowed(&here.state)),
            Self::OnDevice(state) => state.download().map(Cow::Owned),
        }
    }
}

impl Trainer {
    /// Yet to begin, on the activations of one of the source's hooks.
    pub fn new(spec: TrainSpec, hook: usize) -> Self {
        Self { spec, hook, held: None, before: (0.0, 0), failed: None }
    }

    /// Its settings.
    pub fn spec(&self) -> &TrainSpec {
        &self.spec
    }

    /// What it has come to, once it has begun; brought here if it is elsewhere.
    pub fn state(&self) -> Result<Option<Cow<'_, State>>> {
        self.held.as_ref().map(Held::state).transpose()
    }

    /// Go on from a state of a run with the same settings and the same activations.
    pub fn resume(&mut self, state: State) {
        self.before = (state.course.seconds, state.course.tokens);
        self.held = Some(Held::here(state));
    }

    /// The state as bytes that [`Self::restore`] takes up, to the bit.
    pub fn to_bytes(&self) -> Result<Option<Vec<u8>>> {
        self.state()?.map(|state| checkpoint::encode(&self.spec, &state, None)).transpose()
    }

    /// Undo [`Self::to_bytes`] for a trainer of the same settings on activations of `d_in`.
    pub fn restore(&mut self, bytes: &[u8], d_in: usize) -> Result<()> {
        let broken = |what: String| Error::invalid(format!("a training's saved state cannot be used: {what}"));
        let state = checkpoint::decode(bytes, &self.spec, d_in, None, &broken)?;
        self.resume(state);
        Ok(())
    }

    fn course(&self) -> Option<&Course> {
        self.held.as_ref().map(Held::course)
    }

    pub(super) fn position(&self) -> Position {
        self.course().map_or(Position::default(), |course| course.position)
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
        let tokens = self.course().map_or(0, |course| course.tokens);
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
    pub(super) fn into_state(self) -> Result<Option<State>> {
        match self.held {
            Some(Held::Here(here)) => Ok(Some(here.state)),
            Some(Held::OnDevice(state)) => state.download().map(Some),
            None => Ok(None),
        }
    }

    /// One step on the batch at hand; what goes wrong ends this SAE and no other.
    pub(super) fn step(&mut self, stream: &Stream, seconds: f64) {
        if let Err(error) = self.try_step(stream, seconds) {
            self.failed = Some(error);
        }
    }

    fn try_step(&mut self, stream: &Stream, seconds: f64) -> Result<()> {
        let held = match self.held.take() {
            Some(held) => held,
            None => Held::here(self.begin(stream)?),
        };
        let held = self.held.insert(held.beside(stream)?);
        held.course_mut().seconds = self.before.0 + seconds;
        let course = held.course();
        let progress = self.spec.budget.progress(course.tokens, course.seconds);
        held.step(&self.spec, &stream.batch(self.hook)?, progress)
    }

    /// Told after a step: where the next one reads, and the time until now.
    pub(super) fn advance(&mut self, position: Position, seconds: f64) {
        if let Some(held) = self.held.as_mut().filter(|_| self.failed.is_none()) {
            let course = held.course_mut();
            course.position = position;
            course.seconds = self.before.0 + seconds;
        }
    }

    /// Find the scale of the activations, and draw the weights.
    fn begin(&self, stream: &Stream) -> Result<State> {
        let (d_in, length) = (stream.width(self.hook), stream.mean_length(self.hook)?);
        if !(length.is_finite() && length > 0.0) {
            return Err(Error::invalid(format!(
                "activations have a mean length of {length}; there is nothing to train on"
            )));
        }
        let scale = if self.spec.layer_norm { 1.0 } else { ((d_in as f64).sqrt() / length) as f32 };
        let sample = prepare(&self.spec, &stream.sample(self.hook, SAMPLE)?, scale)?;
        with_f32(&sample, |sample| State::new(&self.spec, d_in, scale, sample))
    }

    /// How it goes, once it has begun.
    pub fn figures(&self) -> Option<TrainFigures> {
        let (spec, held, before) = (&self.spec, self.held.as_ref()?, self.before);
        let Course { tokens, seconds, scale, recent, .. } = held.course();
        let (tokens, seconds) = (*tokens, *seconds);
        let progress = spec.budget.progress(tokens, seconds);
        let tokens_per_second = (tokens - before.1) as f64 / (seconds - before.0).max(1e-9);
        let seconds_left = match spec.budget {
            Budget::Tokens(total) if tokens >= total => 0.0,
            Budget::Tokens(total) => (total - tokens) as f64 / tokens_per_second,
            Budget::Minutes(minutes) => (minutes * 60.0 - seconds).max(0.0),
        };
        Some(TrainFigures {
            step: held.steps(),
            tokens,
            seconds,
            tokens_per_second,
            loss: recent.loss(),
            mse: recent.mse() / f64::from(*scale).powi(2),
            explained_variance: recent.explained_variance(),
            l0: recent.l0(),
            dead: held.course().dead(spec).len() as f64 / spec.d_sae as f64,
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
fn prepare(spec: &TrainSpec, rows: &Tensor, scale: f32) -> Result<Tensor> {
    if !spec.layer_norm {
        return Ok(rows.affine(f64::from(scale), 0.0)?);
    }
    if rows.device().is_cpu() {
        let d_in = rows.dim(D::Minus1)?;
        let mut values = with_f32(rows, <[f32]>::to_vec)?;
        Normalize::LayerNorm.apply(&mut values, d_in);
        return Ok(Tensor::from_vec(values, rows.shape(), rows.device())?);
    }
    let centred = rows.broadcast_sub(&rows.mean_keepdim(D::Minus1)?)?;
    let free = (rows.dim(D::Minus1)? as f64 - 1.0).max(1.0);
    let deviation = ((centred.sqr()?.sum_keepdim(D::Minus1)? / free)?.sqrt()? + 1e-5)?;
    Ok(centred.broadcast_div(&deviation)?)
}
