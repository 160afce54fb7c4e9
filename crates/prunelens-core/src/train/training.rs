//! Several SAEs on one reading: what the model gives at its hooks is read once, and each SAE takes its steps on it. Each is in
//! the end, to the bit, what it would be alone.

use std::time::Instant;

use rayon::prelude::*;

use super::{
    spec::TrainSpec,
    state::State,
    stream::{Activations, Draw, OnFill, Stream},
    trainer::{TrainFigures, Trainer},
};
use crate::{
    error::{Error, Result},
    progress::Tick,
};

/// SAEs that share a reading.
pub struct Training {
    source: Box<dyn Activations>,
    stream: Stream,
    trainers: Vec<Trainer>,
    /// Of work in this process.
    seconds: f64,
    /// How much of it went into reading.
    reading: f64,
}

impl Training {
    /// SAEs to train, each with the number of the source's hook that it reads. All must draw their batches alike.
    pub fn new(source: Box<dyn Activations>, all: Vec<(TrainSpec, usize)>) -> Result<Self> {
        let widths = source.widths();
        let Some(draw) = all.first().map(|(spec, _)| Draw::of(spec)) else {
            return Err(Error::invalid("there is no SAE to train"));
        };
        for (spec, hook) in &all {
            let width = widths.get(*hook).ok_or_else(|| Error::invalid(format!("there is no hook number {hook}")))?;
            spec.check(*width)?;
            if Draw::of(spec) != draw {
                return Err(Error::Usage(
                    "SAEs that are trained together share batch, buffer and order of the text: vary something else"
                        .into(),
                ));
            }
        }
        let stream = Stream::new(&*source, draw, Default::default());
        let trainers = all.into_iter().map(|(spec, hook)| Trainer::new(spec, hook)).collect();
        Ok(Self { source, stream, trainers, seconds: 0.0, reading: 0.0 })
    }

    /// The SAEs, in the order in which they were given.
    pub fn trainers(&self) -> &[Trainer] {
        &self.trainers
    }

    /// The same, to go on from what was kept of them. They need not be equally far: who is ahead waits.
    pub fn trainers_mut(&mut self) -> &mut [Trainer] {
        &mut self.trainers
    }

    /// Whether an SAE has something left to do.
    pub fn is_active(&self, at: usize) -> bool {
        self.trainers[at].is_active(self.seconds)
    }

    /// Whether the next step begins with reading.
    pub fn is_at_new_buffer(&self) -> bool {
        self.stream.position().batch == 0
    }

    /// Tokens that were read into buffers.
    pub fn tokens_read(&self) -> u64 {
        self.stream.tokens_read()
    }

    /// Seconds that this process spent reading activations, and taking steps on them.
    pub fn seconds(&self) -> (f64, f64) {
        (self.reading, self.seconds - self.reading)
    }

    /// One step of every SAE that is no further than the slowest. False when nothing is left to do. An interruption loses
    /// nothing but what was read of a new buffer.
    pub fn step(&mut self, fill: OnFill, tick: Tick) -> Result<bool> {
        let started = Instant::now();
        let before = self.seconds;
        let active = self.trainers.iter().filter(|trainer| trainer.is_active(before));
        let Some(position) = active.map(Trainer::position).min() else { return Ok(false) };
        let outcome = tick().and_then(|()| {
            self.stream.seek(position);
            self.stream.fetch(&mut *self.source, fill, tick)
        });
        self.reading += started.elapsed().as_secs_f64();
        if outcome.is_ok() {
            let due = |trainer: &Trainer| trainer.is_active(before) && trainer.position() == position;
            let stream = &self.stream;
            let mut due: Vec<&mut Trainer> = self.trainers.iter_mut().filter(|trainer| due(trainer)).collect();
            match stream.backend() {
                // What one of them does on a single thread goes on beside the others' work.
                None => due.par_iter_mut().for_each(|trainer| trainer.step(stream, before)),
                Some(_) => due.iter_mut().for_each(|trainer| trainer.step(stream, before)),
            }
            self.stream.advance();
            let seconds = before + started.elapsed().as_secs_f64();
            due.iter_mut().for_each(|trainer| trainer.advance(self.stream.position(), seconds));
        }
        self.seconds += started.elapsed().as_secs_f64();
        outcome.map(|()| true)
    }

    /// What became of each, with its last figures.
    pub fn finish(self) -> Vec<Result<(State, TrainFigures)>> {
        let finish = |mut trainer: Trainer| match (trainer.take_error(), trainer.figures()) {
            (Some(error), _) => Err(error),
            (None, figures) => {
                let nothing = || Error::invalid("the budget leaves nothing to train");
                trainer.into_state()?.zip(figures).ok_or_else(nothing)
            }
        };
        self.trainers.into_iter().map(finish).collect()
    }
}
