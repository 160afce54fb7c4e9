//! The ranks of one matrix, on the CPU, on a GPU, or on both.

use std::{
    fmt,
    ops::Range,
    sync::{Arc, OnceLock},
};

use prunelens_kernels::{
    Ranks, cut,
    device::{Backend, DeviceRanks, Mask},
};

use crate::error::{Error, Result};

/// Ranks of a matrix's weights. Made in one place, copied to the other when they are needed there.
pub struct Ranked {
    /// Weights in a comparison group.
    group: usize,
    host: OnceLock<Ranks>,
    device: OnceLock<(Arc<dyn Backend>, DeviceRanks)>,
}

impl Ranked {
    /// Made on the CPU, in groups of `group` weights.
    pub fn on_host(ranks: Ranks, group: usize) -> Self {
        Self { group, host: ranks.into(), device: OnceLock::new() }
    }

    /// Made on a GPU, in groups of `group` weights.
    pub fn on_device(backend: Arc<dyn Backend>, ranks: DeviceRanks, group: usize) -> Self {
        Self { group, host: OnceLock::new(), device: (backend, ranks).into() }
    }

    /// The rank that a weight must reach to be kept at a ratio.
    pub fn cut(&self, ratio: f64) -> u32 {
        cut(self.group, ratio)
    }

    /// All ranks, read back from the GPU if they were made there.
    pub fn host(&self) -> Result<&Ranks> {
        match (self.host.get(), self.device.get()) {
            (Some(ranks), _) => Ok(ranks),
            (None, Some((backend, ranks))) => {
                let ranks = ranks.to_ranks(&**backend)?;
                Ok(self.host.get_or_init(|| ranks))
            }
            (None, None) => Err(Error::invalid("ranks that were never made")),
        }
    }

    /// The mask at a ratio, for a GPU.
    pub fn mask(&self, backend: &Arc<dyn Backend>, ratio: f64) -> Result<Mask<'_>> {
        let (_, ranks) = match self.device.get() {
            Some(made) => made,
            None => {
                let ranks = DeviceRanks::new(&**backend, self.host()?)?;
                self.device.get_or_init(|| (backend.clone(), ranks))
            }
        };
        Ok(Some((ranks, self.cut(ratio))))
    }

    /// Some of the ranks.
    pub fn part(&self, range: Range<usize>) -> Result<Vec<u32>> {
        match (self.host.get(), self.device.get()) {
            (None, Some((backend, ranks))) => ranks.part(&**backend, range),
            _ => {
                let ranks = self.host()?;
                Ok(range.map(|at| ranks.get(at)).collect())
            }
        }
    }

    /// Memory taken, in both places together.
    pub fn bytes(&self) -> u64 {
        let (host, device) = (self.host.get(), self.device.get());
        host.map_or(0, Ranks::bytes) + device.map_or(0, |(_, ranks)| ranks.bytes())
    }
}

impl fmt::Debug for Ranked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ranked").field("group", &self.group).field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}
