//! One latent, in everything the detail panel shows.

use prunelens_core::{
    compare::{LatentDetail, Prompt, Variant, logit_lens, matching::Matching},
    error::Result,
    index::{Index, example},
    session::Session,
};
use prunelens_kernels::select::by_value;

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
            places.iter().filter_map(|place| example(index, &session.models.tokenizer, place, AROUND)).collect()
        }),
    })
}

type Effects = Vec<(Vec<u8>, f32)>;

/// Tokens whose logits the latent raises and lowers most, by the original model.
fn logit_effects(session: &Session, latent: u32) -> Result<(Effects, Effects)> {
    let raised = logit_lens::of_latent(&session.models.original, session.hook, &session.sae, latent)?;
    let mut all: Vec<(u32, f32)> = (0..).zip(raised).collect();
    let n = LISTED.min(all.len().saturating_sub(1));
    let name = |(id, value): &(u32, f32)| (session.models.tokenizer.piece(*id), *value);
    all.select_nth_unstable_by(n, by_value);
    let mut top = all[..n].to_vec();
    top.sort_by(by_value);
    let reversed = |a: &(u32, f32), b: &(u32, f32)| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0));
    all.select_nth_unstable_by(n, reversed);
    let mut bottom = all[..n].to_vec();
    bottom.sort_by(reversed);
    Ok((top.iter().map(name).collect(), bottom.iter().map(name).collect()))
}
