//! On which tokens latents fire.

use std::collections::HashMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Sums of activations by latent and token, of two variants.
#[derive(Clone, Debug, Default)]
pub struct TokenMass(HashMap<(u32, u32), [f64; 2]>);

impl TokenMass {
    /// One variant's activation of a latent on a token.
    pub fn add(&mut self, variant: usize, latent: u32, token: u32, activation: f32) {
        self.0.entry((latent, token)).or_default()[variant] += f64::from(activation);
    }

    /// By latent, then by token: what is made of it does not depend on the map's order.
    fn sorted(&self) -> Vec<((u32, u32), [f64; 2])> {
        let mut all: Vec<_> = self.0.iter().map(|(key, mass)| (*key, *mass)).collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }

    /// Entropy of each latent's distribution over tokens, in nats, of both variants; NaN without mass.
    pub fn entropies(&self, d_sae: usize) -> [Vec<f64>; 2] {
        let all = self.sorted();
        let mut out = [vec![f64::NAN; d_sae], vec![f64::NAN; d_sae]];
        for tokens in all.chunk_by(|((a, _), _), ((b, _), _)| a == b) {
            for (variant, out) in out.iter_mut().enumerate() {
                let masses = || tokens.iter().map(|(_, mass)| mass[variant]).filter(|mass| *mass > 0.0);
                let total: f64 = masses().sum();
                if let Some(entropy) = out.get_mut(tokens[0].0.0 as usize).filter(|_| total > 0.0) {
                    *entropy = masses().map(|mass| mass / total).map(|p| -p * p.ln()).sum::<f64>() + 0.0;
                }
            }
        }
        out
    }

    /// Whether every latent is one of a dictionary.
    pub fn fits(&self, d_sae: usize) -> bool {
        self.0.keys().all(|(latent, _)| (*latent as usize) < d_sae)
    }
}

impl Serialize for TokenMass {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.sorted().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TokenMass {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Vec::deserialize(deserializer)?.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_of_shares() {
        let mut mass = TokenMass::default();
        for (token, activation) in [(5, 1.0), (9, 2.0), (5, 1.0), (7, 4.0)] {
            mass.add(0, 1, token, activation);
        }
        mass.add(1, 1, 5, 3.0);
        let [original, transfer] = mass.entropies(3);
        // A quarter, a quarter, a half.
        assert!((original[1] - 1.5 * 2_f64.ln()).abs() < 1e-15);
        assert!(transfer[1] == 0.0 && transfer[1].is_sign_positive(), "one token, no choice");
        assert!(original[0].is_nan() && original[2].is_nan());
        let again: TokenMass = postcard::from_bytes(&postcard::to_stdvec(&mass).unwrap()).unwrap();
        assert_eq!(again.sorted(), mass.sorted());
        assert!(mass.fits(2) && !mass.fits(1));
    }
}
