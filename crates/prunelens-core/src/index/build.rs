//! Building an index, a few rows at a time: usable while it grows.

use std::{collections::HashSet, sync::Arc};

use super::{Fires, Index, beside::side_by_side};
use crate::{
    compare::{Reader, Variant},
    data::token_tensor,
    error::Result,
    progress::Tick,
    sae::{Latents, Setting},
};

/// Tokens that go through a model at a time, so that a request in between waits for no more.
const TOKENS: usize = 1024;

/// An index that grows.
#[derive(Debug)]
pub struct Indexing {
    /// Empty where everything was kept from before.
    readers: Arc<Vec<Reader>>,
    special: HashSet<u32>,
    /// Memory that it may take.
    memory: u64,
    /// Its name in the cache, where it is kept there.
    pub(crate) key: Option<String>,
    /// What there is of it.
    pub index: Index,
}

impl Indexing {
    /// Of what these readers find in a corpus, in so many bytes at most; tokens that are `special` are counted nowhere.
    pub fn new(
        readers: Vec<Reader>,
        corpus: Arc<Vec<Vec<u32>>>,
        setting: Setting,
        special: HashSet<u32>,
        memory: u64,
    ) -> Self {
        let mut index = Index::new(corpus, setting);
        for reader in &readers {
            index.variants[reader.variant as usize] = Some(Fires::new(reader.sae.d_sae()));
        }
        Self { readers: Arc::new(readers), special, memory, key: None, index }
    }

    /// The same with what was read of it before: it goes on from there, to the same bits as without the break.
    pub(crate) fn resumed(self, index: Index) -> Self {
        Self { index, ..self }
    }

    /// As it is: nothing more is to be read.
    pub(crate) fn finished(self) -> Self {
        Self { readers: Arc::default(), ..self }
    }

    /// What another says of the `pruned` variant in the place of what is said here; from now on it is kept as of that
    /// setting. False, and nothing is changed, where it was not read over as many rows.
    pub fn replace_pruned(&mut self, other: Self) -> bool {
        let replaced = self.index.replace_pruned(other.index);
        if replaced {
            self.key = other.key;
        }
        replaced
    }

    /// Whether everything was kept from before.
    pub fn is_kept(&self) -> bool {
        self.readers.is_empty()
    }

    /// The next rows to be read; `None` once everything is, or as much as memory is granted for.
    pub fn next(&self) -> Option<Batch> {
        let rest = self.index.rows.get(self.index.read..)?;
        let length = rest.first()?.len();
        if self.readers.is_empty() || self.index.bytes() >= self.memory {
            return None;
        }
        let most = (TOKENS / length.max(1)).max(1);
        let rows = rest.iter().take(most).take_while(|row| row.len() == length).cloned().collect();
        Some(Batch { readers: self.readers.clone(), rows })
    }

    /// What fires in the next rows, once they are read.
    pub fn add(&mut self, fired: &Fired) {
        let counts: Vec<bool> = fired.rows.iter().flatten().map(|id| !self.special.contains(id)).collect();
        for (variant, latents) in &fired.latents {
            if let Some(fires) = &mut self.index.variants[*variant as usize] {
                fires.add(latents, &counts);
            }
        }
        self.index.tokens += counts.iter().filter(|counts| **counts).count() as u64;
        for row in &fired.rows {
            let end = self.index.starts.last().copied().unwrap_or_default() + row.len() as u32;
            self.index.starts.push(end);
        }
        self.index.read += fired.rows.len();
    }
}

/// Rows about to be read. It holds nothing of the index, which can be looked at meanwhile.
#[derive(Debug)]
pub struct Batch {
    readers: Arc<Vec<Reader>>,
    rows: Vec<Vec<u32>>,
}

/// What fires in some rows.
#[derive(Debug)]
pub struct Fired {
    rows: Vec<Vec<u32>>,
    latents: Vec<(Variant, Latents)>,
}

impl Batch {
    /// Read them through every variant; each model once.
    pub fn read(self, tick: Tick) -> Result<Fired> {
        // Variants of one model stand side by side.
        let models: Vec<&[Reader]> = self.readers.chunk_by(|a, b| Arc::ptr_eq(&a.model, &b.model)).collect();
        let Some(first) = self.readers.first() else { return Ok(Fired { rows: self.rows, latents: Vec::new() }) };
        let read = |at: usize, tick: Tick| -> Result<Vec<(Variant, Latents)>> {
            let (model, hook) = (&models[at][0].model, models[at][0].hook);
            let captured = model.capture(&token_tensor(&self.rows, model)?, hook, tick)?;
            let encode = |reader: &Reader| {
                tick()?;
                Ok((reader.variant, reader.encode(&reader.input(&captured)?)?.into_latents()?))
            };
            models[at].iter().map(encode).collect()
        };
        let latents = side_by_side(&first.model.device, models.len(), read, tick)?.concat();
        Ok(Fired { rows: self.rows, latents })
    }
}
