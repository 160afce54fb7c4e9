//! What takes long to open and needs nothing of the rest: begun at once, each on a thread of its own.

use std::path::{Path, PathBuf};

use candle_core::Device;
use prunelens_kernels::gpu::{self, Places};

use super::{DeviceSpec, SessionSpec};
use crate::{
    error::{Error, Result},
    model::{Config, Model, Tokenizer},
    progress::{Listener, Pending, Progress},
};

/// A device, and what a user should know of it.
type Found = (Device, Option<String>);

/// The device with its libraries, and the tokenizer.
pub(super) struct Opening {
    device: Pending<Found>,
    text: Option<Text>,
}

/// The device is there.
pub(super) struct Opened {
    pub device: Device,
    pub warning: Option<String>,
    /// `None` for the demo, whose tokenizer is part of its model.
    pub text: Option<Text>,
}

/// What reads texts for a model of this folder or file.
pub(super) struct Text {
    pub path: PathBuf,
    tokenizer: Pending<(Config, Tokenizer)>,
}

impl Opening {
    /// For a model that is on this machine; `None` is the demo.
    pub fn begin(spec: &SessionSpec, model: Option<PathBuf>) -> Self {
        let (device, libraries) = (spec.device, spec.libraries.clone());
        Self { device: Pending::new("device", move || device.open(&libraries)), text: model.map(Text::begin) }
    }

    /// Waited for to its end, whatever the listener says: the program must not end while another thread starts the driver.
    pub fn opened(self, progress: Listener) -> Result<Opened> {
        let mut heard = Ok(());
        let found = self.device.wait(|| {
            if heard.is_ok() {
                heard = progress(Progress::step("opening the device"));
            }
            Ok(())
        });
        heard?;
        let (device, warning) = found?;
        Ok(Opened { device, warning, text: self.text })
    }
}

impl Text {
    pub fn begin(path: PathBuf) -> Self {
        let read = |path: &Path| {
            let config = Model::config(path)?;
            let tokenizer = Tokenizer::load(path, &config)?;
            Ok((config, tokenizer))
        };
        let at = path.clone();
        Self { path, tokenizer: Pending::new("tokenizer", move || read(&at)) }
    }

    /// Before the weights come: what parsing takes is free again then.
    pub fn read(self, progress: Listener) -> Result<(PathBuf, Config, Tokenizer)> {
        let (config, tokenizer) = self.tokenizer.wait(|| progress(Progress::step("reading the tokenizer")))?;
        Ok((self.path, config, tokenizer))
    }
}

impl DeviceSpec {
    /// The device asked for, and a warning if `auto` could not take the better one. A GPU's libraries are looked for on the
    /// loader's path, and in these places.
    pub fn open(self, libraries: &Places) -> Result<Found> {
        let built = cfg!(feature = "cuda");
        match self {
            Self::Cpu => Ok((Device::Cpu, None)),
            Self::Auto if !built => Ok((Device::Cpu, None)),
            Self::Auto => match gpu::open(0, libraries) {
                Ok(device) => Ok((device, None)),
                Err(why) => Ok((Device::Cpu, Some(format!("no GPU is used: {why}")))),
            },
            Self::Cuda(_) if !built => Err(Error::invalid(
                "this program was built without CUDA; build it with --features cuda, or use --device cpu",
            )),
            Self::Cuda(n) => match gpu::open(n, libraries) {
                Ok(device) => Ok((device, None)),
                Err(why) => Err(Error::invalid(format!("--device cuda:{n}: {why}; or use --device cpu"))),
            },
        }
    }
}
