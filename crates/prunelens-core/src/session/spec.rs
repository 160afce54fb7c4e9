//! What a session consists of, as the user asked for it: plain data from flags and session files.

use std::{path::PathBuf, str::FromStr};

use candle_core::{DType, Device};
use prunelens_kernels::gpu::Places;

use super::layers::Layer;
use crate::{
    cache::Cache,
    error::Error,
    hub::{self, HubId, Kind},
    model::HookPoint,
    progress::Listener,
    prune::Compress,
    sae::{Criterion, Dial, Knob, Setting},
};

/// Where a model or an SAE comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Compiled into the program.
    Demo,
    /// A folder or file on this machine.
    Path(PathBuf),
    /// In the hub's cache, or yet to be fetched.
    Hub(HubId),
}

impl Source {
    /// Its folder or file, fetched if it comes from the hub and is not there; `None` for the demo.
    pub fn locate(&self, kind: Kind, hub: &hub::Access, listener: Listener) -> Result<Option<PathBuf>, Error> {
        match self {
            Self::Demo => Ok(None),
            Self::Path(path) => Ok(Some(path.clone())),
            Self::Hub(id) => {
                let settings = hub.as_ref().map_err(Error::invalid)?;
                hub::fetch(settings, id, kind, listener).map(Some)
            }
        }
    }

    /// As a person would write it.
    pub fn words(&self) -> String {
        match self {
            Self::Demo => "the demo's".into(),
            Self::Path(path) => path.display().to_string(),
            Self::Hub(id) => id.to_string(),
        }
    }

    /// Its name if it comes from the hub: the cache names folders by commits and contents by hashes.
    pub fn hub_name(&self) -> Option<&str> {
        match self {
            Self::Hub(id) => Some(id.name()),
            _ => None,
        }
    }
}

/// Memory for an index, if nothing is said: 1 GiB.
pub const DEFAULT_MEMORY: u64 = 1 << 30;

/// Memory for sessions of layers that are not on screen, if nothing is said: 2 GiB.
pub const KEPT_MEMORY: u64 = 2 << 30;

/// Types that a model's weights may have, by name.
pub const DTYPES: [(&str, DType); 3] = [("f32", DType::F32), ("bf16", DType::BF16), ("f16", DType::F16)];

/// One of [`DTYPES`].
pub fn dtype_by_name(name: &str) -> Option<DType> {
    DTYPES.into_iter().find(|(n, _)| *n == name).map(|(_, dtype)| dtype)
}

/// Which activations the SAE reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processing {
    /// As the SAE's config says.
    Auto,
    /// As TransformerLens' default weight processing gives them.
    On,
    /// Raw activations.
    Off,
    /// Residual stream, attention and MLP outputs without their mean, nothing else.
    Centered,
}

impl Processing {
    /// As flags and files spell them.
    pub const NAMES: [(&str, Self); 4] =
        [("on", Self::On), ("off", Self::Off), ("auto", Self::Auto), ("centered", Self::Centered)];
}

impl FromStr for Processing {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::NAMES.into_iter().find(|(n, _)| *n == name).map(|(_, processing)| processing);
        found.ok_or_else(|| Error::Usage(format!("{name:?} is none of on, off, auto and centered")))
    }
}

/// Where models and SAEs work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceSpec {
    /// A GPU if there is one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU of this number.
    Cuda(usize),
}

impl FromStr for DeviceSpec {
    type Err = Error;

    fn from_str(spec: &str) -> Result<Self, Error> {
        match spec.split_once(':').unwrap_or((spec, "0")) {
            ("auto", _) if spec == "auto" => Ok(Self::Auto),
            ("cpu", _) if spec == "cpu" => Ok(Self::Cpu),
            ("cuda", n) => {
                n.parse().map(Self::Cuda).map_err(|_| Error::Usage(format!("device {spec:?}: expected cuda or cuda:N")))
            }
            _ => Err(Error::Usage(format!("device {spec:?} does not exist; expected auto, cpu, cuda or cuda:N"))),
        }
    }
}

