//! Activations of a model on text, in groups of rows that go through it together.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use candle_core::{DType, Device, Tensor};
use prunelens_kernels::device::Backend;

use super::stream::Activations;
use crate::{
    data::token_tensor,
    digest::fnv1a,
    error::Result,
    model::{HookPoint, Model},
    progress::Tick,
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
    /// Groups met before, up to `room` numbers in all, where the model is. What is kept is exactly what the model gives, so that
    /// keeping it changes nothing but the time.
    kept: HashMap<usize, Vec<Tensor>>,
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

    fn most(&self) -> usize {
        self.groups.iter().map(|rows| rows.iter().map(Vec::len).sum()).max().unwrap_or(0)
    }

    fn group(&mut self, index: usize, tick: Tick) -> Result<Vec<Tensor>> {
        if let Some(kept) = self.kept.get(&index) {
            return Ok(kept.clone());
        }
        let rows = &self.groups[index];
        let captured = self.model.capture_each(&token_tensor(rows, &self.model)?, &self.hooks, tick)?;
        let all = rows.iter().flatten();
        let wanted: Vec<u32> = (0..).zip(all).filter(|(_, id)| !self.special.contains(id)).map(|(at, _)| at).collect();
        if wanted.is_empty() {
            // A GPU takes no launch over nothing.
            let none = |width| Ok(Tensor::zeros((0, width), DType::F32, &Device::Cpu)?);
            return self.widths().into_iter().map(none).collect();
        }
        let wanted = Tensor::from_slice(&wanted, wanted.len(), &self.model.device)?;
        let taken = |acts: &Tensor| acts.flatten_to(1)?.index_select(&wanted, 0);
        let found = captured.iter().map(taken).collect::<candle_core::Result<Vec<_>>>()?;
        let fresh: usize = found.iter().map(Tensor::elem_count).sum();
        if fresh <= self.room {
            self.room -= fresh;
            self.kept.insert(index, found.clone());
        }
        Ok(found)
    }

    fn backend(&self) -> Option<&Arc<dyn Backend>> {
        self.model.ops.backend()
    }
}
