//! Everything that an index says of one latent.

use super::{Index, Place};
use crate::{
    compare::{Example, Variant},
    error::Result,
    model::Tokenizer,
    sae::{Sae, Setting},
};

/// Bars of a histogram, intervals of examples, and examples in the top group and in each interval, as SAEDashboard has them
/// (its lists are longer).
const BARS: usize = 50;
const INTERVALS: usize = 5;
const TOP: usize = 12;
const IN_INTERVAL: usize = 3;
/// Latents listed as near.
const NEAR: usize = 6;
/// Tokens shown before and after an example's own.
const AROUND: (usize, usize) = (24, 16);
/// Firings below which a latent's company says nothing.
const FEW: usize = 3;

/// A latent over the corpus, in all variants.
#[derive(Clone, Debug, PartialEq)]
pub struct LatentPage {
    /// Of the shared dictionary.
    pub latent: u32,
    /// Rows read, of how many.
    pub rows: (usize, usize),
    /// Tokens that count among them.
    pub tokens: u64,
    /// Of the `pruned` variant.
    pub setting: Setting,
    /// What it does in each variant; in `trained` its match does it.
    pub variants: Vec<(Variant, Corpus)>,
    /// Nearest latents of the same dictionary by cosine of decoder rows.
    pub near: Vec<(u32, f32)>,
    /// What fires with it on the original model.
    pub coactive: Vec<Coactive>,
}

/// A latent that fires together with another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coactive {
    /// Which.
    pub latent: u32,
    /// Cosine of the two latents' activations over the corpus.
    pub cosine: f32,
}

/// One latent in one variant.
#[derive(Clone, Debug, PartialEq)]
pub struct Corpus {
    /// Its number in that variant's dictionary.
    pub latent: u32,
    /// Tokens on which it fires.
    pub fires: usize,
    /// Mean of its activations there; 0 if there are none.
    pub mean: f32,
    /// The largest of them.
    pub max: f32,
    /// How often activations lie in each of equal intervals from 0 to the largest in any variant.
    pub histogram: Vec<u32>,
    /// Where it is strongest.
    pub texts: Texts,
}

/// Examples of one latent: the strongest, and some of each interval of activation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Texts {
    /// The strongest first, each row once.
    pub top: Vec<Example>,
    /// From the highest interval to the lowest.
    pub intervals: Vec<Band>,
}

/// Activations from `from` to `to`.
#[derive(Clone, Debug, PartialEq)]
pub struct Band {
    /// Above this.
    pub from: f32,
    /// Up to this.
    pub to: f32,
    /// Share of all tokens that lie there.
    pub share: f64,
    /// Some of them, evenly through the interval.
    pub examples: Vec<Example>,
}

/// Tokens on which a latent fires, with its activation there.
type Fired = Vec<(u32, f32)>;

/// What `index` says of a latent, and of its match in `trained`.
pub fn page(index: &Index, sae: &Sae, tokenizer: &Tokenizer, latent: u32, matched: Option<u32>) -> Result<LatentPage> {
    let number = |variant| if variant == Variant::Trained { matched } else { Some(latent) };
    let fired: Vec<(Variant, u32, Fired)> = Variant::ALL
        .into_iter()
        .filter_map(|variant| {
            let latent = number(variant)?;
            Some((variant, latent, index.fires(variant)?.of(latent)))
        })
        .collect();
    let most = fired.iter().flat_map(|(_, _, fired)| fired).map(|(_, value)| *value).fold(0.0, f32::max);
    let text = |place: &Place| example(index, tokenizer, place, AROUND);
    let variants = fired
        .into_iter()
        .map(|(variant, latent, fired)| {
            let sum: f64 = fired.iter().map(|(_, value)| f64::from(*value)).sum();
            let corpus = Corpus {
                latent,
                fires: fired.len(),
                mean: if fired.is_empty() { 0.0 } else { (sum / fired.len() as f64) as f32 },
                max: fired.iter().map(|(_, value)| *value).fold(0.0, f32::max),
                histogram: histogram(&fired, most),
                texts: Texts {
                    top: index.strongest(variant, latent, TOP).iter().filter_map(text).collect(),
                    intervals: intervals(index, &fired, text),
                },
            };
            (variant, corpus)
        })
        .collect();
    Ok(LatentPage {
        latent,
        rows: (index.read, index.rows.len()),
        tokens: index.tokens,
        setting: index.setting,
        variants,
        near: near(sae, latent, NEAR)?,
        coactive: coactive(index, latent),
    })
}