/// Everything that is loaded before the first prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionSpec {
    /// The original.
    pub model: Source,
    /// A copy that was pruned elsewhere.
    pub pruned_model: Option<Source>,
    /// How the pruned copy is made, unless it is given.
    pub compress: Compress,
    /// All copies that can take its place, itself among them; what is trained was trained on the first.
    pub compressions: Vec<Compress>,
    /// Text or tokens; default: the built-in text.
    pub calibration: Option<PathBuf>,
    /// Rows of a calibration text that are read.
    pub calibration_rows: Option<usize>,
    /// Tokens in each of these rows.
    pub calibration_length: Option<usize>,
    /// Default: the SAE's own.
    pub hook: Option<HookPoint>,
    /// Trained on the original.
    pub sae: Option<Source>,
    /// Trained on the pruned copy.
    pub trained_sae: Option<Source>,
    /// SAEs of other layers that can take their place, where those are known without a listing.
    pub layers: Vec<Layer>,
    /// Which of the layers, where there are several; default: the first.
    pub layer: Option<usize>,
    /// Memory for what is not on screen and can be at once, in bytes: SAEs of other layers, other compressed copies.
    pub kept_memory: u64,
    /// What is turned on the SAE.
    pub knob: Dial,
    /// Of the SAE's own pruning, where the knob is the ratio.
    pub ratio: f64,
    /// By which weights or latents are ranked.
    pub criterion: Criterion,
    /// Which activations the SAE reads.
    pub processing: Processing,
    /// Average-norm factor of SAEs whose files lack it.
    pub norm_scaling_factor: Option<f64>,
    /// Where models and SAEs work.
    pub device: DeviceSpec,
    /// Where NVIDIA's libraries may be, besides the loader's path.
    pub libraries: Places,
    /// Of the explorer's metric jobs; default: where the models are.
    pub jobs_device: Option<DeviceSpec>,
    /// Of the models' weights; default: what [`SessionSpec::dtype_on`] takes.
    pub dtype: Option<DType>,
    /// Prepend BOS as TransformerLens does.
    pub bos: bool,
    /// Where ids of the hub are looked for.
    pub hub: hub::Access,
    /// Text for metric jobs; default: the built-in held-out text.
    pub text: Option<PathBuf>,
    /// Text or tokens in which examples of latents are looked for; default: the calibration's.
    pub corpus: Option<PathBuf>,
    /// Memory for the index of that text, in bytes.
    pub memory: u64,
    /// Where results go.
    pub results: PathBuf,
    /// Where what took long to make is kept; `None`: nowhere.
    pub cache: Option<Cache>,
}

impl SessionSpec {
    /// Everything that comes from the hub, into the cache: what cannot be had is known before a large model is read.
    pub fn fetch(&self, listener: Listener) -> Result<(), Error> {
        let sources = [
            (&self.sae, Kind::Sae),
            (&self.trained_sae, Kind::Sae),
            (&Some(self.model.clone()), Kind::Model),
            (&self.pruned_model, Kind::PrunedModel),
        ];
        for (source, kind) in sources {
            if let Some(source) = source {
                source.locate(kind, &self.hub, listener)?;
            }
        }
        Ok(())
    }

    /// The type of the models' weights on a device: what was asked for, else f32, and bf16 on a GPU, whose matrix products are
    /// an order of magnitude faster then.
    pub fn dtype_on(&self, device: &Device) -> DType {
        self.dtype.unwrap_or(if device.is_cpu() { DType::F32 } else { DType::BF16 })
    }

    /// What the slider turns at first, as far as that is known without the SAE.
    pub fn first_setting(&self) -> Setting {
        let fallback = Knob::Ratio(self.criterion).at(self.ratio);
        self.knob.setting(self.ratio, self.criterion, 1 << 20).unwrap_or(fallback)
    }

    /// The embedded demo, with the SAEs of its first layer.
    pub fn demo() -> Self {
        Self {
            model: Source::Demo,
            pruned_model: None,
            compress: Compress::Wanda(0.5),
            compressions: vec![Compress::Wanda(0.5)],
            calibration: None,
            calibration_rows: None,
            calibration_length: None,
            hook: None,
            sae: Some(Source::Demo),
            trained_sae: Some(Source::Demo),
            layers: Vec::new(),
            layer: None,
            kept_memory: KEPT_MEMORY,
            knob: Dial::default(),
            ratio: 0.25,
            criterion: Criterion::Wanda,
            processing: Processing::Auto,
            norm_scaling_factor: None,
            device: DeviceSpec::Auto,
            libraries: Places::default(),
            jobs_device: None,
            dtype: None,
            bos: true,
            hub: Err("this session has nothing from the hub".into()),
            text: None,
            corpus: None,
            memory: DEFAULT_MEMORY,
            results: PathBuf::from("prunelens-results"),
            cache: None,
        }
    }
}
