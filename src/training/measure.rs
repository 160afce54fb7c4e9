//! Figures on held-out text.

use std::{path::Path, sync::Arc};

use prunelens_core::{
    error::Result,
    model::{Model, Tokenizer},
    progress::Tick,
    sae::formats,
    train::report,
};
use prunelens_metrics::core::evaluate::evaluate;
use serde_json::{Value, json};

/// Measure an SAE on rows that it was not trained on, unless its report has that already. What is measured is what was saved,
/// rounded to 16 bits or not.
pub fn measure(
    model: &Arc<Model>,
    tokenizer: &Tokenizer,
    folder: &Path,
    rows: &[Vec<u32>],
    listen: &mut dyn FnMut(usize, usize),
    tick: Tick,
) -> Result<Value> {
    let mut report = report::read(folder)?;
    if report.get("held_out").is_none() && !rows.is_empty() {
        let sae = Arc::new(formats::load(folder)?);
        report["held_out"] = json!(evaluate(model, tokenizer, sae, rows.to_vec(), listen, tick)?);
        report::write(folder, &report)?;
    }
    Ok(report)
}
