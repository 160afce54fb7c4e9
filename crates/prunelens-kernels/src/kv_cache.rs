//! Causal attention of texts of different lengths, each read on from keys and values that are there already, and the
//! gradient of it.

use rayon::prelude::*;

use super::{
    attention::Heads,
    matmul::{View, multiply},
    pointwise::softmax_prefix,
};

/// Keys and values, `[tokens, kv_heads * width]` each.
#[derive(Clone, Copy, Default)]
pub struct KvView<'a> {
    /// Keys, `[tokens, kv_heads * width]`.
    pub k: &'a [f32],
    /// Values, `[tokens, kv_heads * width]`.
    pub v: &'a [f32],
}

/// One text in one attention layer.
#[derive(Clone, Copy)]
pub struct Span<'a> {
    /// What came first.
    pub past: KvView<'a>,
    /// What came then, with the tokens read now at its end.
    pub own: KvView<'a>,
    /// Queries of the tokens read now, `[new, heads * width]`.
    pub q: &'a [f32],
}

/// One head of one span.
struct Head<'a> {
    heads: Heads,
    span: Span<'a>,
    head: usize,
    past: usize,
    own: usize,
    new: usize,
}

impl<'a> Head<'a> {
    fn new(span: Span<'a>, head: usize, heads: Heads) -> Self {
        let row = heads.kv_heads * heads.width;
        let (past, own) = (span.past.k.len() / row, span.own.k.len() / row);
        Self { heads, span, head, past, own, new: span.q.len() / (heads.heads * heads.width) }
    }

    fn keys(&self) -> usize {
        self.past + self.own
    }

    fn kv(&self) -> usize {
        self.head / (self.heads.heads / self.heads.kv_heads)
    }

    fn queries(&self) -> View<'a> {
        let Heads { heads, width, .. } = self.heads;
        View::rows(&self.span.q[self.head * width..], self.new, width, heads * width)
    }

    /// Keys or values of this head: the past ones, if there are any, and where they stand; then the own ones.
    fn parts(&self, of: impl Fn(KvView<'a>) -> &'a [f32]) -> impl Iterator<Item = (usize, View<'a>)> {
        let Heads { kv_heads, width, .. } = self.heads;
        let at = self.kv() * width;
        let view = move |data: &'a [f32], n| View::rows(&data[at..], n, width, kv_heads * width);
        let past = (self.past > 0).then(|| (0, view(of(self.span.past), self.past)));
        past.into_iter().chain([(self.past, view(of(self.span.own), self.own))])
    }

    /// What each query makes of each key, `[new, keys]`; `slope` gets that of the soft cap, if there is one.
    fn weights(&self, slope: &mut Vec<f32>) -> Vec<f32> {
        let (keys, Heads { scale, softcap, window, .. }) = (self.keys(), self.heads);
        let mut scores = vec![0.0; self.new * keys];
        for (at, k) in self.parts(|seen| seen.k) {
            multiply(&mut scores[at..], keys, self.queries(), k.t(), scale, false, 1);
        }
        slope.clear();
        if let Some(cap) = softcap {
            scores.iter_mut().for_each(|s| *s = cap * (*s / cap).tanh());
            slope.extend(scores.iter().map(|s| 1.0 - (s / cap) * (s / cap)));
        }
        for (at, scores) in scores.chunks_mut(keys).enumerate() {
            let end = keys - self.new + at + 1;
            let start = end.saturating_sub(window.unwrap_or(end).max(1));
            let (before, scores) = scores.split_at_mut(start);
            before.fill(0.0);
            softmax_prefix(scores, end - start);
        }
        scores
    }

    /// What a layer adds for this head, `[new, width]`.
    fn out(&self) -> Vec<f32> {
        let (keys, width) = (self.keys(), self.heads.width);
        let weights = self.weights(&mut Vec::new());
        let mut z = vec![0.0; self.new * width];
        for (at, v) in self.parts(|seen| seen.v) {
            let weights = View::rows(&weights[at..], self.new, v_rows(self, at), keys);
            multiply(&mut z, width, weights, v, 1.0, at > 0 && self.past > 0, 1);
        }
        z
    }

    /// From the gradient `g` (this head's columns of rows `heads * width`) by what the layer adds: by this head's queries,
    /// and added to those by its own keys and values.
    fn vjp(&self, g: &[f32], dk: &mut [f32], dv: &mut [f32]) -> Vec<f32> {
        let Heads { heads, width, scale, .. } = self.heads;
        let keys = self.keys();
        let g = View::rows(&g[self.head * width..], self.new, width, heads * width);
        let mut slope = Vec::new();
        let weights = self.weights(&mut slope);
        let own = View::rows(&weights[self.past..], self.new, self.own, keys);
        multiply(dv, width, own.t(), g, 1.0, true, 1);
        let mut by_scores = vec![0.0; self.new * keys];
        for (at, v) in self.parts(|seen| seen.v) {
            multiply(&mut by_scores[at..], keys, g, v.t(), 1.0, false, 1);
        }
        for (by_scores, weights) in by_scores.chunks_mut(keys).zip(weights.chunks(keys)) {
            let along: f32 = by_scores.iter().zip(weights).map(|(g, w)| g * w).sum();
            by_scores.iter_mut().zip(weights).for_each(|(g, w)| *g = w * (*g - along));
        }
        by_scores.iter_mut().zip(&slope).for_each(|(g, slope)| *g *= slope);
        let own = View::rows(&by_scores[self.past..], self.new, self.own, keys);
        multiply(dk, width, own.t(), self.queries(), scale, true, 1);
        let mut dq = vec![0.0; self.new * width];
        for (at, k) in self.parts(|seen| seen.k) {
            let by_scores = View::rows(&by_scores[at..], self.new, v_rows(self, at), keys);
            multiply(&mut dq, width, by_scores, k, scale, at > 0 && self.past > 0, 1);
        }
        dq
    }
}

