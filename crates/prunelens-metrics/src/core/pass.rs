//! Some token rows through one model and all SAEs that read it: everything the core metric sums up.

use std::collections::HashSet;

use candle_core::{DType, Tensor};
use prunelens_core::{
    compare::{
        Reader,
        splice::{TokenLosses, losses, next_tokens},
    },
    data::encode_ids,
    error::Result,
    model::{Captured, Site, tokens_at_once},
    progress::Tick,
    sae::{Encoded, firing},
};
use prunelens_kernels::{Firing, TokenErrors};

use super::downstream::Losses;

/// What is wanted of a pass.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Losses with reconstructions and with zeros put at the hook.
    pub downstream: bool,
    /// What activations and reconstructions are like, and how often latents fire.
    pub activations: bool,
    /// Leave the activation at special tokens as it is instead of putting the reconstruction there.
    pub exclude_special: bool,
}

/// What came of it, in row order; one entry a reader where there are several. Empty what was not wanted.
#[derive(Default)]
pub struct Measured {
    /// Which tokens are not special.
    pub kept: Vec<bool>,
    /// `[tokens, d_in]` in the SAE's space, some rows at a time.
    pub x: Vec<Tensor>,
    /// What became of it in the reconstructions.
    pub errors: Vec<Vec<TokenErrors>>,
    /// How often latents fired.
    pub firing: Vec<Firing>,
    /// Of each reader, where this batch is measured for them.
    pub losses: Option<Losses>,
}

impl Measured {
    /// Append what other rows of the same plan gave.
    pub fn extend(&mut self, other: Self) {
        if self.kept.is_empty() {
            *self = other;
            return;
        }
        self.kept.extend(other.kept);
        self.x.extend(other.x);
        self.errors.iter_mut().zip(other.errors).for_each(|(a, b)| a.extend(b));
        self.firing.iter_mut().zip(&other.firing).for_each(|(a, b)| a.add(b));
        if let (Some(a), Some(b)) = (&mut self.losses, other.losses) {
            a.clean.extend(b.clean);
            append(&mut a.ablation, b.ablation);
            a.sae.iter_mut().zip(b.sae).for_each(|(a, b)| append(a, b));
        }
    }
}

fn append(a: &mut TokenLosses, b: TokenLosses) {
    a.ce.extend(b.ce);
    a.kl.extend(b.kl);
}

/// The residual stream after the last block with zeros at the hook, once it is known, where it is always the same.
pub type Ablated = Option<Tensor>;

/// Run `rows` (all of one length) through the model of `readers`, which all read it at the same hook in the same space:
/// one clean pass and at most one with zeros for all of them, one resumed pass each. `ablated` is kept from call to call.
pub fn measure(
    readers: &[&Reader],
    rows: &[Vec<u32>],
    special: &HashSet<u32>,
    plan: Plan,
    ablated: &mut Ablated,
    tick: Tick,
) -> Result<Measured> {
    let (ids, length) = encode_ids(rows)?;
    let mut measured = Measured { kept: ids.iter().map(|id| !special.contains(id)).collect(), ..Default::default() };
    let Some(first) = readers.first() else { return Ok(measured) };
    let model = &first.model;
    let tokens = Tensor::from_vec(ids, (rows.len(), length), &model.device)?;

    let captured = model.capture(&tokens, first.hook, tick)?;
    let x = first.input(&captured)?;
    let keep_original = (plan.exclude_special && measured.kept.contains(&false)).then_some(&measured.kept[..]);

    // The residual streams after the last block: without SAE, with zeros, with each reconstruction.
    let mut last = Vec::with_capacity(readers.len() + 2);
    if plan.downstream {
        last.push(model.finish(&captured, tick)?.flatten_to(1)?);
        last.push(ablate(first, &captured, &x, ablated, tick)?);
    }
    // Asked for at the end, so that a GPU never waits for whoever reads them.
    let (mut errors, mut fired) = (Vec::new(), Vec::new());
    for reader in readers {
        let (recon, encoded) = reconstruct(reader, &x, tick)?;
        if plan.activations {
            errors.push(model.ops.token_errors(&x, &recon)?);
            fired.push(firing(&encoded, reader.sae.config.d_sae, &measured.kept, length)?);
        }
        // The latents of all tokens need no room while the model goes on.
        drop(encoded);
        if plan.downstream {
            let spliced = splice(reader, &captured, &recon, keep_original)?;
            last.push(model.resume(&captured, &spliced, tick)?.flatten_to(1)?);
        }
    }
    if plan.downstream {
        let others: Vec<_> = last[1..].iter().collect();
        let (clean, mut others) = losses(model, &last[0], &others, &next_tokens(rows), tick)?;
        let sae = others.split_off(1);
        measured.losses = others.pop().map(|ablation| Losses { clean, ablation, sae });
    }
    if plan.activations {
        measured.x.push(x);
    }
    measured.errors = errors.into_iter().map(|errors| errors()).collect::<std::result::Result<_, _>>()?;
    measured.firing = fired.into_iter().map(|fired| fired()).collect::<std::result::Result<_, _>>()?;
    Ok(measured)
}

