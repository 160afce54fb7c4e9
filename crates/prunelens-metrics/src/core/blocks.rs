//! What blocks of rows add up to for one SAE: the ground of intervals by bootstrap, in which blocks are drawn anew and figures
//! made of those that were drawn.

use prunelens_core::compare::Variant;
use serde::{Deserialize, Serialize};

/// Blocks at most: rows beyond go together, so that a long run keeps no more than a short one.
pub const MOST: usize = 128;

/// Of the rows of one block. Sums are over positions that count, losses in nats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// Positions with a loss.
    pub predicted: f64,
    /// Losses of the model as it is.
    pub ce_clean: f64,
    /// Losses with the reconstruction at the hook.
    pub ce_sae: f64,
    /// Losses with zeros at the hook.
    pub ce_ablation: f64,
    /// Positions with a divergence.
    pub compared: f64,
    /// Divergences with the reconstruction at the hook.
    pub kl_sae: f64,
    /// Tokens that were reconstructed.
    pub tokens: f64,
    /// Their squared errors.
    pub resid_sq: f64,
}

/// Of one SAE at one setting, in the order of the rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blocks {
    /// Whose.
    pub variant: Variant,
    /// Of a sweep's `pruned`: how weights are ranked, and the setting.
    pub at: Option<(String, f64)>,
    /// Numbers in an activation.
    pub d_in: usize,
    /// In JSON each is `[predicted, ce_clean, ce_sae, ce_ablation, compared, kl_sae, tokens, resid_sq]`.
    #[serde(with = "arrays")]
    pub sums: Vec<Block>,
}

/// Figures that blocks give.
pub const FIGURES: [&str; 5] =
    ["ce_loss_with_sae", "ce_loss_without_sae", "ce_loss_score", "kl_div_with_sae", "mse_per_element"];

impl Blocks {
    /// A figure in a sample that has each block so many times; NaN where undefined, or where blocks do not give it.
    pub fn figure(&self, name: &str, times: &[u32]) -> f64 {
        let sum = |of: fn(&Block) -> f64| -> f64 {
            // What was not drawn may be undefined.
            let drawn = self.sums.iter().zip(times).filter(|(_, n)| **n > 0);
            drawn.map(|(block, n)| f64::from(*n) * of(block)).sum()
        };
        match name {
            "ce_loss_with_sae" => sum(|b| b.ce_sae) / sum(|b| b.predicted),
            "ce_loss_without_sae" => sum(|b| b.ce_clean) / sum(|b| b.predicted),
            "ce_loss_score" => sum(|b| b.ce_ablation - b.ce_sae) / sum(|b| b.ce_ablation - b.ce_clean),
            "kl_div_with_sae" => sum(|b| b.kl_sae) / sum(|b| b.compared),
            "mse_per_element" => sum(|b| b.resid_sq) / (sum(|b| b.tokens) * self.d_in as f64),
            _ => f64::NAN,
        }
    }
}

/// Rows put together into at most [`MOST`] blocks of equal length; the last may be shorter.
pub fn blocks(rows: &[Block]) -> Vec<Block> {
    let length = rows.len().div_ceil(MOST).max(1);
    rows.chunks(length).map(|rows| rows.iter().fold(Block::default(), |sum, row| sum.and(*row))).collect()
}

impl Block {
    /// Both together.
    pub fn and(self, other: Self) -> Self {
        let (a, b) = (<[f64; 8]>::from(self), <[f64; 8]>::from(other));
        Self::from(std::array::from_fn(|at| Some(a[at] + b[at])))
    }
}

impl From<Block> for [f64; 8] {
    fn from(b: Block) -> Self {
        [b.predicted, b.ce_clean, b.ce_sae, b.ce_ablation, b.compared, b.kl_sae, b.tokens, b.resid_sq]
    }
}

/// As arrays where people may read it, for there are many; with all bits in checkpoints.
mod arrays {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Block;

    pub fn serialize<S: Serializer>(sums: &[Block], serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.collect_seq(sums.iter().map(|block| <[f64; 8]>::from(*block))),
            false => sums.serialize(serializer),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Block>, D::Error> {
        if !deserializer.is_human_readable() {
            return Vec::deserialize(deserializer);
        }
        let all: Vec<[Option<f64>; 8]> = Vec::deserialize(deserializer)?;
        Ok(all.into_iter().map(Block::from).collect())
    }
}

/// JSON has null for what is undefined.
impl From<[Option<f64>; 8]> for Block {
    fn from(values: [Option<f64>; 8]) -> Self {
        let [predicted, ce_clean, ce_sae, ce_ablation, compared, kl_sae, tokens, resid_sq] =
            values.map(|value| value.unwrap_or(f64::NAN));
        Self { predicted, ce_clean, ce_sae, ce_ablation, compared, kl_sae, tokens, resid_sq }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(ce_sae: f64) -> Block {
        Block {
            predicted: 2.0,
            ce_clean: 2.0,
            ce_sae,
            ce_ablation: 10.0,
            compared: 4.0,
            kl_sae: 1.0,
            tokens: 4.0,
            resid_sq: 8.0,
        }
    }

    #[test]
    fn figures_are_those_of_the_blocks_that_were_drawn() {
        let of = Blocks { variant: Variant::Transfer, at: None, d_in: 2, sums: vec![block(4.0), block(f64::NAN)] };
        let figures = |times: [u32; 2]| FIGURES.map(|name| of.figure(name, &times));
        assert_eq!(figures([3, 0]), [2.0, 1.0, 0.75, 0.25, 1.0]);
        assert!(figures([1, 1])[0].is_nan() && figures([1, 1])[1] == 1.0 && of.figure("l0", &[1, 0]).is_nan());
        let again: Blocks = serde_json::from_str(&serde_json::to_string(&of).unwrap()).unwrap();
        assert!(again.sums[0] == of.sums[0] && again.sums[1].ce_sae.is_nan(), "{again:?}");
        let again: Blocks = postcard::from_bytes(&postcard::to_stdvec(&of).unwrap()).unwrap();
        assert!(again.sums[0] == of.sums[0] && again.sums[1].ce_sae.is_nan(), "{again:?}");
    }

    #[test]
    fn many_rows_make_few_blocks_that_hold_all_of_them() {
        for (rows, expected) in [(0, 0), (1, 1), (128, 128), (129, 65), (1000, 125)] {
            let all = blocks(&vec![block(1.0); rows]);
            assert_eq!(all.len(), expected);
            assert_eq!(all.iter().map(|b| b.tokens).sum::<f64>(), 4.0 * rows as f64);
        }
    }
}
