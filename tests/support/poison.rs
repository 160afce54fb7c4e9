//! A GPU on which fresh memory is nonsense: what is read before it was written shows.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use prunelens_core::error::Result;
use prunelens_kernels::device::{Backend, Kernel, Memory, Shape, Staging};

/// In every byte: no number made of it looks like a zero, a small index or an activation.
pub const POISON: u8 = 0xab;

struct Poisoned(Arc<dyn Backend>);

pub fn poisoned(backend: Arc<dyn Backend>) -> Arc<dyn Backend> {
    Arc::new(Poisoned(backend))
}

impl Backend for Poisoned {
    fn allocate(&self, bytes: usize) -> Result<Memory> {
        let mut memory = self.0.allocate(bytes)?;
        self.0.write(&mut memory, 0, &vec![POISON; bytes])?;
        Ok(memory)
    }

    fn device(&self) -> &Device {
        self.0.device()
    }

    fn write(&self, to: &mut Memory, start: usize, from: &[u8]) -> Result<()> {
        self.0.write(to, start, from)
    }

    fn staging(&self, bytes: usize) -> Result<Staging> {
        self.0.staging(bytes)
    }

    fn read(&self, from: &Memory, start: usize, to: &mut [u8]) -> Result<()> {
        self.0.read(from, start, to)
    }

    fn clear(&self, memory: &mut Memory) -> Result<()> {
        self.0.clear(memory)
    }

    fn memory_of(&self, tensor: &Tensor) -> Result<Memory> {
        self.0.memory_of(tensor)
    }

    fn tensor(&self, memory: Memory, dtype: DType, shape: &[usize]) -> Result<Tensor> {
        self.0.tensor(memory, dtype, shape)
    }

    fn products(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        self.0.products(x, weight)
    }

    unsafe fn launch(&self, kernel: Kernel, shape: Shape, arguments: &[u64]) -> Result<()> {
        // SAFETY: as the caller promises.
        unsafe { self.0.launch(kernel, shape, arguments) }
    }

    fn warm(&self) -> Result<()> {
        self.0.warm()
    }

    fn await_previous(&self) -> Result<()> {
        self.0.await_previous()
    }

    fn time(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
        self.0.time(work)
    }
}