fn histogram(fired: &[(u32, f32)], most: f32) -> Vec<u32> {
    let mut bars = vec![0; BARS];
    for (_, value) in fired {
        let bar = (value / most * BARS as f32) as usize;
        bars[bar.min(BARS - 1)] += 1;
    }
    bars
}

fn intervals(index: &Index, fired: &[(u32, f32)], text: impl Fn(&Place) -> Option<Example>) -> Vec<Band> {
    let max = fired.iter().map(|(_, value)| *value).fold(0.0, f32::max);
    let mut sorted = fired.to_vec();
    sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let edge = |at: usize| max * at as f32 / INTERVALS as f32;
    let interval = |at: usize| {
        let (from, to) = (edge(at), edge(at + 1));
        let inside: Vec<_> = sorted.iter().filter(|(_, v)| *v > from && (*v <= to || at + 1 == INTERVALS)).collect();
        let chosen = (0..IN_INTERVAL.min(inside.len())).map(|n| {
            // The middle of each of equal parts.
            let (token, value) = inside[(2 * n + 1) * inside.len() / (2 * IN_INTERVAL.min(inside.len()))];
            index.place(*token, *value)
        });
        let share = if index.tokens == 0 { 0.0 } else { inside.len() as f64 / index.tokens as f64 };
        Band { from, to, share, examples: chosen.filter_map(|place| text(&place)).collect() }
    };
    if fired.is_empty() { Vec::new() } else { (0..INTERVALS).rev().map(interval).collect() }
}

/// The text around a place of the corpus, with so many tokens before and after it.
pub fn example(
    index: &Index,
    tokenizer: &Tokenizer,
    place: &Place,
    (before, after): (usize, usize),
) -> Option<Example> {
    let (row, position) = (index.rows.get(place.row as usize)?, place.position as usize);
    let token = tokenizer.piece(*row.get(position)?);
    let text =
        |ids: &[u32]| ids.iter().filter(|id| !tokenizer.special(**id)).flat_map(|id| tokenizer.piece(*id)).collect();
    Some(Example {
        before: text(&row[position.saturating_sub(before)..position]),
        token,
        after: text(&row[position + 1..(position + 1 + after).min(row.len())]),
        activation: place.activation,
    })
}

/// The nearest latents by cosine of decoder rows, so many at most; none of a latent that the SAE does not have.
pub fn near(sae: &Sae, latent: u32, most: usize) -> Result<Vec<(u32, f32)>> {
    let d = sae.d_in();
    if latent as usize >= sae.d_sae() {
        return Ok(Vec::new());
    }
    let all = prunelens_kernels::with_f32(&sae.w_dec, |w| {
        let own = &w[latent as usize * d..][..d];
        let norm = |row: &[f32]| row.iter().map(|v| v * v).sum::<f32>().sqrt();
        let own_norm = norm(own);
        let cosine = |row: &[f32]| {
            let dot: f32 = row.iter().zip(own).map(|(a, b)| a * b).sum();
            let norms = norm(row) * own_norm;
            if norms > 0.0 { dot / norms } else { 0.0 }
        };
        (0..).zip(w.chunks_exact(d).map(cosine)).filter(|(other, _)| *other != latent).collect::<Vec<(u32, f32)>>()
    })?;
    Ok(largest(all, most))
}

/// What fires with a latent on the original model: cosine of activations over the corpus.
fn coactive(index: &Index, latent: u32) -> Vec<Coactive> {
    let Some(fires) = index.fires(Variant::Original) else { return Vec::new() };
    let own = fires.of(latent);
    if own.len() < FEW {
        return Vec::new();
    }
    let square = |fired: &[(u32, f32)]| fired.iter().map(|(_, v)| f64::from(*v) * f64::from(*v)).sum::<f64>();
    let mut dots = std::collections::HashMap::<u32, f64>::new();
    for (token, value) in &own {
        let (indices, values) = fires.by_token().row(*token as usize);
        for (other, at) in indices.iter().zip(values).filter(|(other, _)| **other != latent) {
            *dots.entry(*other).or_default() += f64::from(*value) * f64::from(*at);
        }
    }
    let own = square(&own);
    let often = dots.into_iter().filter(|(other, _)| fires.tokens_of(*other).len() >= FEW);
    let cosines = often.map(|(other, dot)| (other, (dot / (own * square(&fires.of(other))).sqrt()) as f32));
    largest(cosines.collect(), NEAR).into_iter().map(|(latent, cosine)| Coactive { latent, cosine }).collect()
}

fn largest(mut all: Vec<(u32, f32)>, most: usize) -> Vec<(u32, f32)> {
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all.truncate(most);
    all
}
