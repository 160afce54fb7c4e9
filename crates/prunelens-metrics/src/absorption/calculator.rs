//! Absorption of one word: how much of the letter's direction other latents carry in place of the letter's own.

use serde::{Deserialize, Serialize};

use super::LETTERS;

/// Cosine with the letter's direction that the latent in place of all others must have (full absorption).
pub const FULL_COSINE: f64 = 0.025;
/// The same for each of several (absorption fraction).
pub const FRACTION_COSINE: f64 = 0.1;
/// Share of the word's projection that they must carry.
pub const PROPORTION: f64 = 0.4;
/// How many may carry it together.
pub const ABSORBING: usize = 3;
/// Activations below this are silence.
const SILENT: f32 = 1e-8;

/// One latent on one word.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Carrier {
    /// In the SAE's dictionary.
    pub latent: u32,
    /// On the word's token.
    pub activation: f32,
    /// Of its decoder row and the letter's probe.
    pub cosine: f32,
}

impl Carrier {
    /// What it adds along the probe.
    pub fn projection(&self) -> f64 {
        f64::from(self.activation) * f64::from(self.cosine)
    }
}

/// What became of a word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WordAbsorption {
    /// Share of the letter that other latents carry, 0 to 1.
    pub fraction: f64,
    /// A single latent stands in for the letter's own, all of which are silent.
    pub full: bool,
    /// Of the activation on the letter's direction.
    pub projection: f64,
    /// The active latent that carries most of the letter.
    pub top: Option<Carrier>,
}

/// `projection` is that of the activation on the letter's unit direction; `active` are the latents that fire on the word, by
/// ascending latent; `main` are the letter's own.
pub fn absorption(
    projection: f64,
    active: (&[u32], &[f32]),
    cosines: &[[f32; LETTERS]],
    class: usize,
    main: &[u32],
) -> WordAbsorption {
    let carriers = active.0.iter().zip(active.1).map(|(&latent, &activation)| Carrier {
        latent,
        activation,
        cosine: cosines.get(latent as usize).map_or(0.0, |c| c[class]),
    });
    let (mut own, mut own_silent) = (0.0, true);
    let mut others = Vec::new();
    let mut top: Option<Carrier> = None;
    for carrier in carriers {
        let carried = carrier.projection();
        if main.contains(&carrier.latent) {
            own += carried;
            own_silent &= carrier.activation < SILENT;
        } else if f64::from(carrier.cosine) >= FRACTION_COSINE && carried > 0.0 {
            others.push(carried);
        }
        if top.is_none_or(|top| carried > top.projection()) {
            top = Some(carrier);
        }
    }
    others.sort_unstable_by(|a, b| b.total_cmp(a));
    let others: f64 = others.iter().take(ABSORBING).sum();
    let stands_in = |top: Carrier| {
        f64::from(top.cosine) >= FULL_COSINE && projection > 0.0 && top.projection() / projection >= PROPORTION
    };
    WordAbsorption {
        fraction: fraction(projection, own, others),
        full: own_silent && top.is_some_and(stands_in),
        projection,
        top,
    }
}

fn fraction(projection: f64, own: f64, others: f64) -> f64 {
    let carried = others / projection;
    if own >= projection || carried < PROPORTION || carried.is_nan() {
        0.0
    } else if own <= 0.0 {
        1.0
    } else {
        let absorbed = others.min(projection - own);
        (absorbed / (absorbed + own)).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: usize = 3;

    fn cosines(values: &[f32]) -> Vec<[f32; LETTERS]> {
        values.iter().map(|&v| std::array::from_fn(|class| if class == C { v } else { -1.0 })).collect()
    }

    fn run(projection: f64, active: &[(u32, f32)], cos: &[f32], main: &[u32]) -> WordAbsorption {
        let (indices, values): (Vec<_>, Vec<_>) = active.iter().copied().unzip();
        absorption(projection, (&indices, &values), &cosines(cos), C, main)
    }

    #[test]
    fn fractions() {
        assert_eq!(fraction(2.0, 2.0, 5.0), 0.0, "the own latents carry it all");
        assert_eq!(fraction(2.0, 0.5, 0.79), 0.0, "others carry too little");
        assert_eq!(fraction(2.0, -0.1, 0.8), 1.0);
        assert_eq!(fraction(2.0, 0.0, 0.8), 1.0);
        assert_eq!(fraction(2.0, 0.5, 1.0), 1.0 / 1.5);
        assert_eq!(fraction(2.0, 0.5, 9.0), 1.5 / 2.0, "no more than is missing");
        assert_eq!(fraction(-2.0, -3.0, 1.0), 0.0);
        assert_eq!((fraction(0.0, -1.0, 0.0), fraction(0.0, 0.0, 1.0)), (0.0, 0.0));
    }

    #[test]
    fn three_others_count_at_most_and_only_those_along_the_letter() {
        let cos = [0.9, 0.5, 0.5, 0.5, 0.5, 0.09, -0.5];
        let active = [(0, 1.0), (1, 1.0), (2, 2.0), (3, 3.0), (4, 0.5), (5, 90.0), (6, 9.0)];
        let found = run(10.0, &active, &cos, &[0]);
        // 0.5 (1 + 2 + 3) of 10 is no more than 0.4 would need; of 7 it is less than what is missing.
        assert_eq!(found.fraction, 0.0);
        let found = run(7.0, &active, &cos, &[0]);
        assert!((found.fraction - 3.0 / (3.0 + f64::from(0.9_f32))).abs() < 1e-9, "{}", found.fraction);
        assert!(!found.full, "the own latent fires");
        assert_eq!(found.top.unwrap().latent, 5);
    }

    #[test]
    fn full_absorption_is_by_one_latent_while_the_own_are_silent() {
        assert!(run(2.0, &[(1, 1.0)], &[0.9, 0.8], &[0]).full);
        assert!(!run(2.1, &[(1, 1.0)], &[0.9, 0.8], &[0]).full, "carries less than 0.4");
        assert!(!run(2.0, &[(0, 1e-3), (1, 1.0)], &[0.9, 0.8], &[0]).full);
        assert!(run(2.0, &[(0, 1e-9), (1, 1.0)], &[0.9, 0.8], &[0]).full);
        assert!(!run(0.01, &[(1, 1.0)], &[0.9, 0.02], &[0]).full, "hardly along the letter");
        assert!(!run(-1.0, &[(1, 1.0)], &[0.9, 0.8], &[0]).full);
        let none = run(2.0, &[], &[0.9], &[0]);
        assert_eq!((none.full, none.fraction, none.top), (false, 0.0, None));
    }
}