/// Keys in the part that begins at `at`.
fn v_rows(head: &Head, at: usize) -> usize {
    if at == 0 && head.past > 0 { head.past } else { head.own }
}

/// `z [tokens, heads * width]` of the tokens read now, span after span.
pub fn attend(spans: &[Span], heads: Heads) -> Vec<f32> {
    let tasks: Vec<(usize, usize)> =
        (0..spans.len()).flat_map(|span| (0..heads.heads).map(move |head| (span, head))).collect();
    let parts: Vec<Vec<f32>> =
        tasks.into_par_iter().map(|(span, head)| Head::new(spans[span], head, heads).out()).collect();
    let row = heads.heads * heads.width;
    let mut out = vec![0.0; spans.iter().map(|s| s.q.len()).sum()];
    let mut start = 0;
    for (span, parts) in spans.iter().zip(parts.chunks(heads.heads)) {
        for (head, part) in parts.iter().enumerate() {
            place(&mut out[start..][..span.q.len()], part, head * heads.width, heads.width, row);
        }
        start += span.q.len();
    }
    out
}

/// Gradients by `[queries | keys | values]` of the tokens read now, in rows of [`Heads::row`], from the gradient by what
/// [`attend`] gave. All own tokens of every span must have been read now.
pub fn attend_vjp(spans: &[Span], heads: Heads, g: &[f32]) -> Vec<f32> {
    let Heads { heads: n_heads, kv_heads, width, .. } = heads;
    let (share, out_row) = (n_heads / kv_heads, n_heads * width);
    let starts: Vec<usize> = spans
        .iter()
        .scan(0, |at, span| {
            let start = *at;
            *at += span.q.len() / out_row;
            Some(start)
        })
        .collect();
    let tasks: Vec<(usize, usize)> =
        (0..spans.len()).flat_map(|span| (0..kv_heads).map(move |kv| (span, kv))).collect();
    // Of each head of keys and values: by its queries, keys and values.
    let parts: Vec<_> = tasks
        .into_par_iter()
        .map(|(at, kv)| {
            let span = spans[at];
            let g = &g[starts[at] * out_row..][..span.q.len()];
            let own = span.own.k.len() / kv_heads;
            let (mut dk, mut dv) = (vec![0.0; own], vec![0.0; own]);
            let queries: Vec<Vec<f32>> = (kv * share..(kv + 1) * share)
                .map(|head| Head::new(span, head, heads).vjp(g, &mut dk, &mut dv))
                .collect();
            (queries, dk, dv)
        })
        .collect();
    let row = heads.row();
    let mut out = vec![0.0; spans.iter().map(|s| s.q.len() / out_row).sum::<usize>() * row];
    for (at, parts) in parts.chunks(kv_heads).enumerate() {
        let out = &mut out[starts[at] * row..];
        for (kv, (queries, dk, dv)) in parts.iter().enumerate() {
            for (head, part) in queries.iter().enumerate() {
                place(out, part, (kv * share + head) * width, width, row);
            }
            place(out, dk, (n_heads + kv) * width, width, row);
            place(out, dv, (n_heads + kv_heads + kv) * width, width, row);
        }
    }
    out
}

