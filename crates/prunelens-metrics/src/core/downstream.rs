//! The downstream part of the core metric: what the model's predictions lose with a reconstruction put at the hook.

use prunelens_core::compare::splice::TokenLosses;
use serde::{Deserialize, Serialize};

use super::blocks::Block;

/// Per-token losses of one batch of rows through one model; positions in row order, NaN where there is no target.
#[derive(Debug)]
pub struct Losses {
    /// Cross-entropy of the model untouched.
    pub clean: Vec<f32>,
    /// With the activation at the hook set to zero, everywhere.
    pub ablation: TokenLosses,
    /// With the reconstruction of each reader.
    pub sae: Vec<TokenLosses>,
}

/// Sums over the batches seen so far, for one variant.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DownstreamSums {
    ce: LossSums,
    kl: KlSums,
    /// The same of each row; what belongs to activations is 0.
    rows: Vec<Block>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct LossSums {
    positions: f64,
    clean: f64,
    sae: f64,
    ablation: f64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct KlSums {
    positions: f64,
    sae: f64,
    ablation: f64,
}

/// Figures of the downstream part under SAEBench's names, in nats; NaN where undefined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DownstreamFigures {
    /// Divergence of the logits with the reconstruction at the hook, in nats.
    pub kl_div_with_sae: f64,
    /// Divergence of the logits with zeros at the hook, in nats.
    pub kl_div_with_ablation: f64,
    /// Cross-entropy of the model as it is.
    pub ce_loss_without_sae: f64,
    /// Cross-entropy with the reconstruction at the hook.
    pub ce_loss_with_sae: f64,
    /// Cross-entropy with zeros at the hook.
    pub ce_loss_with_ablation: f64,
}

impl DownstreamFigures {
    /// Share of the divergence under ablation that the reconstruction avoids.
    pub fn kl_div_score(&self) -> f64 {
        (self.kl_div_with_ablation - self.kl_div_with_sae) / self.kl_div_with_ablation
    }

    /// Share of the loss under ablation that the reconstruction avoids.
    pub fn ce_loss_score(&self) -> f64 {
        (self.ce_loss_with_ablation - self.ce_loss_with_sae) / (self.ce_loss_with_ablation - self.ce_loss_without_sae)
    }
}

impl DownstreamSums {
    /// Take one batch. A position counts if its own token is kept: predictions made at BOS are left out, predictions of
    /// a document's border are not. Cross-entropy has no last position of a row; divergence has.
    pub fn add(&mut self, clean: &[f32], ablation: &TokenLosses, sae: &TokenLosses, kept: &[bool], length: usize) {
        let first = self.rows.len();
        self.rows.resize(first + kept.len().div_ceil(length.max(1)), Block::default());
        for (at, _) in kept.iter().enumerate().filter(|(_, kept)| **kept) {
            let row = &mut self.rows[first + at / length];
            row.compared += 1.0;
            row.kl_sae += f64::from(sae.kl[at]);
            self.kl.positions += 1.0;
            self.kl.sae += f64::from(sae.kl[at]);
            self.kl.ablation += f64::from(ablation.kl[at]);
            if at % length + 1 < length {
                row.predicted += 1.0;
                row.ce_clean += f64::from(clean[at]);
                row.ce_sae += f64::from(sae.ce[at]);
                row.ce_ablation += f64::from(ablation.ce[at]);
                self.ce.positions += 1.0;
                self.ce.clean += f64::from(clean[at]);
                self.ce.sae += f64::from(sae.ce[at]);
                self.ce.ablation += f64::from(ablation.ce[at]);
            }
        }
    }

    /// Of each row so far.
    pub fn rows(&self) -> &[Block] {
        &self.rows
    }

    /// Figures so far; all NaN before the first batch.
    pub fn figures(&self) -> DownstreamFigures {
        DownstreamFigures {
            kl_div_with_sae: self.kl.sae / self.kl.positions,
            kl_div_with_ablation: self.kl.ablation / self.kl.positions,
            ce_loss_without_sae: self.ce.clean / self.ce.positions,
            ce_loss_with_sae: self.ce.sae / self.ce.positions,
            ce_loss_with_ablation: self.ce.ablation / self.ce.positions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_positions_whose_own_token_is_kept() {
        let nan = f32::NAN;
        let clean = [9.0, 1.0, nan, 9.0, 9.0, nan];
        let sae = TokenLosses { ce: vec![9.0, 2.0, nan, 9.0, 9.0, nan], kl: vec![9.0, 0.25, 0.5, 9.0, 9.0, 1.5] };
        let ablation = TokenLosses { ce: vec![9.0, 5.0, nan, 9.0, 9.0, nan], kl: vec![9.0, 4.0, 5.0, 9.0, 9.0, 9.0] };
        let kept = [false, true, true, false, false, true];
        let mut sums = DownstreamSums::default();
        assert!(sums.figures().ce_loss_score().is_nan());
        sums.add(&clean, &ablation, &sae, &kept, 3);
        let figures = sums.figures();
        assert_eq!(
            figures,
            DownstreamFigures {
                kl_div_with_sae: 0.75,
                kl_div_with_ablation: 6.0,
                ce_loss_without_sae: 1.0,
                ce_loss_with_sae: 2.0,
                ce_loss_with_ablation: 5.0
            }
        );
        assert_eq!((figures.kl_div_score(), figures.ce_loss_score()), (0.875, 0.75));
        let [first, second] = sums.rows() else { panic!("two rows: {:?}", sums.rows()) };
        assert_eq!((first.predicted, first.ce_sae, first.compared, first.kl_sae), (1.0, 2.0, 2.0, 0.75));
        assert_eq!(
            (second.predicted, second.compared, second.kl_sae),
            (0.0, 1.0, 1.5),
            "its last position has no target"
        );
    }
}
