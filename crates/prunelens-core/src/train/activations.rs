//! Activations of a model on text, in groups of rows that go through it together.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use candle_core::Tensor;
use prunelens_kernels::with_f32;

use super::stream::Activations;
use crate::{
    data::token_tensor,
    digest::fnv1a,
    error::Result,
    model::{HookPoint, Model, Tick, side_by_side},
    rng::Rng,
};

/// Tokens that go through the model together: enough for fast products, few enough to answer Ctrl-C soon.
const PASS: usize = 2048;

/// Passes that go on side by side, at most.
const AT_ONCE: usize = 4;

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
        (0..self.groups.len()).map(|index| self.tokens_of(index)).sum()
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

    fn tokens_of(&self, index: usize) -> usize {
        self.groups[index].iter().flatten().filter(|id| !self.special.contains(id)).count()
    }

    /// As many as there are threads: each pass keeps one of them busy. More would only take memory.
    fn at_once(&self) -> usize {
        if self.model.device.is_cpu() { rayon::current_num_threads().min(AT_ONCE) } else { 1 }
    }

    fn read(&mut self, groups: &[usize], out: &mut [Vec<f32>], tick: Tick) -> Result<()> {
        let mut missing: Vec<usize> = groups.iter().copied().filter(|index| !self.kept.contains_key(index)).collect();
        missing.sort_unstable();
        missing.dedup();
        let pass = |at: usize, tick: Tick| self.pass(missing[at], tick);
        let passes = side_by_side(&self.model.device, missing.len(), pass, tick)?;
        let fresh: HashMap<usize, Vec<Box<[f32]>>> = missing.into_iter().zip(passes).collect();
        for acts in groups.iter().filter_map(|index| self.kept.get(index).or_else(|| fresh.get(index))) {
            out.iter_mut().zip(acts).for_each(|(out, acts)| out.extend_from_slice(acts));
        }
        for (index, acts) in fresh {
            let numbers: usize = acts.iter().map(|acts| acts.len()).sum();
            if numbers <= self.room {
                self.room -= numbers;
                self.kept.insert(index, acts);
            }
        }
        Ok(())
    }
}

impl ModelActivations {
    /// What the model has at each hook on the tokens of a group.
    fn pass(&self, index: usize, tick: Tick) -> Result<Vec<Box<[f32]>>> {
        let rows = &self.groups[index];
        let captured = self.model.capture_each(&token_tensor(rows, &self.model)?, &self.hooks, tick)?;
        let tokens = self.tokens_of(index);
        let of_tokens = |(acts, d_in): (&Tensor, usize)| {
            let mut out = Vec::with_capacity(tokens * d_in);
            with_f32(acts, |acts| {
                let all = rows.iter().flatten().zip(acts.chunks_exact(d_in));
                all.filter(|(id, _)| !self.special.contains(id)).for_each(|(_, act)| out.extend_from_slice(act));
            })?;
            Ok(out.into_boxed_slice())
        };
        captured.iter().zip(self.widths()).map(of_tokens).collect()
    }
}
