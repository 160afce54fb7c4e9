//! What can be chosen about a sweep, and what it costs.

use std::path::PathBuf;

use prunelens_core::{
    compare::Variant,
    sae::{Criterion, Dial, Knob},
    session::Session,
};
use serde::Deserialize;

use super::{Mode, RATIOS};
use crate::{
    Cost, Extent, Kind, Param,
    core::options::{BATCH, BATCH_SIZE, ROWS, default_rows, logits_at_once},
    params::{CONTEXT_SIZE, KNOB, TEXT, VARIANTS, default_context},
};

/// `None` and empty lists are defaults that suit the model and two CPU cores.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SweepOptions {
    /// Those present, if none are named.
    pub variants: Vec<Variant>,
    /// What is turned on the SAE. Default: as the session has it.
    pub knob: Option<Dial>,
    /// Settings of it; none: those that suit it.
    pub ratios: Vec<f64>,
    /// Default: the session's.
    pub criteria: Vec<Criterion>,
    /// How losses are measured.
    #[serde(rename = "loss")]
    pub mode: Mode,
    /// Layers to sweep, with the SAEs that the patterns give. Empty: the session's own.
    pub layers: Vec<usize>,
    /// Path of the pretrained SAE of a layer, with `{layer}` in it.
    #[serde(rename = "layer-saes")]
    pub sae: Option<PathBuf>,
    /// The same of the one trained on the pruned model.
    #[serde(rename = "layer-trained-saes")]
    pub trained_sae: Option<PathBuf>,
    /// Default: the session's text, else the built-in held-out text.
    pub text: Option<PathBuf>,
    /// Rows of tokens; default: as many as suit the machine.
    pub rows: Option<usize>,
    /// Tokens in a row.
    pub context: Option<usize>,
    /// Rows that are read together.
    pub batch: Option<usize>,
}

impl SweepOptions {
    /// Ascending, each once.
    pub fn layers(&self) -> Vec<usize> {
        let mut layers = self.layers.clone();
        layers.sort_unstable();
        layers.dedup();
        layers
    }
}

/// What can be chosen.
pub const PARAMS: &[Param] = &[
    KNOB,
    RATIOS_SWEPT,
    CRITERIA,
    VARIANTS,
    ROWS,
    CONTEXT_SIZE,
    BATCH_SIZE,
    LOSS,
    LAYERS,
    LAYER_SAES,
    LAYER_TRAINED,
    TEXT,
];

const RATIOS_SWEPT: Param = Param {
    name: "ratios",
    help: "Ratios, or bits or ranks of another knob, with commas between [default: 0.1 to 0.95 in nine steps]",
    kind: Kind::Ratios,
    default: |session| match session.setting.knob {
        Knob::Ratio(_) | Knob::Latents(_) => RATIOS.map(|ratio| ratio.to_string()).join(","),
        _ => String::new(),
    },
    of_session: false,
};

const CRITERIA: Param = Param {
    name: "criteria",
    help: "Criteria to sweep, with commas between [default: the session's]",
    kind: Kind::Criteria,
    default: |session| session.spec.criterion.to_string(),
    of_session: false,
};

const LOSS: Param = Param {
    name: "loss",
    help: "masked: special tokens neither spliced nor counted; paper: all positions of padded documents are [default: masked]",
    kind: Kind::Choice(&["masked", "paper"]),
    default: |_| "masked".into(),
    of_session: false,
};

// On the command line `--layers` makes a session for each layer, for any metric; in a form a sweep does it by itself.
const LAYERS: Param = Param {
    name: "layers",
    help: "Layers to sweep, such as 0-11, each with an SAE of its own; empty: the session's",
    kind: Kind::Counts { least: 0, most: 999 },
    default: |_| String::new(),
    of_session: true,
};

const LAYER_SAES: Param = Param {
    name: "layer-saes",
    help: "Path of the pretrained SAE of each layer, with {layer} for its number",
    kind: Kind::Path,
    default: |_| String::new(),
    of_session: true,
};

const LAYER_TRAINED: Param = Param {
    name: "layer-trained-saes",
    help: "The same of the SAEs trained on the pruned model",
    kind: Kind::Path,
    default: |_| String::new(),
    of_session: true,
};

/// The work ahead.
pub fn cost(session: &Session, o: &SweepOptions) -> Cost {
    let config = &session.models.original.config;
    let rows = o.rows.unwrap_or_else(|| default_rows(&session.models.original));
    let (context, batch) = (o.context.unwrap_or(default_context(session)), o.batch.unwrap_or(BATCH).min(rows));
    let criteria = o.criteria.len().max(1);
    let wanted = |v: Variant| o.variants.is_empty() || o.variants.contains(&v);
    let pruned = if wanted(Variant::Pruned) { o.ratios.len().max(1) * criteria + 1 } else { 0 };
    let trained = if o.sae.is_some() { o.trained_sae.is_some() } else { session.trained.is_some() };
    let there = |v: Variant| v != Variant::Trained || trained;
    let fixed = [Variant::Original, Variant::Trained].into_iter().filter(|v| wanted(*v) && there(*v)).count();
    let points = (pruned + fixed).max(1) as f64;
    let layers = o.layers().len().max(1) as f64;
    let Extent { models, after, .. } = Extent::of(session, &o.variants);
    let (d_in, d_sae) = (session.sae.d_in() as u64, session.sae.d_sae() as u64);
    Cost {
        tokens: (rows / batch.max(1) * batch * context) as u64,
        // Models are read and ablated once a layer; every point is spliced.
        passes: layers * (models + after * (models + points)),
        shared: 0.0,
        encodings: layers * points,
        other: 0.0,
        // The residual stream of each point; sums of each latent; logits of the rows that go together; ranks.
        bytes: 4 * (batch * context) as u64 * d_in
            + points as u64 * (24 * d_sae + 4 * context as u64 * d_in)
            + 12 * logits_at_once(session, context) * config.d_vocab as u64
            + 4 * d_in * d_sae * criteria as u64,
    }
}
