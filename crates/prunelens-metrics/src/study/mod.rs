//! Many sessions measured by plan, on the same rows: the work of one cell, and what the cells say together.

pub mod redundancy;
pub mod rules;

use prunelens_core::{compare::Variant, digest::sha256, error::Result, progress::Tick, session::Session};

use crate::{
    core::{CoreOptions, CoreSpec, job as core},
    sweep::{
        LayerResult, SweepSpec,
        plan::{LayerRun, SweepRows},
    },
};

/// Rows that are read together.
const BATCH: usize = 8;

/// Text that all cells of a study are measured on.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Of equal length.
    pub rows: Vec<Vec<u32>>,
    /// Tokens in each.
    pub context: usize,
    /// Where they come from, for people.
    pub text: String,
}

impl Rows {
    /// Of the tokens.
    pub fn digest(&self) -> String {
        sha256(&self.rows.iter().flatten().flat_map(|id| id.to_le_bytes()).collect::<Vec<_>>())
    }

    /// Whole batches of them are measured.
    pub fn measured(&self) -> usize {
        let batch = BATCH.min(self.rows.len()).max(1);
        self.rows.len() / batch * batch
    }
}

/// What a [`curve`] is of.
pub const VARIANTS: [Variant; 3] = [Variant::Original, Variant::Transfer, Variant::Pruned];

/// A session's SAE on both models, and pruned at every ratio on the pruned one. `listen` gets tokens done and in all.
pub fn curve(
    session: &Session,
    spec: &SweepSpec,
    rows: &Rows,
    listen: &mut dyn FnMut(usize, usize),
    tick: Tick,
) -> Result<LayerResult> {
    let rows = SweepRows {
        core: CoreSpec::over(rows.rows.len(), rows.context, BATCH, rows.text.clone()),
        batches: vec![rows.rows.clone()],
        special: session.models.tokenizer.specials(),
    };
    let mut run = LayerRun::new(session, spec, &VARIANTS, &rows, tick)?;
    while run.step(tick)? {
        let (done, total) = run.progress();
        listen(done, total);
    }
    run.finish()
}

/// The first rows of a session's text, or of the built-in one.
pub fn rows(session: &Session, rows: Option<usize>, context: Option<usize>) -> Result<Rows> {
    let options = CoreOptions { rows, context, batch: Some(1), ..CoreOptions::default() };
    let (spec, rows) = core::rows(session, &options)?;
    Ok(Rows { rows, context: spec.context_size, text: spec.dataset })
}