/// The residual stream after the last block with zeros at the hook: `[tokens, d_model]`, or `[1, d_model]` if all tokens
/// have the same.
///
/// They have where the hook is the residual stream itself. With nothing left of text and position every position holds
/// the same vector in every block after it: attention takes means of equal values. So one token is run, once, for all
/// text. A mean that the SAE's space leaves out would change nothing: the norms of such models take it out again.
fn ablate(reader: &Reader, captured: &Captured, x: &Tensor, known: &mut Ablated, tick: Tick) -> Result<Tensor> {
    let model = &reader.model;
    if !matches!(reader.hook.site, Site::ResidPre | Site::ResidMid | Site::ResidPost) {
        let zeros = reader.replacement(captured, &x.zeros_like()?)?;
        return Ok(model.resume(captured, &zeros, tick)?.flatten_to(1)?);
    }
    if let Some(known) = known {
        return Ok(known.clone());
    }
    let one = model.capture(&Tensor::zeros((1, 1), DType::U32, &model.device)?, reader.hook, tick)?;
    let last = model.resume(&one, &one.acts.zeros_like()?, tick)?.flatten_to(1)?;
    Ok(known.insert(last).clone())
}

/// Encode and decode `[tokens, d_in]` in chunks, so that a wide SAE does not keep the user waiting.
fn reconstruct(reader: &Reader, x: &Tensor, tick: Tick) -> Result<(Tensor, Vec<Encoded>)> {
    let (tokens, d_in) = x.dims2()?;
    let most = tokens_at_once((2 * d_in * reader.sae.config.d_sae) as f64, reader.sae.device());
    // In equal parts, none of which is a short last one.
    let chunk = tokens.div_ceil(tokens.div_ceil(most).max(1)).max(1);
    let (mut recons, mut all) = (Vec::new(), Vec::new());
    for start in (0..tokens).step_by(chunk) {
        let encoded = reader.encode(&x.narrow(0, start, chunk.min(tokens - start))?)?;
        recons.push(reader.decode(&encoded)?);
        all.push(encoded);
        tick()?;
    }
    Ok((Tensor::cat(&recons, 0)?, all))
}

/// The reconstruction in the model's space, with the original activation at tokens that are not kept.
fn splice(reader: &Reader, captured: &Captured, recon: &Tensor, kept: Option<&[bool]>) -> Result<Tensor> {
    let replacement = reader.replacement(captured, recon)?;
    let Some(kept) = kept else { return Ok(replacement) };
    let (batch, length, _) = captured.acts.dims3()?;
    let kept: Vec<u8> = kept.iter().map(|&k| k.into()).collect();
    let kept = Tensor::from_vec(kept, (batch, length, 1), captured.acts.device())?;
    let acts = captured.acts.to_dtype(replacement.dtype())?;
    Ok(kept.broadcast_as(acts.shape())?.where_cond(&replacement, &acts)?)
}
