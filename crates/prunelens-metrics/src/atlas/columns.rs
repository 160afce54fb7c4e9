//! The atlas' columns from its sums: one number a latent. `docs/atlas.md` defines them.

use prunelens_core::{
    compare::{Variant, matching::Matching},
    data::frame::Frame,
};

use super::{
    Fate, Spec,
    fate::Course,
    moments::{Moments, pearson},
    readers::Readers,
    sums::Sums,
};

/// All of them.
pub fn frame(sums: &Sums, spec: &Spec, readers: &Readers) -> Frame {
    let mut out = Frame::default();
    let matches = readers.matches();
    let variants = variants(sums, &matches);
    let mut put = |name: String, values: Vec<f64>| out.numbers.push((name, values));
    for (variant, moments) in &variants {
        let each = |of: &dyn Fn(&Moments) -> f64| moments.iter().map(|moments| of(moments)).collect::<Vec<_>>();
        put(format!("density.{variant}"), each(&|m| m.fired as f64 / sums.positions as f64));
        put(format!("mean.{variant}"), each(&Moments::mean));
        put(format!("max.{variant}"), each(&Moments::max));
        put(format!("mass.{variant}"), each(&|m| m.sum));
    }
    for (ratio, masses) in spec.ratios.iter().zip(&sums.grid) {
        put(format!("mass.pruned.{ratio}"), masses.clone());
    }
    let (half, dies) = deaths(sums, &spec.ratios);
    put("dies_half".into(), half);
    put("dies".into(), dies);
    for (at, (variant, moments)) in variants.iter().skip(1).enumerate() {
        let pairs = || sums.original.iter().zip(moments);
        let corr = pairs().zip(&sums.products).map(|((a, b), products)| pearson(sums.positions, a, b, products[at]));
        put(format!("corr.{variant}"), corr.collect());
        put(format!("jaccard.{variant}"), pairs().map(|(a, b)| a.top.jaccard(&b.top)).collect());
    }
    let weights = &readers.weights;
    put("enc_norm".into(), weights.enc_norm.clone());
    put("dec_norm".into(), weights.dec_norm.clone());
    put("enc_kept".into(), weights.enc_kept.clone());
    put("dec_kept".into(), weights.dec_kept.clone());
    if let Some(matching) = &readers.matching {
        matched(matching, sums.d_sae()).into_iter().for_each(|(name, values)| put(name.into(), values));
    }
    for (variant, entropies) in ["original", "transfer"].into_iter().zip(sums.tokens.entropies(sums.d_sae())) {
        put(format!("token_entropy.{variant}"), entropies);
    }
    put("importance".into(), importance(sums));
    for (model, variant) in ["original", "transfer"].into_iter().enumerate() {
        put(format!("scale.{variant}"), sums.scaling.iter().map(|s| s.against_error(model)).collect());
        put(format!("scale_recon.{variant}"), sums.scaling.iter().map(|s| s.against_recon(model)).collect());
    }
    let (heir, share) = heirs(sums).into_iter().unzip();
    put("heir".into(), heir);
    put("heir_share".into(), share);
    out.words.push(("fate".into(), fates(sums).into_iter().map(|fate| fate.name().into()).collect()));
    out
}

/// Moments of each variant that is there, by the original's latents; those of the trained SAE by their matches.
fn variants<'a>(sums: &'a Sums, matches: &[u32]) -> Vec<(Variant, Vec<&'a Moments>)> {
    let mut out: Vec<(Variant, Vec<&Moments>)> =
        [(Variant::Original, &sums.original), (Variant::Transfer, &sums.transfer), (Variant::Pruned, &sums.pruned)]
            .map(|(variant, moments)| (variant, moments.iter().collect()))
            .into();
    if !matches.is_empty() {
        out.push((Variant::Trained, matches.iter().map(|latent| &sums.trained[*latent as usize]).collect()));
    }
    out
}

/// The first ratio at which half of its mass is gone, and the one from which on it never fires.
fn deaths(sums: &Sums, ratios: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let latent = |(latent, transfer): (usize, &Moments)| {
        if transfer.sum == 0.0 {
            return (f64::NAN, f64::NAN);
        }
        let masses = || ratios.iter().zip(&sums.grid).map(|(ratio, masses)| (*ratio, masses[latent]));
        let half = masses().find(|(_, mass)| *mass < transfer.sum / 2.0).map_or(f64::NAN, |(ratio, _)| ratio);
        let silent: Vec<f64> = masses().map(|(ratio, mass)| if mass == 0.0 { ratio } else { f64::NAN }).collect();
        let dies = silent.into_iter().rev().take_while(|ratio| !ratio.is_nan()).last();
        (half, dies.unwrap_or(f64::NAN))
    };
    sums.transfer.iter().enumerate().map(latent).unzip()
}

fn matched(matching: &Matching, d_sae: usize) -> [(&'static str, Vec<f64>); 3] {
    let found: Vec<_> = (0..d_sae as u32).filter_map(|latent| matching.get(latent)).collect();
    [
        ("match", found.iter().map(|found| f64::from(found.latent)).collect()),
        ("match_cos", found.iter().map(|found| f64::from(found.cosine)).collect()),
        ("match_mutual", found.iter().map(|found| f64::from(u8::from(found.mutual))).collect()),
    ]
}

/// First-order change of the original model's mean loss when a latent is ablated and the error term kept; NaN where it fires,
/// but in no row of which that was measured.
pub fn importance(sums: &Sums) -> Vec<f64> {
    let share = |latent: usize| match (sums.attribution[latent], sums.traced[latent], sums.original[latent].fired) {
        (_, 0, 1..) => f64::NAN,
        (0.0, ..) => 0.0,
        (sum, ..) => -sum / sums.predicted as f64,
    };
    (0..sums.d_sae()).map(share).collect()
}

/// Of each latent the one that took most of what it lost from original to pruned, and the share of that loss.
fn heirs(sums: &Sums) -> Vec<(f64, f64)> {
    let share = |(latent, heir): (usize, Option<(u32, f64)>)| match heir {
        Some((heir, took)) => {
            let lost = sums.original[latent].sum - sums.pruned[latent].sum;
            (f64::from(heir), if lost > 0.0 { (took / lost).min(1.0) } else { 0.0 })
        }
        None => (f64::NAN, f64::NAN),
    };
    sums.heirs.largest(sums.d_sae()).into_iter().enumerate().map(share).collect()
}

/// What became of each latent at the live ratio.
pub fn fates(sums: &Sums) -> Vec<Fate> {
    let heirs = heirs(sums);
    let latent = |at: usize| {
        let [original, transfer, pruned] = [&sums.original[at], &sums.transfer[at], &sums.pruned[at]];
        Fate::of(&Course {
            mass: [original.sum, transfer.sum, pruned.sum],
            corr: pearson(sums.positions, original, pruned, sums.products[at][1]),
            heir: heirs[at].1,
        })
    };
    (0..sums.d_sae()).map(latent).collect()
}
