//! Probes on the few latents that predict a letter best.

use prunelens_core::{error::Result, progress::Tick, sae::Latents};
use serde::{Deserialize, Serialize};

use super::{
    logistic::{Fit, Sample, balanced},
    probe::Probe,
    scores::{Confusion, split_into},
};

/// The probes of one letter, on 1, 2 ... of its best latents.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LetterProbes {
    /// Best latent first.
    pub latents: Vec<u32>,
    /// By number of latents, from 1.
    pub fits: Vec<Fit>,
}

/// The `k` latents with the largest weights for a letter: signed, for only those predict it directly.
pub fn largest(probe: &Probe, class: usize, k: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..probe.width() as u32).collect();
    let weight = |latent: &u32| probe.weights[*latent as usize][class];
    let k = k.min(order.len());
    let by_weight = |a: &u32, b: &u32| weight(b).total_cmp(&weight(a)).then(a.cmp(b));
    if k < order.len() {
        order.select_nth_unstable_by(k, by_weight);
    }
    order.truncate(k);
    order.sort_unstable_by(by_weight);
    order
}

/// Train the probes of a letter on `latents` of words of these letters.
pub fn train(latents: &Latents, classes: &[usize], class: usize, best: Vec<u32>, tick: Tick) -> Result<LetterProbes> {
    let values: Vec<_> = (0..classes.len()).map(|row| values(latents, row, &best)).collect();
    let mut fits = Vec::with_capacity(best.len());
    for k in 1..=best.len() {
        tick()?;
        let (mut samples, mut silent) = (Vec::new(), [0.0; 2]);
        for (x, &c) in values.iter().zip(classes) {
            let (x, positive) = (x[..k].to_vec(), c == class);
            // Words on which none fires are all alike.
            if x.iter().all(|v| *v == 0.0) {
                silent[usize::from(positive)] += 1.0;
            } else {
                samples.push(Sample { x, positive, count: 1.0 });
            }
        }
        for (positive, count) in [(false, silent[0]), (true, silent[1])] {
            if count > 0.0 {
                samples.push(Sample { x: vec![0.0; k], positive, count });
            }
        }
        fits.push(balanced(&samples, k));
    }
    Ok(LetterProbes { latents: best, fits })
}

impl LetterProbes {
    /// F1 by number of latents on other words.
    pub fn f1(&self, latents: &Latents, classes: &[usize], class: usize) -> Vec<f64> {
        let score = |k: usize, fit: &Fit| {
            let scores = classes.iter().enumerate().map(|(row, &c)| {
                let x = values(latents, row, &self.latents[..k]);
                (fit.score(&x), c == class)
            });
            Confusion::above(0.0, scores).f1()
        };
        self.fits.iter().enumerate().map(|(at, fit)| score(at + 1, fit)).collect()
    }

    /// The latents among which the letter is split.
    pub fn main(&self, f1: &[f64], jump: f64) -> &[u32] {
        &self.latents[..split_into(f1, jump).min(self.latents.len())]
    }
}

fn values(latents: &Latents, row: usize, of: &[u32]) -> Vec<f64> {
    of.iter().map(|&latent| f64::from(latents.get(row, latent))).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::LETTERS, *};

    #[test]
    fn the_largest_weights_are_signed_and_ties_go_to_the_lower_latent() {
        let mut probe = Probe { weights: vec![[0.0; LETTERS]; 6], biases: [0.0; LETTERS] };
        for (latent, weight) in [0.5, -3.0, 0.7, 0.5, 0.1, 0.5].into_iter().enumerate() {
            probe.weights[latent][4] = weight;
        }
        assert_eq!(largest(&probe, 4, 3), [2, 0, 3]);
        assert_eq!(largest(&probe, 4, 9), [2, 0, 3, 5, 4, 1]);
        assert_eq!(largest(&probe, 0, 2), [0, 1]);
    }

    #[test]
    fn a_letter_carried_by_two_latents_is_split_among_them() {
        // Latent 0 fires on half of the letter's words, latent 1 on the other half, latent 2 anywhere.
        let classes: Vec<usize> = (0..80).map(|i| usize::from(i % 4 != 0)).collect();
        let mut latents = Latents::new(3);
        for i in 0..80_u32 {
            let own = (i % 4 == 0).then_some((i / 4 % 2, 2.0));
            latents.push_row(own.into_iter().chain((i % 3 == 0).then_some((2, 1.0))));
        }
        let probes = train(&latents, &classes, 0, vec![0, 1, 2], &mut || Ok(())).unwrap();
        let f1 = probes.f1(&latents, &classes, 0);
        assert!((f1[0] - 2.0 / 3.0).abs() < 1e-9 && f1[1] == 1.0, "{f1:?}");
        assert_eq!(probes.main(&f1, 0.03), [0, 1]);
    }
}
