//! The sweep over ratios, criteria and layers in the list of families: what can be chosen, and what it costs.

use prunelens_core::{compare::Variant, error::Result, session::Session};

use crate::{
    Cost, Extent, Family, Kind, Param, Params,
    core::{
        family::{BATCH_SIZE, CONTEXT_SIZE, ROWS},
        job::{BATCH, CONTEXT, default_rows},
    },
    params::{TEXT, VARIANTS},
    sweep::{
        Mode, RATIOS,
        job::{SweepJob, SweepOptions},
    },
};

pub const FAMILY: Family = Family {
    name: "sweep",
    title: "Loss, divergence, reconstruction and sparsity against the ratio at which the SAE is pruned",
    params: &[
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
    ],
    cost,
    make: |session, params| Ok(Box::new(SweepJob::new(session, &options(session, params)?)?)),
};

const RATIOS_SWEPT: Param = Param {
    name: "ratios",
    help: "Ratios to sweep, with commas between [default: 0.1 to 0.95 in nine steps]",
    kind: Kind::Ratios,
    default: |_| RATIOS.map(|ratio| ratio.to_string()).join(","),
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

fn options(session: &Session, params: &Params) -> Result<SweepOptions> {
    let mut layers = params.counts(LAYERS.name)?.unwrap_or_default();
    layers.sort_unstable();
    layers.dedup();
    Ok(SweepOptions {
        variants: params.variants()?,
        ratios: params.numbers(RATIOS_SWEPT.name)?.unwrap_or_default(),
        criteria: params.criteria(CRITERIA.name)?.unwrap_or_else(|| vec![session.spec.criterion]),
        mode: if params.text(LOSS.name)?.as_deref() == Some("paper") { Mode::Paper } else { Mode::Masked },
        layers,
        sae: params.path(LAYER_SAES.name)?,
        trained_sae: params.path(LAYER_TRAINED.name)?,
        text: params.path(TEXT.name)?,
        rows: params.count(ROWS.name)?,
        context: params.count(CONTEXT_SIZE.name)?,
        batch: params.count(BATCH_SIZE.name)?,
    })
}

fn cost(session: &Session, params: &Params) -> Result<Option<Cost>> {
    let o = options(session, params)?;
    let config = &session.original.config;
    let rows = o.rows.unwrap_or_else(|| default_rows(&session.original));
    let (context, batch) = (o.context.unwrap_or(CONTEXT.min(config.n_ctx)), o.batch.unwrap_or(BATCH).min(rows));
    let wanted = |v: Variant| o.variants.is_empty() || o.variants.contains(&v);
    let pruned = if wanted(Variant::Pruned) { o.ratios.len().max(1) * o.criteria.len() + 1 } else { 0 };
    let fixed = [Variant::Original, Variant::Trained].into_iter().filter(|v| wanted(*v)).count();
    let points = (pruned + fixed).max(1) as f64;
    let layers = o.layers.len().max(1) as f64;
    let Extent { after, .. } = Extent::of(session, &o.variants);
    let (d_in, d_sae) = (session.sae.d_in() as u64, session.sae.d_sae() as u64);
    Ok(Some(Cost {
        tokens: (rows / batch.max(1) * batch * context) as u64,
        // Two models, read and ablated once a layer; every point is spliced.
        passes: layers * (2.0 + after * (2.0 + points)),
        encodings: layers * points,
        other: 0.0,
        // The residual stream of each point; sums of each latent; logits of the rows that go together; ranks.
        bytes: 4 * (batch * context) as u64 * d_in
            + points as u64 * (24 * d_sae + 4 * context as u64 * d_in)
            + 12 * context as u64 * config.d_vocab as u64
            + 4 * d_in * d_sae * o.criteria.len() as u64,
    }))
}
