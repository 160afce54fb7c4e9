//! Losses as the released code of arXiv 2507.15977 takes them: every position spliced and counted, the mean of the batches' means.

use std::collections::HashSet;

use prunelens_core::{
    compare::Reader,
    error::{Error, Result},
    progress::Tick,
};
use serde::{Deserialize, Serialize};

use super::PointFigures;
use crate::{
    core::{
        pass::{Ablated, Plan, measure},
        run::rows_at_once,
    },
    job::{from_bytes, to_bytes},
    readers::groups,
};

/// What the released script pads with, whatever the tokenizer's padding is.
pub const PADDING: u32 = 0;

/// A run over batches of rows. Rows of a batch are of one length, batches need not be.
pub struct PaperRun {
    readers: Vec<Reader>,
    groups: Vec<Vec<usize>>,
    batches: Vec<Vec<Vec<u32>>>,
    ablated: Vec<Ablated>,
    sums: Vec<Sums>,
    batch: usize,
    group: usize,
    row: usize,
    /// Of the batch under way, by reader of the group.
    part: Vec<BatchSums>,
}

/// Sums of the batches' means.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Sums {
    clean: f64,
    ablation: f64,
    sae: f64,
    kl: f64,
}

/// Sums over the positions of one batch.
#[derive(Clone, Copy, Debug, Default)]
struct BatchSums {
    sums: Sums,
    targets: f64,
    positions: f64,
}

#[derive(Serialize, Deserialize)]
struct State {
    batch: usize,
    group: usize,
    sums: Vec<Sums>,
}

impl PaperRun {
    /// Over batches of rows, each a mean of its own.
    pub fn new(readers: Vec<Reader>, batches: Vec<Vec<Vec<u32>>>) -> Result<Self> {
        if readers.is_empty() || batches.is_empty() {
            return Err(Error::invalid("a sweep needs an SAE and at least one batch of text"));
        }
        let groups = groups(&readers);
        Ok(Self {
            ablated: vec![None; groups.len()],
            sums: vec![Sums::default(); readers.len()],
            groups,
            readers,
            batches,
            batch: 0,
            group: 0,
            row: 0,
            part: Vec::new(),
        })
    }

    /// Rows padded to the longest of their batch.
    pub fn pad(rows: Vec<Vec<u32>>, batch: usize) -> Vec<Vec<Vec<u32>>> {
        let mut batches: Vec<Vec<Vec<u32>>> = rows.chunks(batch.max(1)).map(<[_]>::to_vec).collect();
        for batch in &mut batches {
            let longest = batch.iter().map(Vec::len).max().unwrap_or(0);
            batch.iter_mut().for_each(|row| row.resize(longest, PADDING));
        }
        batches
    }

    /// Do the next few rows of one model. False when all is done. An error from `tick` loses at most this step's work.
    pub fn step(&mut self, tick: Tick) -> Result<bool> {
        let Some(batch) = self.batches.get(self.batch) else { return Ok(false) };
        let readers: Vec<_> = self.groups[self.group].iter().map(|&r| &self.readers[r]).collect();
        let length = batch.first().map_or(1, Vec::len);
        let end = (self.row + rows_at_once(readers[0], length)).min(batch.len());
        let plan = Plan { downstream: true, activations: false, exclude_special: false };
        let rows = &batch[self.row..end];
        let measured = measure(&readers, rows, &HashSet::new(), plan, &mut self.ablated[self.group], tick)?;
        let losses = measured.losses.ok_or_else(|| Error::invalid("no losses were measured"))?;
        self.part.resize(readers.len(), BatchSums::default());
        let known = |values: &[f32]| values.iter().filter(|v| !v.is_nan()).map(|v| f64::from(*v)).sum::<f64>();
        for (part, sae) in self.part.iter_mut().zip(&losses.sae) {
            part.targets += losses.clean.iter().filter(|v| !v.is_nan()).count() as f64;
            part.positions += sae.kl.len() as f64;
            part.sums.clean += known(&losses.clean);
            part.sums.ablation += known(&losses.ablation.ce);
            part.sums.sae += known(&sae.ce);
            part.sums.kl += known(&sae.kl);
        }
        self.row = end;
        if end == batch.len() {
            self.take_batch();
        }
        Ok(self.batch < self.batches.len())
    }

    fn take_batch(&mut self) {
        for (&reader, part) in self.groups[self.group].iter().zip(std::mem::take(&mut self.part)) {
            let sums = &mut self.sums[reader];
            sums.clean += part.sums.clean / part.targets;
            sums.ablation += part.sums.ablation / part.targets;
            sums.sae += part.sums.sae / part.targets;
            sums.kl += part.sums.kl / part.positions;
        }
        self.row = 0;
        self.group = (self.group + 1) % self.groups.len();
        if self.group == 0 {
            self.batch += 1;
        }
    }

    /// Losses of one reader so far.
    pub fn figures(&self, reader: usize) -> PointFigures {
        let done = self.groups.iter().position(|g| g.contains(&reader)).is_some_and(|group| group < self.group);
        let batches = (self.batch + usize::from(done)) as f64;
        let sums = &self.sums[reader];
        let (clean, ablation, sae) = (sums.clean / batches, sums.ablation / batches, sums.sae / batches);
        PointFigures {
            ce_loss_without_sae: clean,
            ce_loss_with_ablation: ablation,
            ce_loss_with_sae: sae,
            ce_loss_score: (ablation - sae) / (ablation - clean),
            kl_div_with_sae: sums.kl / batches,
            ..PointFigures::UNKNOWN
        }
    }

    /// Tokens done for all models, and in all.
    pub fn progress(&self) -> (usize, usize) {
        let tokens = |batches: &[Vec<Vec<u32>>]| batches.iter().flatten().map(Vec::len).sum::<usize>();
        let now = self.batches.get(self.batch).map_or(0, |batch| {
            let length = batch.first().map_or(0, Vec::len);
            (self.group * batch.len() + self.row) * length / self.groups.len()
        });
        (tokens(&self.batches[..self.batch]) + now, tokens(&self.batches))
    }

    /// What is done; a batch half done is left out.
    pub fn state(&self) -> Result<Vec<u8>> {
        to_bytes(&State { batch: self.batch, group: self.group, sums: self.sums.clone() })
    }

    /// Go on from the state of a run over the same data.
    pub fn restore(&mut self, state: &[u8]) -> Result<()> {
        let state: State = from_bytes(state)?;
        let fits = state.sums.len() == self.sums.len() && state.batch <= self.batches.len();
        if !fits || state.group >= self.groups.len() {
            return Err(Error::invalid("the saved state is of another sweep; start it anew"));
        }
        (self.batch, self.group, self.row, self.sums) = (state.batch, state.group, 0, state.sums);
        self.part.clear();
        Ok(())
    }
}
