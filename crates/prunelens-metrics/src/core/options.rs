//! What can be chosen about a core run, and what it costs.

use std::path::PathBuf;

use prunelens_core::{
    compare::{Variant, splice::positions_at_once},
    model::Model,
    sae::{Criterion, Dial},
    session::Session,
};
use serde::Deserialize;

use crate::{
    Cost, Extent, Kind, Param,
    params::{CONTEXT_SIZE, CRITERION, KNOB, RATIO, TEXT, VARIANTS, default_context},
};

/// `None` is a default that suits the model and two CPU cores.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CoreOptions {
    /// Those present, if none are named.
    pub variants: Vec<Variant>,
    /// Default: the session's text, else the built-in held-out text.
    pub text: Option<PathBuf>,
    /// Rows of tokens; default: as many as suit the machine.
    pub rows: Option<usize>,
    /// Tokens in a row.
    pub context: Option<usize>,
    /// Rows that are read together.
    pub batch: Option<usize>,
    /// What is turned on the `pruned` variant\'s SAE. Default: as the session has it.
    pub knob: Option<Dial>,
    /// Pruning of the `pruned` variant's SAE. Default: the session's.
    pub ratio: Option<f64>,
    /// By which the SAE is pruned; default: the session's.
    pub criterion: Option<Criterion>,
}

/// What can be chosen.
pub const PARAMS: &[Param] = &[VARIANTS, ROWS, CONTEXT_SIZE, BATCH_SIZE, KNOB, RATIO, CRITERION, TEXT];

/// How many rows of tokens are measured on.
pub const ROWS: Param = Param {
    name: "rows",
    help: "Token rows to measure on [default: by the size of the model; SAEBench: 160 for losses, 16 for the rest]",
    kind: Kind::Count { least: 1, most: 10_000_000 },
    default: |session| default_rows(&session.models.original).to_string(),
    of_session: false,
};

/// How many rows are read together.
pub const BATCH_SIZE: Param = Param {
    name: "batch",
    help: "Rows in a batch; SAEBench's mse depends on it [default: 8; SAEBench: 16]",
    kind: Kind::Count { least: 1, most: 100_000 },
    default: |_| BATCH.to_string(),
    of_session: false,
};

/// Rows in a batch, unless another number is asked for.
pub const BATCH: usize = 8;

/// Enough for steady figures in about a minute on two cores.
pub fn default_rows(model: &Model) -> usize {
    match model.parameters() {
        0..20_000_000 => 64,
        20_000_000..200_000_000 => 32,
        _ => 16,
    }
}

/// The work ahead.
pub fn cost(session: &Session, o: &CoreOptions) -> Cost {
    let d_vocab = session.models.original.config.d_vocab;
    let rows = o.rows.unwrap_or_else(|| default_rows(&session.models.original));
    let (context, batch) = (o.context.unwrap_or(default_context(session)), o.batch.unwrap_or(BATCH).min(rows));
    let Extent { variants, models, after, .. } = Extent::of(session, &o.variants);
    let (d_in, d_sae) = (session.sae.d_in() as u64, session.sae.d_sae() as u64);
    let at_once = (batch * context) as u64;
    Cost {
        tokens: (rows / batch.max(1) * batch * context) as u64,
        // A clean pass a model; ablated and spliced ones begin at the hook.
        passes: models + after * (models + variants),
        shared: models + after * models,
        encodings: variants,
        // Cosines of all latents with all others, for encoder and decoder.
        other: 2.0 * variants * d_in as f64 * (d_sae as f64).powi(2),
        // A batch's activations and reconstructions; logits of all passes through a model, and pre-activations, of the rows that go
        // together.
        bytes: 4 * at_once * d_in * (2 + variants as u64)
            + 4 * (3 + variants as u64) * logits_at_once(session, context) * d_vocab as u64
            + 8 * context as u64 * d_sae
            // Both matrices as a setting leaves them, and one of them with rows of length 1.
            + 12 * d_sae * d_in,
    }
}

/// Positions whose logits are in memory together, at most.
pub fn logits_at_once(session: &Session, context: usize) -> u64 {
    let model = &session.models.original;
    (if model.device.is_cpu() { context } else { positions_at_once(model) }) as u64
}