/// Put rows of `width` into columns of rows that are `stride` long.
fn place(out: &mut [f32], part: &[f32], column: usize, width: usize, stride: usize) {
    for (row, part) in part.chunks(width).enumerate() {
        out[row * stride + column..][..width].copy_from_slice(part);
    }
}

/// Rotate pairs `(i, i + half)` of the leading values of each head of queries and keys in rows of [`Heads::row`], in
/// place: row `r` by the angles of position `positions[r]`, backwards if asked. `cos` and `sin` are `[n_ctx, half]`.
pub fn rotate(
    rows: &mut [f32],
    positions: &[usize],
    heads: Heads,
    (cos, sin): (&[f32], &[f32]),
    half: usize,
    back: bool,
) {
    let rotated = (heads.heads + heads.kv_heads) * heads.width;
    let sign = if back { -1.0 } else { 1.0 };
    rows.par_chunks_mut(heads.row()).zip(positions).for_each(|(row, &position)| {
        let (cos, sin) = (&cos[position * half..][..half], &sin[position * half..][..half]);
        for head in row[..rotated].chunks_mut(heads.width) {
            let (a, b) = head[..2 * half].split_at_mut(half);
            for i in 0..half {
                let sin = sign * sin[i];
                (a[i], b[i]) = (a[i] * cos[i] - b[i] * sin, b[i] * cos[i] + a[i] * sin);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention;

    const HEADS: Heads = Heads { heads: 4, kv_heads: 2, width: 6, scale: 0.7, softcap: None, window: None };

    fn variants() -> [Heads; 4] {
        [
            HEADS,
            Heads { softcap: Some(0.8), ..HEADS },
            Heads { window: Some(4), ..HEADS },
            Heads { softcap: Some(1.5), window: Some(2), ..HEADS },
        ]
    }

    fn values(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 31 + seed * 17) % 97) as f32 / 97.0 - 0.5).map(|v| 3.0 * v).collect()
    }

    /// Queries, keys and values of the rows, apart.
    fn split(rows: &[f32]) -> [Vec<f32>; 3] {
        let (q, kv) = (HEADS.heads * HEADS.width, HEADS.kv_heads * HEADS.width);
        let mut parts = [Vec::new(), Vec::new(), Vec::new()];
        for row in rows.chunks(HEADS.row()) {
            parts[0].extend(&row[..q]);
            parts[1].extend(&row[q..q + kv]);
            parts[2].extend(&row[q + kv..]);
        }
        parts
    }

    /// A text of `past` and `own` tokens of which the last `new` are read now, beside another one.
    fn spans<'a>(parts: &'a [[Vec<f32>; 3]], shape: &[(usize, usize, usize)]) -> Vec<Span<'a>> {
        let (q_row, kv_row) = (HEADS.heads * HEADS.width, HEADS.kv_heads * HEADS.width);
        let span = |([q, k, v], &(past, own, new)): (&'a [Vec<f32>; 3], &(usize, usize, usize))| {
            let at = past * kv_row;
            Span {
                past: KvView { k: &k[..at], v: &v[..at] },
                own: KvView { k: &k[at..], v: &v[at..] },
                q: &q[(past + own - new) * q_row..],
            }
        };
        parts.iter().zip(shape).map(span).collect()
    }

    #[test]
    fn reading_on_is_reading_at_once() {
        for heads in variants() {
            let shape = [(3, 5, 2), (0, 7, 7), (4, 1, 1)];
            let rows: Vec<Vec<f32>> =
                shape.iter().enumerate().map(|(at, (p, o, _))| values((p + o) * HEADS.row(), at)).collect();
            let parts: Vec<_> = rows.iter().map(|rows| split(rows)).collect();
            let found = attend(&spans(&parts, &shape), heads);
            let want: Vec<f32> = rows
                .iter()
                .zip(&shape)
                .flat_map(|(rows, &(p, o, new))| {
                    let z = attention::causal(rows, 1, p + o, heads);
                    z[(p + o - new) * HEADS.heads * HEADS.width..].to_vec()
                })
                .collect();
            assert_eq!(found.len(), want.len());
            assert!(found.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-5), "{heads:?}");
        }
    }

    #[test]
    fn gradients_are_finite_differences() {
        for heads in variants() {
            let shape = [(3, 4, 4), (0, 5, 5)];
            let mut rows: Vec<Vec<f32>> =
                shape.iter().enumerate().map(|(at, (p, o, _))| values((p + o) * HEADS.row(), at + 3)).collect();
            let weights = values(9 * HEADS.heads * HEADS.width, 8);
            let loss = |rows: &[Vec<f32>]| {
                let parts: Vec<_> = rows.iter().map(|rows| split(rows)).collect();
                attend(&spans(&parts, &shape), heads)
                    .iter()
                    .zip(&weights)
                    .map(|(z, w)| f64::from(*z) * f64::from(*w))
                    .sum::<f64>()
            };
            let parts: Vec<_> = rows.iter().map(|rows| split(rows)).collect();
            let found = attend_vjp(&spans(&parts, &shape), heads, &weights);
            let mut start = 0;
            for (at, &(past, own, _)) in shape.iter().enumerate() {
                for i in 0..own * HEADS.row() {
                    let place = past * HEADS.row() + i;
                    let (value, step) = (rows[at][place], 1e-2);
                    rows[at][place] = value + step;
                    let up = loss(&rows);
                    rows[at][place] = value - step;
                    let down = loss(&rows);
                    rows[at][place] = value;
                    let want = (up - down) / (2.0 * f64::from(step));
                    let got = f64::from(found[start + i]);
                    assert!((got - want).abs() < 3e-3 + 3e-3 * want.abs(), "{heads:?} {at} {i}: {got} {want}");
                }
                start += own * HEADS.row();
            }
        }
    }

    #[test]
    fn turning_back_undoes_a_turn() {
        let half = 2;
        let (cos, sin): (Vec<f32>, Vec<f32>) =
            (0..40 * half).map(|i| i as f32 * 0.3).map(|a| (a.cos(), a.sin())).unzip();
        let before = values(5 * HEADS.row(), 2);
        let mut rows = before.clone();
        let positions = [0, 7, 3, 39, 12];
        rotate(&mut rows, &positions, HEADS, (&cos, &sin), half, false);
        let mut one = before[HEADS.row()..2 * HEADS.row()].to_vec();
        attention::rotate(&mut one, 1, HEADS, &cos[7 * half..8 * half], &sin[7 * half..8 * half]);
        assert_eq!(rows[HEADS.row()..2 * HEADS.row()], one);
        rotate(&mut rows, &positions, HEADS, (&cos, &sin), half, true);
        assert!(rows.iter().zip(&before).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}
