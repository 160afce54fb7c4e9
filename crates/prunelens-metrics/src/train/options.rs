//! What can be chosen about an SAE that a session trains.

use prunelens_core::{
    error::{Error, Result},
    session::Session,
    train::{Architecture, Batch, Budget, Jump, TrainSpec},
};
use serde::Deserialize;

use crate::{Kind, Param};

/// Tokens in a row of text, unless the model reads fewer.
const CONTEXT: u64 = 256;
/// Tokens to train on, if nothing is said.
const TOKENS: u64 = 200_000;
const K: f64 = 32.0;

/// By their names in the form.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainOptions {
    /// Where the text is.
    pub corpus: Option<std::path::PathBuf>,
    /// Tokens to train on.
    pub tokens: Option<u64>,
    /// Kind of SAE.
    pub architecture: Option<String>,
    /// Latents of the SAE.
    pub d_sae: Option<usize>,
    /// Latents that fire on a token.
    pub active: Option<f64>,
    /// Weight of the loss that keeps the others from firing.
    pub penalty: Option<f64>,
    /// Learning rate.
    pub lr: Option<f64>,
    /// Tokens a step.
    pub batch: Option<usize>,
    /// Tokens in a row.
    pub context: Option<usize>,
    /// Of the weights' beginning.
    pub seed: Option<u64>,
}

/// The form's fields, in its order.
pub const PARAMS: &[Param] = &[
    Param {
        name: "corpus",
        help: "Text to train on; empty: the corpus of the session, else the text that pruning is calibrated on",
        kind: Kind::Path,
        default: |session| {
            let path = session.spec.corpus.as_ref().or(session.spec.calibration.as_ref());
            path.map(|path| path.display().to_string()).unwrap_or_default()
        },
        of_session: false,
    },
    Param {
        name: "tokens",
        help: "Tokens to train on; the text is gone through as often as needed",
        kind: Kind::Count { least: 1, most: 1 << 40 },
        default: |_| TOKENS.to_string(),
        of_session: false,
    },
    Param {
        name: "architecture",
        help: "Kind of SAE",
        kind: Kind::Choice(&["topk", "batchtopk", "matryoshka", "standard", "gated", "jumprelu"]),
        default: |_| "topk".into(),
        of_session: false,
    },
    Param {
        name: "d_sae",
        help: "Latents of the SAE",
        kind: Kind::Count { least: 1, most: 1 << 24 },
        default: |session| session.sae.d_sae().to_string(),
        of_session: false,
    },
    Param {
        name: "active",
        help: "Latents that fire on a token, for topk, batchtopk and matryoshka (of the last two on average)",
        kind: Kind::Number { least: 0.01, most: 1e6 },
        default: |session| K.min(session.sae.d_sae() as f64).to_string(),
        of_session: false,
    },
    Param {
        name: "penalty",
        help: "Weight of the sparsity loss, for standard, gated and jumprelu; empty: 5, 1 and 1",
        kind: Kind::Number { least: 1e-9, most: 1e9 },
        default: |_| String::new(),
        of_session: false,
    },
    Param {
        name: "lr",
        help: "Learning rate; empty: 7e-4 sqrt(16384 / d_sae)",
        kind: Kind::Number { least: 1e-12, most: 1e3 },
        default: |_| String::new(),
        of_session: false,
    },
    Param {
        name: "batch",
        help: "Tokens a step",
        kind: Kind::Count { least: 1, most: 100_000 },
        default: |_| "1024".into(),
        of_session: false,
    },
    Param {
        name: "context",
        help: "Tokens in a row of text",
        kind: Kind::Count { least: 2, most: 1 << 20 },
        default: |session| context(None, session).to_string(),
        of_session: false,
    },
    Param {
        name: "seed",
        help: "Seed of the weights' beginning",
        kind: Kind::Count { least: 0, most: 1 << 53 },
        default: |_| "0".into(),
        of_session: false,
    },
];

/// Tokens in a row of text.
pub fn context(asked: Option<usize>, session: &Session) -> usize {
    asked.unwrap_or((CONTEXT as usize).min(session.models.original.config.n_ctx))
}

impl TrainOptions {
    /// As settings of a training on a session's hook; refuses what cannot be trained.
    pub fn spec(&self, session: &Session) -> Result<TrainSpec> {
        let d_sae = self.d_sae.unwrap_or(session.sae.d_sae());
        let k = self.active.unwrap_or(K.min(d_sae as f64));
        let penalty = |default: f64| self.penalty.unwrap_or(default);
        let architecture = match self.architecture.as_deref().unwrap_or("topk") {
            "topk" if k.fract() != 0.0 => {
                return Err(Error::Usage(format!("active is {k}: topk takes a whole number; batchtopk takes any")));
            }
            "topk" => Architecture::TopK { k: k as usize },
            "batchtopk" => Architecture::BatchTopK(Batch::new(k)),
            "matryoshka" => {
                let widths = [d_sae / 16, d_sae / 4, d_sae].into_iter().filter(|width| *width > 0).collect();
                Architecture::Matryoshka { batch: Batch::new(k), widths }
            }
            "standard" => Architecture::Standard { l1: penalty(5.0), l1_warm_up: 0.05 },
            "gated" => Architecture::Gated { l1: penalty(1.0), l1_warm_up: 0.0 },
            "jumprelu" => Architecture::JumpRelu(Jump { l0: penalty(1.0), ..Jump::default() }),
            other => return Err(Error::Usage(format!("there is no kind of SAE {other:?} to train"))),
        };
        let spec = TrainSpec::new(architecture, d_sae, Budget::Tokens(self.tokens.unwrap_or(TOKENS)));
        let batch = self.batch.unwrap_or(spec.batch);
        let spec = TrainSpec {
            batch,
            buffer: spec.buffer.max(batch),
            learning_rate: self.lr.unwrap_or(spec.learning_rate),
            seed: self.seed.unwrap_or(spec.seed),
            ..spec
        };
        spec.check(session.sae.d_in()).map(|()| spec)
    }
}
