//! What is kept of a text that has been read.

use std::sync::Arc;

use prunelens_kernels::kv_cache::Seen;

/// Keys and values of some tokens in one block, `[tokens, kv_heads * width]` each.
#[derive(Clone, Debug, Default)]
pub(super) struct Kv {
    pub k: Vec<f32>,
    pub v: Vec<f32>,
}

impl Kv {
    pub fn seen(&self) -> Seen<'_> {
        Seen { k: &self.k, v: &self.v }
    }
}

/// A beginning that texts share, read once.
#[derive(Debug)]
pub struct Prefix {
    pub(super) blocks: Vec<Kv>,
    pub(super) len: usize,
}

impl Prefix {
    /// Memory of its keys and values.
    pub fn bytes(&self) -> usize {
        4 * self.blocks.iter().map(|kv| kv.k.len() + kv.v.len()).sum::<usize>()
    }
}

/// A text that is being read. Cloning copies what it does not share.
#[derive(Clone, Debug, Default)]
pub struct Text {
    pub(super) prefix: Option<Arc<Prefix>>,
    /// One a block; empty until something is read.
    pub(super) own: Vec<Kv>,
    /// Tokens read after the prefix.
    pub(super) len: usize,
}

impl Text {
    /// One that begins with `prefix`.
    pub fn after(prefix: Option<Arc<Prefix>>) -> Self {
        Self { prefix, ..Self::default() }
    }

    /// Tokens read so far.
    pub fn read(&self) -> usize {
        self.prefix.as_ref().map_or(0, |p| p.len) + self.len
    }

    pub(super) fn past(&self, layer: usize) -> Seen<'_> {
        self.prefix.as_ref().and_then(|p| p.blocks.get(layer)).map(Kv::seen).unwrap_or_default()
    }
}
