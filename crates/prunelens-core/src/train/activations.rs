//! Activations of a model on text, in groups of rows that go through it together.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use prunelens_kernels::with_f32;

use super::stream::Activations;
use crate::{
    data::token_tensor,
    digest::fnv1a,
    error::Result,
    model::{HookPoint, Model, Tick},
    rng::Rng,
};

/// Tokens that go through the model together: enough for fast products, few enough to answer Ctrl-C soon.
const PASS: usize = 2048;

/// Random stream of the rows' order; epochs count from 0, buffers from 1 << 32, the weights have 1 << 48.
const ROWS: u64 = 1 << 49;

/// What a model has at some hooks on rows of tokens, read in one pass; special tokens are left out.
pub struct ModelActivations {
    model: Arc<Model>,
    hooks: Vec<HookPoint>,
    special: HashSet<u32>,
    groups: Vec<Vec<Vec<u32>>>,
    /// Groups met before, up to `room` numbers in all. What is kept is exactly what the model gives, so that keeping it
    /// changes nothing but the time.
    kept: HashMap<usize, Vec<Box<[f32]>>>,
    room: usize,
}

impl ModelActivations {
    /// `rows` in an order drawn from `seed`, of which at most `limit` are used; all of one length.
    pub fn new(
        model: Arc<Model>,
        hooks: Vec<HookPoint>,
        special: HashSet<u32>,
        mut rows: Vec<Vec<u32>>,
        limit: Option<usize>,
        seed: u64,
        cache_bytes: u64,
    ) -> Self {
        let order = Rng::new(seed, ROWS).permutation(rows.len());
        let chosen = order.into_iter().take(limit.unwrap_or(usize::MAX));
        let rows: Vec<_> = chosen.map(|row| std::mem::take(&mut rows[row as usize])).collect();
        let length = rows.first().map_or(1, Vec::len);
        let groups = rows.chunks((PASS / length).max(1)).map(<[_]>::to_vec).collect();
        let room = usize::try_from(cache_bytes / 4).unwrap_or(usize::MAX);
        Self { model, hooks, special, groups, kept: HashMap::new(), room }
    }

    /// Tokens to train on in one epoch.
    pub fn tokens(&self) -> usize {
        self.groups.iter().flatten().flatten().filter(|id| !self.special.contains(id)).count()
    }

    /// A number that differs between different rows: a resumed run must see the same text.
    pub fn fingerprint(&self) -> String {
        format!("{:016x}", fnv1a(self.groups.iter().flatten().flatten().map(|id| u64::from(*id))))
    }
}

impl Activations for ModelActivations {
    fn widths(&self) -> Vec<usize> {
        self.hooks.iter().map(|hook| self.model.d_in(hook.site)).collect()
    }

    fn groups(&self) -> usize {
        self.groups.len()
    }

    fn group(&mut self, index: usize, out: &mut [Vec<f32>], tick: Tick) -> Result<()> {
        if let Some(kept) = self.kept.get(&index) {
            out.iter_mut().zip(kept).for_each(|(out, kept)| out.extend_from_slice(kept));
            return Ok(());
        }
        let rows = &self.groups[index];
        let captured = self.model.capture_each(&token_tensor(rows, &self.model)?, &self.hooks, tick)?;
        let mut fresh = 0;
        for ((acts, d_in), out) in captured.iter().zip(self.widths()).zip(&mut *out) {
            let before = out.len();
            with_f32(acts, |acts| {
                let tokens = rows.iter().flatten().zip(acts.chunks_exact(d_in));
                tokens.filter(|(id, _)| !self.special.contains(id)).for_each(|(_, act)| out.extend_from_slice(act));
            })?;
            fresh += out.len() - before;
        }
        if fresh <= self.room {
            self.room -= fresh;
            let tokens = rows.iter().flatten().filter(|id| !self.special.contains(id)).count();
            let last = |(out, d_in): (&Vec<f32>, usize)| out[out.len() - tokens * d_in..].into();
            self.kept.insert(index, out.iter().zip(self.widths()).map(last).collect());
        }
        Ok(())
    }
}
