//! Latents of some tokens, active ones only.

/// Active latents per token, row-compressed: row `t` is `indices[offsets[t]..offsets[t + 1]]`, ascending, with the
/// activations in `values` (never zero).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latents {
    /// Size of the dictionary.
    pub d_sae: usize,
    /// Where each row's latents begin, and the end of the last.
    pub offsets: Vec<usize>,
    /// Latents of all rows, ascending in each.
    pub indices: Vec<u32>,
    /// Their activations.
    pub values: Vec<f32>,
}

impl Latents {
    /// No rows yet.
    pub fn new(d_sae: usize) -> Self {
        Self { d_sae, offsets: vec![0], indices: Vec::new(), values: Vec::new() }
    }

    /// Number of tokens.
    pub fn rows(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Active latents of token `row`: ascending indices and their activations. Empty beyond the last token.
    pub fn row(&self, row: usize) -> (&[u32], &[f32]) {
        match (self.offsets.get(row), self.offsets.get(row + 1)) {
            (Some(&start), Some(&end)) => (&self.indices[start..end], &self.values[start..end]),
            _ => (&[], &[]),
        }
    }

    /// Activation of one latent on one token; 0 where it does not fire.
    pub fn get(&self, row: usize, latent: u32) -> f32 {
        let (indices, values) = self.row(row);
        indices.binary_search(&latent).map_or(0.0, |at| values[at])
    }

    /// Append one token; `indices` must ascend.
    pub fn push_row(&mut self, row: impl IntoIterator<Item = (u32, f32)>) {
        for (index, value) in row {
            self.indices.push(index);
            self.values.push(value);
        }
        self.offsets.push(self.indices.len());
    }

    /// Append all tokens of `other`.
    pub fn extend(&mut self, other: &Self) {
        let base = self.indices.len();
        self.indices.extend_from_slice(&other.indices);
        self.values.extend_from_slice(&other.values);
        self.offsets.extend(other.offsets[1..].iter().map(|o| o + base));
    }

    /// Row-major `[rows, d_sae]`.
    pub fn dense(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.rows() * self.d_sae];
        for row in 0..self.rows() {
            let (indices, values) = self.row(row);
            for (&index, &value) in indices.iter().zip(values) {
                out[row * self.d_sae + index as usize] = value;
            }
        }
        out
    }
}
