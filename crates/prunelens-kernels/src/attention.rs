//! Causal attention over rows that hold queries, keys and values side by side.

use rayon::prelude::*;

use super::{
    matmul::{View, multiply},
    pointwise::softmax_prefix,
};

/// Sizes of one attention layer. Rows are `[heads * width | kv_heads * width | kv_heads * width]`.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Query heads.
    pub heads: usize,
    /// Heads of keys and values, which divide the query heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub width: usize,
    /// Factor on the scores.
    pub scale: f32,
    /// `cap tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// Keys that a query sees, itself included.
    pub window: Option<usize>,
}

impl Heads {
    /// Numbers of a token's row: queries, keys and values.
    pub fn row(self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.width
    }

    /// Numbers of a token's queries, and of `hook_z`.
    pub fn queries(self) -> usize {
        self.heads * self.width
    }
}

/// Queries one task works on: short enough that masked keys cost little.
const QUERIES: usize = 64;

/// `z [batch * time, heads * width]` from `qkv [batch * time, row]`.
pub fn causal(qkv: &[f32], batch: usize, time: usize, heads: Heads) -> Vec<f32> {
    let Heads { heads: n_heads, kv_heads, width, scale, softcap, window } = heads;
    let window = window.unwrap_or(time).clamp(1, time.max(1));
    let (row, out_row) = (heads.row(), n_heads * width);
    // Each task fills rows of one head in a block of its own; heads are then interleaved.
    let blocks = time.div_ceil(QUERIES);
    let parts: Vec<Vec<f32>> = (0..batch * n_heads * blocks)
        .into_par_iter()
        .map_init(Vec::new, |scores: &mut Vec<f32>, task| {
            let (block, head, b) = (task % blocks, task / blocks % n_heads, task / blocks / n_heads);
            let (first, end) = (block * QUERIES, ((block + 1) * QUERIES).min(time));
            let queries = end - first;
            // Keys before `start` are out of every query's window.
            let start = (first + 1).saturating_sub(window);
            let keys = end - start;
            let kv = head / (n_heads / kv_heads);
            let text = &qkv[b * time * row..(b + 1) * time * row];
            let q = View::rows(&text[first * row + head * width..], queries, width, row);
            let k = View::rows(&text[start * row + (n_heads + kv) * width..], keys, width, row);
            let v = View::rows(&text[start * row + (n_heads + kv_heads + kv) * width..], keys, width, row);
            scores.clear();
            scores.resize(queries * keys, 0.0);
            multiply(scores, keys, q, k.t(), scale, false, 1);
            if let Some(cap) = softcap {
                scores.iter_mut().for_each(|s| *s = cap * (*s / cap).tanh());
            }
            for (at, scores) in scores.chunks_mut(keys).enumerate() {
                let end = first + at + 1;
                let seen = end.saturating_sub(window) - start;
                let (before, scores) = scores.split_at_mut(seen);
                before.fill(0.0);
                softmax_prefix(scores, end - start - seen);
            }
            let mut z = vec![0.0; queries * width];
            multiply(&mut z, width, View::contiguous(scores, queries, keys), v, 1.0, false, 1);
            z
        })
        .collect();
    let mut out = vec![0.0; batch * time * out_row];
    out.par_chunks_mut(out_row).enumerate().for_each(|(at, out)| {
        let (b, t) = (at / time, at % time);
        for (head, out) in out.chunks_mut(width).enumerate() {
            let part = &parts[(b * n_heads + head) * blocks + t / QUERIES];
            out.copy_from_slice(&part[t % QUERIES * width..][..width]);
        }
    });
    out
}

/// Rotate pairs `(i, i + half)` of the first `2 half` values of each head, in place. `cos` and `sin` are `[time, half]`.
pub fn rotate(qkv: &mut [f32], time: usize, heads: Heads, cos: &[f32], sin: &[f32]) {
    let (row, half) = (heads.row(), cos.len() / time);
    let rotated = (heads.heads + heads.kv_heads) * heads.width;
    qkv.par_chunks_mut(row).enumerate().for_each(|(at, row)| {
        let t = at % time;
        let (cos, sin) = (&cos[t * half..][..half], &sin[t * half..][..half]);
        for head in row[..rotated].chunks_mut(heads.width) {
            let (a, b) = head[..2 * half].split_at_mut(half);
            for i in 0..half {
                (a[i], b[i]) = (a[i] * cos[i] - b[i] * sin[i], b[i] * cos[i] + a[i] * sin[i]);
            }
        }
    });
}

/// RMS norm of each head's queries and keys, in place, with weights of one head's width.
pub fn normalise(qkv: &mut [f32], heads: Heads, weights: [&[f32]; 2], eps: f32) {
    let (row, queries) = (heads.row(), heads.heads * heads.width);
    let keys = heads.kv_heads * heads.width;
    qkv.par_chunks_mut(row).for_each(|row| {
        let (q, rest) = row.split_at_mut(queries);
        for (part, weight) in [(q, weights[0]), (&mut rest[..keys], weights[1])] {
            for head in part.chunks_mut(heads.width) {
                let mean = head.iter().map(|v| v * v).sum::<f32>() / heads.width as f32;
                let scale = 1.0 / (mean + eps).sqrt();
                head.iter_mut().zip(weight).for_each(|(v, w)| *v *= scale * w);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grouped_attention_matches_plain_loops() {
        for (softcap, window) in
            [(None, None), (Some(0.3), None), (None, Some(1)), (Some(0.5), Some(7)), (None, Some(65))]
        {
            check(Heads { heads: 4, kv_heads: 2, width: 3, scale: 0.7, softcap, window });
        }
    }

    fn check(heads: Heads) {
        let (batch, time) = (2, 70);
        let qkv: Vec<f32> =
            (0..batch * time * heads.row()).map(|i| ((i * 31 % 97) as f32 / 97.0 - 0.5) * 3.0).collect();
        let z = causal(&qkv, batch, time, heads);
        let at =
            |b: usize, t: usize, part: usize, i: usize| f64::from(qkv[(b * time + t) * heads.row() + part * 3 + i]);
        for (b, t, h) in [(0, 0, 0), (0, 13, 3), (1, 63, 1), (1, 64, 2), (1, 69, 0)] {
            let kv = h / 2;
            let score = |s: usize| {
                let score = (0..3).map(|i| at(b, t, h, i) * at(b, s, 4 + kv, i)).sum::<f64>() * 0.7;
                let score = heads.softcap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh());
                if heads.window.is_some_and(|w| s + w <= t) { f64::NEG_INFINITY } else { score }
            };
            let scores: Vec<f64> = (0..=t).map(score).collect();
            let total: f64 = scores.iter().map(|s| s.exp()).sum();
            for i in 0..3 {
                let want: f64 = (0..=t).map(|s| scores[s].exp() / total * at(b, s, 6 + kv, i)).sum();
                assert!((f64::from(z[(b * time + t) * 12 + h * 3 + i]) - want).abs() < 1e-5);
            }
        }
    }
}
