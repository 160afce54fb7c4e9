//! How good a trained SAE is on text it was not trained on.

use std::sync::Arc;

use prunelens_core::{
    compare::{Reader, Variant},
    error::{Error, Result},
    model::{Model, Tokenizer},
    progress::Tick,
    sae::{Sae, place},
};
use serde::{Deserialize, Serialize};

use crate::{
    Measure,
    core::{CoreResult, CoreRun, CoreSpec},
};

/// Figures on held-out text, with the names of the core metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Tokens of the rows used, masked ones included.
    pub tokens: usize,
    /// `1 - sum |r|^2 / sum |x - mean x|^2`.
    pub explained_variance: f64,
    /// Mean squared error of a number.
    pub mse: f64,
    /// Latents that fire on a token, on average.
    pub l0: f64,
    /// Share of the latents that fire on none of the tokens.
    pub dead: f64,
    /// Share of the loss by ablation that the reconstruction gives back.
    pub ce_loss_score: f64,
    /// Cross-entropy with the reconstruction at the hook.
    pub ce_loss_with_sae: f64,
    /// Cross-entropy of the model as it is.
    pub ce_loss_without_sae: f64,
    /// Cross-entropy with zeros at the hook.
    pub ce_loss_with_ablation: f64,
    /// Share of the divergence by ablation that the reconstruction gives back.
    pub kl_div_score: f64,
}

/// Rows in a batch of the metric.
const BATCH: usize = 8;

/// Run the core metric on `rows`, all of one length, where the model is.
pub fn evaluate(
    model: &Arc<Model>,
    tokenizer: &Tokenizer,
    sae: Arc<Sae>,
    rows: Vec<Vec<u32>>,
    listen: &mut dyn FnMut(usize, usize),
    tick: Tick,
) -> Result<Evaluation> {
    let context = rows.first().map_or(0, Vec::len);
    let spec = CoreSpec::over(rows.len(), context, BATCH, "held-out text");
    let (hook, space) = (sae.config.hook, sae.config.space);
    let reader = Reader::new(Variant::Trained, model.clone(), place(sae, &*model.ops)?, None, hook, space)?;
    let special = [tokenizer.bos, tokenizer.eos, tokenizer.pad].into_iter().flatten().collect();
    let mut run = CoreRun::new(spec, vec![reader], rows, special)?.without_weights();
    while run.step(tick)? {
        let (done, total) = run.progress();
        listen(done, total);
    }
    match &run.finish()?[..] {
        [(_, result)] => Ok(Evaluation::of(result)),
        results => Err(Error::invalid(format!("{} results for one SAE", results.len()))),
    }
}

impl Evaluation {
    fn of(result: &CoreResult) -> Self {
        let (downstream, activation) = (&result.downstream, &result.activation);
        let density = &result.density.density;
        Self {
            tokens: result.total_tokens_eval_sparsity_variance,
            explained_variance: activation.variance_explained,
            mse: activation.mse_per_element,
            l0: activation.l0,
            dead: density.iter().filter(|d| **d == 0.0).count() as f64 / density.len() as f64,
            ce_loss_score: downstream.ce_loss_score(),
            ce_loss_with_sae: downstream.ce_loss_with_sae,
            ce_loss_without_sae: downstream.ce_loss_without_sae,
            ce_loss_with_ablation: downstream.ce_loss_with_ablation,
            kl_div_score: downstream.kl_div_score(),
        }
    }
}
