//! What uses memory.

use prunelens_core::session::Session;
use prunelens_kernels::gpu;

use crate::process;

/// In bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemoryUse {
    /// Of the session and what is kept beside it, by name.
    pub parts: Vec<(String, u64)>,
    /// The whole process, where the system tells.
    pub process: Option<u64>,
    /// What every program together uses of the GPU that models are on.
    pub gpu: Option<u64>,
}

impl MemoryUse {
    pub fn of(session: &Session) -> Self {
        let gpu = gpu::opened(&session.models.original.device);
        Self {
            parts: session.memory(),
            process: process::resident_bytes(),
            gpu: gpu.map(|gpu| gpu.total_bytes.saturating_sub(gpu.free_bytes)),
        }
    }

    /// The whole process where the system tells it, else what is known.
    pub fn in_use(&self) -> u64 {
        self.process.unwrap_or_else(|| self.parts.iter().map(|(_, bytes)| bytes).sum())
    }
}
