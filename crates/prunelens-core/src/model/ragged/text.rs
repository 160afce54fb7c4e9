//! What is kept of a text that has been read.

use std::sync::Arc;

use prunelens_kernels::ragged::Kv;

/// A beginning that texts share, read once.
#[derive(Debug)]
pub struct Prefix {
    pub(super) blocks: Vec<Kv>,
    pub(super) len: usize,
}

impl Prefix {
    /// Memory of its keys and values.
    pub fn bytes(&self) -> usize {
        self.blocks.iter().map(Kv::bytes).sum()
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

    pub(super) fn past(&self, layer: usize) -> Option<&Kv> {
        self.prefix.as_ref()?.blocks.get(layer)
    }
}
