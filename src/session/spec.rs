//! What a session consists of, as the person asked for it: plain data from flags and session files.

use std::{fmt, path::PathBuf, str::FromStr};

use crate::{error::Error, model::HookPoint, prune::Criterion};

/// Where a model or an SAE comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Compiled into the program.
    Demo,
    Path(PathBuf),
}

/// How the pruned copy of the model is made.
#[derive(Clone, Debug, PartialEq)]
pub enum Compress {
    None,
    /// Canonical Wanda, unstructured.
    Wanda(f64),
    /// Canonical Wanda, n of every m.
    WandaNM(usize, usize),
    Magnitude(f64),
    /// What the released code of arXiv 2507.15977 does: attention only, output-side norms.
    Paper(f64),
}

impl fmt::Display for Compress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => write!(f, "none"),
            Self::Wanda(r) => write!(f, "wanda:{r}"),
            Self::WandaNM(n, m) => write!(f, "wanda:{n}:{m}"),
            Self::Magnitude(r) => write!(f, "magnitude:{r}"),
            Self::Paper(r) => write!(f, "paper:{r}"),
        }
    }
}

impl FromStr for Compress {
    type Err = Error;

    fn from_str(spec: &str) -> Result<Self, Error> {
        let ratio = |text: &str| text.parse().ok().filter(|r| (0.0..1.0).contains(r));
        let parsed = match spec.split(':').collect::<Vec<_>>()[..] {
            ["none"] => Some(Self::None),
            ["wanda", n, m] => match (n.parse(), m.parse()) {
                (Ok(n), Ok(m)) if n < m && m <= 64 => Some(Self::WandaNM(n, m)),
                _ => None,
            },
            ["wanda", r] => ratio(r).map(Self::Wanda),
            ["wanda"] => Some(Self::Wanda(0.5)),
            ["magnitude", r] => ratio(r).map(Self::Magnitude),
            ["paper", r] => ratio(r).map(Self::Paper),
            _ => None,
        };
        parsed.ok_or_else(|| {
            Error::Usage(format!(
                "compression {spec:?} is not understood; expected wanda:RATIO, wanda:N:M, magnitude:RATIO, paper:RATIO (0 <= RATIO < 1) or none"
            ))
        })
    }
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceSpec {
    Auto,
    Cpu,
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
    pub model: Source,
    pub pruned_model: Option<Source>,
    pub compress: Compress,
    pub calibration: Option<PathBuf>,
    /// Default: the SAE's own.
    pub hook: Option<HookPoint>,
    pub sae: Option<Source>,
    pub trained_sae: Option<Source>,
    pub ratio: f64,
    pub criterion: Criterion,
    pub processing: Processing,
    /// Average-norm factor of SAEs whose files lack it.
    pub norm_scaling_factor: Option<f64>,
    pub device: DeviceSpec,
    pub dtype: candle_core::DType,
    /// Prepend BOS as TransformerLens does.
    pub bos: bool,
    /// Text for metric jobs; default: the built-in held-out text.
    pub text: Option<PathBuf>,
    /// Where results go.
    pub results: PathBuf,
}

impl SessionSpec {
    /// The embedded demo.
    pub fn demo() -> Self {
        Self {
            model: Source::Demo,
            pruned_model: None,
            compress: Compress::Wanda(0.5),
            calibration: None,
            hook: None,
            sae: Some(Source::Demo),
            trained_sae: Some(Source::Demo),
            ratio: 0.25,
            criterion: Criterion::Wanda,
            processing: Processing::Auto,
            norm_scaling_factor: None,
            device: DeviceSpec::Auto,
            dtype: candle_core::DType::F32,
            bos: true,
            text: None,
            results: PathBuf::from("prunelens-results"),
        }
    }
}
