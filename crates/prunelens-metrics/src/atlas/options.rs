//! What can be chosen about an atlas, and what it costs.

use std::path::PathBuf;

use prunelens_core::{
    sae::{Activation, Criterion, Dial, Knob},
    session::Session,
};
use serde::Deserialize;

use super::{RATIOS, blocks, top::TOP};
use crate::{
    Cost, Extent, Kind, Param,
    core::options::{BATCH, BATCH_SIZE, ROWS, default_rows},
    params::{CONTEXT_SIZE, CRITERION, KNOB, RATIO, TEXT, default_context},
};

/// `None` and an empty list are defaults that suit the model and two CPU cores.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AtlasOptions {
    /// Ascending, each once.
    pub ratios: Vec<f64>,
    /// Default: the session's text, else the built-in held-out text.
    pub text: Option<PathBuf>,
    /// Rows of tokens; default: as many as suit the machine.
    pub rows: Option<usize>,
    /// Tokens in a row.
    pub context: Option<usize>,
    /// The first rows, by which importance is measured: one pass back through the model each.
    pub importance_rows: Option<usize>,
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
pub const PARAMS: &[Param] = &[GRID, ROWS, CONTEXT_SIZE, IMPORTANCE, BATCH_SIZE, KNOB, RATIO, CRITERION, TEXT];

const GRID: Param = Param {
    name: "ratios",
    help: "Ratios at which each latent's mass is measured, ascending, or bits or ranks of another knob, descending, with commas between [default: 0 to 0.9 in ten steps]",
    kind: Kind::Ratios,
    default: |session| match session.setting.knob {
        Knob::Ratio(_) | Knob::Latents(_) => RATIOS.map(|ratio| ratio.to_string()).join(","),
        _ => String::new(),
    },
    of_session: false,
};

const IMPORTANCE: Param = Param {
    name: "importance-rows",
    help: "The first rows, of which importance is measured: a pass back through the model each [default: 32,768 tokens of them]",
    kind: Kind::Count { least: 0, most: 10_000_000 },
    default: |session| default_traced(default_context(session)).to_string(),
    of_session: false,
};

/// Rows of importance unless another number is asked for: enough for a ranking, and a small part of a long run's time.
pub fn default_traced(context: usize) -> usize {
    (1_usize << 15).div_ceil(context.max(1))
}

/// Latents that fire on a token, roughly, where the SAE does not say.
const L0: u64 = 64;
/// Ratios that take as long as one encoding by itself.
const RATIOS_AN_ENCODING: f64 = 4.0;
/// Bytes of a latent and token that go together, with the table's room for more.
const PAIR: u64 = 40;
/// Bytes of the sums of one latent of one variant, without its strongest positions.
const SUMS: u64 = 64;

/// The work ahead.
pub fn cost(session: &Session, o: &AtlasOptions) -> Cost {
    let config = &session.models.original.config;
    let rows = o.rows.unwrap_or_else(|| default_rows(&session.models.original));
    let (context, batch) = (o.context.unwrap_or(default_context(session)), o.batch.unwrap_or(BATCH).min(rows));
    let traced = o.importance_rows.unwrap_or(default_traced(context)).min(rows) as f64 / rows.max(1) as f64;
    let Extent { variants, models, before, after } = Extent::of(session, &[]);
    let knob = o.knob.unwrap_or(session.setting.into()).knob().by(o.criterion.unwrap_or(session.spec.criterion));
    let together = matches!(knob, Knob::Ratio(_)) && session.sae.device().is_cpu();
    let ratios = if o.ratios.is_empty() { RATIOS.len() } else { o.ratios.len() } as u64;
    let (d_in, d_sae) = (session.sae.d_in() as u64, session.sae.d_sae() as u64);
    let matched = session.trained.as_ref().map_or(0, |trained| trained.d_sae() as u64);
    let (tokens, at_once) = ((rows * context) as u64, (batch * context) as u64);
    let fires = match session.sae.activation {
        Activation::TopK { k, .. } => k as u64,
        _ => L0,
    }
    .min(d_sae);
    let strongest = |d: u64| (8 * TOP as u64).min(16 * tokens * fires / d.max(1)) * d;
    let bytes = [
        // Sums and strongest positions of each latent and variant, masses at each ratio.
        3 * (SUMS * d_sae + strongest(d_sae)) + SUMS * matched + strongest(matched) + 8 * ratios * d_sae,
        // Masses of blocks of rows, and these once more in a checkpoint.
        2 * blocks::bytes(rows, d_sae as usize, ratios as usize),
        // Latents and the tokens that they fire on: fewer than firings, and than there are of both.
        PAIR * (tokens * fires / 2).min(d_sae * config.d_vocab as u64),
        // A batch's activations, reconstructions and gradients, and the latents of its variants.
        4 * at_once * d_in * 8 + at_once * fires * (8 * variants as u64 + 48),
        // A row on its way back, and some of its logits.
        4 * context as u64 * config.n_layers as u64 * (8 * config.d_model + 3 * config.d_mlp) as u64 + (48 << 20),
        // Ranks, if there are none yet.
        if session.is_ranked(knob) { 0 } else { 8 * d_in * d_sae },
    ];
    Cost {
        tokens,
        // Each model to the hook; the original's loss behind it, and back.
        passes: models * before + 3.0 * after * traced,
        shared: 0.0,
        // Decoding and latent scaling for two variants count as encodings, all ratios together as a few.
        encodings: variants + 2.0 + if together { ratios as f64 / RATIOS_AN_ENCODING } else { ratios as f64 },
        other: (d_in * d_sae) as f64 * matched as f64,
        bytes: bytes.iter().sum(),
    }
}
