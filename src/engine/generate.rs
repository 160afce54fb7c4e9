//! A text being continued, a token of one writer at a time: whoever drives it serves the user in between.

use std::time::Instant;

use prunelens_core::{
    edit::ErrorTerm,
    error::Result,
    generate::{Writer, writers},
    progress::Tick,
    session::Session,
};

use super::{GenerateTask, Report};

pub struct Generating {
    generation: u64,
    task: GenerateTask,
    ids: Vec<u32>,
    writers: Vec<Writer>,
    /// Whose turn it is.
    turn: usize,
}

impl Generating {
    /// Nothing is read yet, but ranks where edits need them.
    pub fn new(session: &Session, generation: u64, task: GenerateTask, tick: Tick) -> Result<Self> {
        task.choice.check()?;
        let ids = session.tokens(&task.text)?.iter().map(|token| token.id).collect();
        let in_force = !task.edits.list.is_empty() || task.edits.error == ErrorTerm::Drop;
        let edits = in_force.then_some(&task.edits);
        let writers = writers(session, edits, task.setting, true, tick)?;
        Ok(Self { generation, ids, writers, turn: 0, task })
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Who writes.
    pub fn begun(&self) -> Report {
        Report::Generating { generation: self.generation, by: self.writers.iter().map(|writer| writer.of).collect() }
    }

    /// The prompt read by the next writer, or a token by it: `None` once all have ended. Reading the prompt can be
    /// interrupted, and is then begun anew; a token cannot, but by the end of the session.
    pub fn step(&mut self, session: &Session, tick: Tick, parting: Tick) -> Result<Option<Report>> {
        let n = self.writers.len();
        let Some(at) = (0..n).map(|by| (self.turn + by) % n).find(|at| !self.writers[*at].has_ended()) else {
            return Ok(None);
        };
        let writer = &mut self.writers[at];
        writer.begin(&self.ids, &self.task.choice, tick)?;
        let started = Instant::now();
        let written = writer.step(self.task.most, &session.models.tokenizer, parting)?;
        let seconds = started.elapsed().as_secs_f64();
        // Side by side as they grow.
        self.turn = (at + 1) % n;
        Ok(Some(Report::Generated { generation: self.generation, of: writer.of, written, seconds }))
    }
}
