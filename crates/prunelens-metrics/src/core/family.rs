//! The core metric in the list of families: what can be chosen, and what it costs.

use prunelens_core::{error::Result, session::Session};

use crate::{
    Cost, Extent, Family, Kind, Param, Params,
    core::job::{BATCH, CONTEXT, CoreJob, CoreOptions, default_rows},
    params::{CRITERION, RATIO, TEXT, VARIANTS},
};

pub const FAMILY: Family = Family {
    name: "core",
    title: "Reconstruction, sparsity, and what the model's predictions lose (SAEBench's core)",
    params: &[VARIANTS, ROWS, CONTEXT_SIZE, BATCH_SIZE, RATIO, CRITERION, TEXT],
    cost,
    make: |session, params| Ok(Box::new(CoreJob::new(session, &options(session, params)?)?)),
};

pub const ROWS: Param = Param {
    name: "rows",
    help: "Token rows to measure on [default: by the size of the model]",
    kind: Kind::Count { least: 1, most: 10_000_000 },
    default: |session| default_rows(&session.original).to_string(),
    of_session: false,
};

pub const CONTEXT_SIZE: Param = Param {
    name: "context",
    help: "Tokens in a row [default: 128, or the model's context if that is shorter]",
    kind: Kind::Count { least: 2, most: 1 << 20 },
    default: |session| CONTEXT.min(session.original.config.n_ctx).to_string(),
    of_session: false,
};

pub const BATCH_SIZE: Param = Param {
    name: "batch",
    help: "Rows in a batch; SAEBench's mse depends on it [default: 8]",
    kind: Kind::Count { least: 1, most: 100_000 },
    default: |_| BATCH.to_string(),
    of_session: false,
};

fn options(session: &Session, params: &Params) -> Result<CoreOptions> {
    Ok(CoreOptions {
        variants: params.variants()?,
        text: params.path(TEXT.name)?,
        rows: params.count(ROWS.name)?,
        context: params.count(CONTEXT_SIZE.name)?,
        batch: params.count(BATCH_SIZE.name)?,
        pruning: Some(params.pruning(session)?),
    })
}

fn cost(session: &Session, params: &Params) -> Result<Option<Cost>> {
    let o = options(session, params)?;
    let (n_ctx, d_vocab) = (session.original.config.n_ctx, session.original.config.d_vocab);
    let rows = o.rows.unwrap_or_else(|| default_rows(&session.original));
    let (context, batch) = (o.context.unwrap_or(CONTEXT.min(n_ctx)), o.batch.unwrap_or(BATCH).min(rows));
    let Extent { variants, models, after, .. } = Extent::of(session, &o.variants);
    let (d_in, d_sae) = (session.sae.d_in() as u64, session.sae.d_sae() as u64);
    let at_once = (batch * context) as u64;
    Ok(Some(Cost {
        tokens: (rows / batch.max(1) * batch * context) as u64,
        // A clean pass a model; ablated and spliced ones begin at the hook.
        passes: models + after * (models + variants),
        encodings: variants,
        // Cosines of all latents with all others, for encoder and decoder.
        other: 2.0 * variants * d_in as f64 * (d_sae as f64).powi(2),
        // A batch's activations and reconstructions; logits and pre-activations of the rows that go together.
        bytes: 4 * at_once * d_in * (2 + variants as u64) + 4 * context as u64 * (4 * d_vocab as u64 + 2 * d_sae),
    }))
}
