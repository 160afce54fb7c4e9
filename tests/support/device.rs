//! Where the numbers of the reference are checked: the device in PRUNELENS_DEVICE.
//!
//! `cpu` is the default; `cuda` or `cuda:N` need a GPU; `stand-in` gives models and SAEs to the GPU's kernels compiled for the
//! processor, which keeps the matrix products. With PRUNELENS_POISON what a GPU allocates for the kernels is not what was there
//! before, but nonsense; the stand-in's memory always is.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

use candle_core::{DType, Device};
use prunelens::settings::{self, libraries};
use prunelens_core::{
    error::Result,
    model::Model,
    sae::{Dictionary, Sae, place},
    session::DeviceSpec,
};
use prunelens_kernels::{
    device,
    ops::{self, Ops},
};

use super::{poison::poisoned, stand_in};

/// How many of some entries at an edge, weights at a cut or latents at the k-th place, may fall to the other side when sums
/// are done in another order: none unless the matrix products are a card's.
pub fn at_edges(device: &Device, of: usize) -> usize {
    if device.is_cpu() { 0 } else { (of / 500).max(2) }
}

#[derive(Clone)]
pub struct TestDevice {
    pub device: Device,
    pub ops: Arc<dyn Ops>,
}

impl TestDevice {
    /// As the environment asks. A device that cannot be had fails the test: nothing would be checked.
    /// It is opened once: to a GPU that is opened anew all kernels are new.
    pub fn asked() -> Self {
        static ASKED: OnceLock<TestDevice> = OnceLock::new();
        ASKED.get_or_init(Self::as_asked).clone()
    }

    fn as_asked() -> Self {
        match std::env::var("PRUNELENS_DEVICE").as_deref() {
            Ok("stand-in") => Self::stand_in().expect("a C++ compiler"),
            Ok(name) => {
                let libraries = libraries::places(None, &settings::environment);
                Self::on(name.parse::<DeviceSpec>().unwrap().open(&libraries).unwrap().0)
            }
            Err(_) => Self::on(Device::Cpu),
        }
    }

    fn on(device: Device) -> Self {
        let backend = device::of(&device).unwrap();
        let poison = std::env::var_os("PRUNELENS_POISON").is_some();
        Self { ops: ops::on(backend.map(|backend| if poison { poisoned(backend) } else { backend })), device }
    }

    /// None where there is no compiler for it.
    pub fn stand_in() -> Option<Self> {
        Some(Self { device: Device::Cpu, ops: ops::on(Some(stand_in::stand_in()?)) })
    }

    /// A model where it is to work.
    pub fn model(&self, folder: &Path, dtype: DType) -> Result<Model> {
        let model = Model::load(folder, &self.device, dtype, &mut |_| Ok(()))?;
        Ok(Model { ops: self.ops.clone(), ..model })
    }

    /// An SAE where it is to work.
    pub fn sae(&self, sae: Sae) -> Arc<dyn Dictionary> {
        place(Arc::new(sae), &*self.ops).unwrap()
    }
}
