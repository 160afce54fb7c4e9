//! One latent, in everything the detail panel shows.

use candle_core::{DType, Tensor};
use prunelens_core::{
    compare::{LatentDetail, Prompt, Variant, matching::Matching},
    error::Result,
    index::{Index, example},
    model::Site,
    session::Session,
};
use prunelens_kernels::{select::by_value, with_f32};

/// Tokens listed as promoted and as suppressed.
const LISTED: usize = 8;
/// Examples in the panel, and tokens before and after each one's own.
const EXAMPLES: usize = 4;
const AROUND: (usize, usize) = (12, 6);

/// Details of a latent at a token of the prompt.
pub fn detail(
    session: &Session,
    prompt: &Prompt,
    index: Option<&Index>,
    matching: Option<&Matching>,
    (latent, token): (u32, usize),
) -> Result<LatentDetail> {
    let (curve, dies_at) = prompt.curve(token, latent)?.unwrap_or_default();
    let (promotes, suppresses) =
        if (latent as usize) < session.sae.d_sae() { logit_effects(session, latent)? } else { Default::default() };
    let places = index.map(|index| index.strongest(Variant::Original, latent, EXAMPLES)).unwrap_or_default();
    Ok(LatentDetail {
        latent,
        token,
        knob: prompt.setting().knob,
        curve,
        dies_at,
        matched: matching.and_then(|matching| matching.get(latent)),
        promotes,
        suppresses,
        density: index.and_then(|index| index.density(Variant::Original, latent)),
        max_activation: places.first().map(|p| p.activation),
        examples: index.map_or_else(Vec::new, |index| {
            places.iter().filter_map(|place| example(index, &session.tokenizer, place, AROUND)).collect()
        }),
    })
}

type Effects = Vec<(Vec<u8>, f32)>;

/// Tokens whose logits the latent's decoder direction raises and lowers most, through the original model's final norm
/// weight and output matrix (scale and mean of the norm left out), less the mean over the vocabulary.
fn logit_effects(session: &Session, latent: u32) -> Result<(Effects, Effects)> {
    let model = &session.original;
    let mut direction = session
        .sae
        .w_dec
        .narrow(0, latent as usize, 1)?
        .force_contiguous()?
        .to_device(&model.device)?
        .to_dtype(model.dtype)?;
    if session.hook.site == Site::Z {
        direction = direction.matmul(&model.blocks[session.hook.layer].o.weight.t()?)?;
    }
    direction = model.ln_final.scale(&direction)?;
    let logits: Tensor = model.unembed.weight.matmul(&direction.t()?)?.flatten_all()?.to_dtype(DType::F32)?;
    let logits = logits.to_device(&candle_core::Device::Cpu)?;
    with_f32(&logits, |logits| {
        let mean = logits.iter().sum::<f32>() / logits.len() as f32;
        let mut all: Vec<(u32, f32)> = (0..).zip(logits.iter().map(|v| v - mean)).collect();
        let n = LISTED.min(all.len().saturating_sub(1));
        let name = |(id, value): &(u32, f32)| (session.tokenizer.piece(*id), *value);
        all.select_nth_unstable_by(n, by_value);
        let mut top = all[..n].to_vec();
        top.sort_by(by_value);
        let reversed = |a: &(u32, f32), b: &(u32, f32)| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0));
        all.select_nth_unstable_by(n, reversed);
        let mut bottom = all[..n].to_vec();
        bottom.sort_by(reversed);
        (top.iter().map(name).collect(), bottom.iter().map(name).collect())
    })
}
