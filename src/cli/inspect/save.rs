//! Tensors of a comparison as a safetensors file.

use std::{collections::BTreeMap, path::Path};

use super::edited::Read;
use candle_core::Tensor;
use prunelens_core::{
    compare::{Prompt, Variant},
    error::{Error, Result},
    files::write_atomic,
    progress::Tick,
};

/// `tokens` I64 [T], `original.logits` and `pruned.logits` F32 [T, V], `original.acts` and `pruned.acts` F32 [T, d_in], and for
/// each variant `variant.NAME.latents`, `.recons`, `.logits` (its reconstruction spliced into its model) and, while edits are
/// in force, `.edited_logits`.
pub fn save(prompt: &Prompt, edited: Option<&Read>, path: &Path, force: bool, tick: Tick) -> Result<()> {
    if path.exists() && !force {
        return Err(Error::file(path, "the file exists; choose another name, or --force to replace it"));
    }
    let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
    let comparison = prompt.comparison(None);
    let ids: Vec<i64> = comparison.tokens.iter().map(|t| i64::from(t.id)).collect();
    let n = ids.len();
    tensors.insert("tokens".into(), Tensor::from_vec(ids, n, &candle_core::Device::Cpu)?);
    for (model, variant) in [("original", Variant::Original), ("pruned", Variant::Transfer)] {
        if let Some(logits) = prompt.logits(variant, false, tick)? {
            tensors.insert(format!("{model}.logits"), logits);
        }
        if let Some((acts, _, _)) = prompt.reading(variant)? {
            tensors.insert(format!("{model}.acts"), acts);
        }
    }
    for view in &comparison.views {
        let name = format!("variant.{}", view.variant);
        if let Some((_, encoded, recons)) = prompt.reading(view.variant)? {
            let latents = encoded.latents()?;
            let shape = (latents.rows(), latents.d_sae);
            let latents = Tensor::from_vec(latents.dense(), shape, &candle_core::Device::Cpu)?;
            tensors.insert(format!("{name}.latents"), latents);
            tensors.insert(format!("{name}.recons"), recons);
        }
        if let Some(logits) = prompt.logits(view.variant, true, tick)? {
            tensors.insert(format!("{name}.logits"), logits);
        }
    }
    for (variant, edited) in edited.iter().flat_map(|read| &read.variants) {
        tensors.insert(format!("variant.{variant}.edited_logits"), edited.logits()?);
    }
    let contiguous =
        tensors.into_iter().map(|(name, t)| Ok((name, t.to_device(&candle_core::Device::Cpu)?.contiguous()?)));
    let tensors = contiguous.collect::<Result<Vec<(String, Tensor)>>>()?;
    let views = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
    let bytes =
        safetensors::serialize(views, None).map_err(|e| Error::file(path, format!("cannot be written: {e}")))?;
    write_atomic(path, &bytes)
}
