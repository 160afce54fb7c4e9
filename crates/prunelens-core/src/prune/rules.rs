//! The rules by which a model is pruned: how each is spelt, what it does, and what its copy shares with the original.

use std::{fmt, str::FromStr, sync::Arc};

use prunelens_kernels::Sparsity;

use crate::{
    error::{Error, Result},
    model::{Config, Model},
    progress::Listener,
};

/// How the pruned copy of the model is made. A new rule has its arms in this file, and its work in
/// [`model`](super::model).
#[derive(Clone, Debug, PartialEq)]
pub enum Compress {
    /// The model itself.
    None,
    /// Canonical Wanda, unstructured.
    Wanda(f64),
    /// Canonical Wanda, n of every m.
    WandaNM(usize, usize),
    /// The smallest weights of each output row, by magnitude.
    Magnitude(f64),
    /// What the released code of arXiv 2507.15977 does: attention only, output-side norms.
    Paper(f64),
}

/// What rules look at beside the weights: token rows, of equal length in each batch.
#[derive(Clone, Copy, Debug)]
pub struct CalibrationRows<'a> {
    /// Text cut into windows.
    pub windows: &'a [Vec<Vec<u32>>],
    /// Documents, BOS first.
    pub documents: &'a [Vec<Vec<u32>>],
}

impl Compress {
    const SPELLINGS: &str = "wanda:RATIO, wanda:N:M, magnitude:RATIO, paper:RATIO (0 <= RATIO < 1) or none";

    /// The pruned copy, which shares what stays as it is.
    pub fn apply(&self, model: &Arc<Model>, rows: CalibrationRows, progress: Listener) -> Result<Arc<Model>> {
        let pruned = match *self {
            Self::None => return Ok(model.clone()),
            Self::Wanda(ratio) => model.wanda(rows.windows, Sparsity::Ratio(ratio), progress)?,
            Self::WandaNM(n, m) => model.wanda(rows.windows, Sparsity::NM(n, m), progress)?,
            Self::Magnitude(ratio) => model.magnitude(ratio, progress)?,
            Self::Paper(ratio) => {
                let document = rows.documents.first().and_then(|batch| batch.first());
                let document = document.ok_or_else(|| Error::invalid("calibration has no document"))?;
                model.paper(document, ratio, progress)?
            }
        };
        Ok(Arc::new(pruned))
    }

    /// Whether the copy is the model with zeros in its blocks, and nothing else.
    pub fn is_a_mask(&self) -> bool {
        match self {
            Self::Wanda(_) | Self::WandaNM(..) | Self::Magnitude(_) => true,
            // Its weights are processed first.
            Self::None | Self::Paper(_) => false,
        }
    }

    /// Weights of the copy that it does not share with a model of this config.
    pub fn own_weights(&self, config: &Config) -> u64 {
        match self {
            Self::None => 0,
            Self::Wanda(_) | Self::WandaNM(..) | Self::Magnitude(_) => config.block_weights(),
            // All weights are processed, the embeddings' too.
            Self::Paper(_) => config.block_weights() + config.embedding_weights(false),
        }
    }

    /// As users read it: "wanda 50%".
    pub fn label(&self) -> String {
        let percent = |ratio: f64| format!("{}%", (ratio * 1000.0).round() / 10.0);
        match self {
            Self::None => "not compressed".into(),
            Self::Wanda(ratio) => format!("wanda {}", percent(*ratio)),
            Self::WandaNM(n, m) => format!("wanda {n}:{m}"),
            Self::Magnitude(ratio) => format!("magnitude {}", percent(*ratio)),
            Self::Paper(ratio) => format!("paper {}", percent(*ratio)),
        }
    }
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
            Error::Usage(format!("compression {spec:?} is not understood; expected {}", Self::SPELLINGS))
        })
    }
}
