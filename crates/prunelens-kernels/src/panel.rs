//! The product at the bottom of everything with few tokens: a panel of weight rows, read as they lie in memory, times a
//! tile of tokens. General matrix products first copy the weights into another order, which costs more than the product
//! itself when there are few tokens.

use rayon::prelude::*;

/// Weight rows of one panel.
pub const PANEL: usize = 12;
/// Tokens of one tile.
pub const TILE: usize = 32;
/// Tokens of a tile where there are no more: a text that is continued is read a token at a time, and a whole tile of zeros
/// beside it would cost several times what reading the weights does.
const FEW: usize = 8;

/// Tokens `[n, d]` as tiles `[n / TILE][d][TILE]`, the last one filled up with zeros.
pub fn tiles(x: &[f32], d: usize) -> Vec<f32> {
    tiles_of::<TILE>(x, d)
}

fn tiles_of<const T: usize>(x: &[f32], d: usize) -> Vec<f32> {
    let n = x.len() / d;
    let mut out = vec![0.0; n.div_ceil(T) * d * T];
    out.par_chunks_mut(d * T).enumerate().for_each(|(tile, out)| {
        for (at, row) in x[tile * T * d..].chunks(d).take(T).enumerate() {
            for (i, v) in row.iter().enumerate() {
                out[i * T + at] = *v;
            }
        }
    });
    out
}

/// Sums of a tile of tokens by a panel of weight rows.
pub type Products = [[f32; TILE]; PANEL];

/// `panel [PANEL, d]` times `tile [d, TILE]`.
pub fn multiply(panel: &[f32], tile: &[f32], d: usize, out: &mut Products) {
    assert!(panel.len() == PANEL * d && tile.len() == TILE * d);
    #[cfg(target_arch = "x86_64")]
    match super::simd::level() {
        // SAFETY: the instructions exist where `level` says so, and the slices have the lengths checked above.
        4 => return unsafe { avx512(panel, tile, d, out) },
        // SAFETY: likewise.
        3 => return unsafe { avx2(panel, tile, d, out) },
        _ => {}
    }
    plain(panel, tile, d, out);
}

/// The same for a tile of a few tokens: each sum is made in the same order, so that a token's results do not depend on how
/// many are beside it.
fn multiply_few(panel: &[f32], tile: &[f32], d: usize, out: &mut [[f32; FEW]; PANEL]) {
    assert!(panel.len() == PANEL * d && tile.len() == FEW * d);
    #[cfg(target_arch = "x86_64")]
    if super::simd::level() >= 3 {
        // SAFETY: the instructions exist where `level` says so, and the slices have the lengths checked above.
        return unsafe { avx2_few(panel, tile, d, out) };
    }
    plain(panel, tile, d, out);
}

fn plain<const T: usize>(panel: &[f32], tile: &[f32], d: usize, out: &mut [[f32; T]; PANEL]) {
    for (row, out) in panel.chunks(d).zip(out) {
        out.fill(0.0);
        for (w, x) in row.iter().zip(tile.chunks(T)) {
            for (o, x) in out.iter_mut().zip(x) {
                *o += w * x;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
macro_rules! tile_kernel {
    ($name:ident, $tile:ident, $features:literal, $lanes:literal, [$rows:literal x $columns:literal], $zero:ident, $set:ident, $load:ident, $fma:ident, $store:ident) => {
        /// # Safety
        /// The CPU must have the named features; `panel` holds `PANEL * d` values and `tile` as many times `d` as its name says.
        #[target_feature(enable = $features)]
        unsafe fn $name(panel: &[f32], tile: &[f32], d: usize, out: &mut [[f32; $tile]; PANEL]) {
            use std::arch::x86_64::*;
            let (panel, tile) = (panel.as_ptr(), tile.as_ptr());
            for left in (0..$tile).step_by($columns * $lanes) {
                for first in (0..PANEL).step_by($rows) {
                    let mut sums = [[$zero(); $columns]; $rows];
                    for i in 0..d {
                        // SAFETY: i < d and the lengths are as promised.
                        unsafe {
                            let mut x = [$zero(); $columns];
                            for (c, x) in x.iter_mut().enumerate() {
                                *x = $load(tile.add(i * $tile + left + c * $lanes));
                            }
                            for (r, sums) in sums.iter_mut().enumerate() {
                                let w = $set(*panel.add((first + r) * d + i));
                                for (sum, x) in sums.iter_mut().zip(x) {
                                    *sum = $fma(w, x, *sum);
                                }
                            }
                        }
                    }
                    for (r, sums) in sums.iter().enumerate() {
                        for (c, sum) in sums.iter().enumerate() {
                            // SAFETY: first + r < PANEL, and left + c * lanes + lanes is within a tile.
                            unsafe { $store(out[first + r].as_mut_ptr().add(left + c * $lanes), *sum) };
                        }
                    }
                }
            }
        }
    };
}
// What is summed at a time, rows by registers of tokens, is as much as fits the registers beside a row's weight and the
// tokens: each token that is loaded goes into that many sums, and loads are what such a loop waits for.
#[cfg(target_arch = "x86_64")]
tile_kernel!(
    avx512,
    TILE,
    "avx512f",
    16,
    [12 x 2],
    _mm512_setzero_ps,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_fmadd_ps,
    _mm512_storeu_ps
);
#[cfg(target_arch = "x86_64")]
tile_kernel!(
    avx2,
    TILE,
    "avx2,fma",
    8,
    [6 x 2],
    _mm256_setzero_ps,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_fmadd_ps,
    _mm256_storeu_ps
);

#[cfg(target_arch = "x86_64")]
tile_kernel!(
    avx2_few,
    FEW,
    "avx2,fma",
    8,
    [12 x 1],
    _mm256_setzero_ps,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_fmadd_ps,
    _mm256_storeu_ps
);

/// Panels one task works on.
const PANELS: usize = 16;

/// `x W^T + b` for few tokens: `x [n, d]`, `weight [outputs, d]`.
pub fn linear(x: &[f32], weight: &[f32], bias: Option<&[f32]>, d: usize) -> Vec<f32> {
    if x.len() <= FEW * d { by_tiles(x, weight, bias, d, multiply_few) } else { by_tiles(x, weight, bias, d, multiply) }
}

fn by_tiles<const T: usize>(
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    d: usize,
    multiply: impl Fn(&[f32], &[f32], usize, &mut [[f32; T]; PANEL]) + Sync,
) -> Vec<f32> {
    let (n, outputs) = (x.len() / d, weight.len() / d);
    let tiles = tiles_of::<T>(x, d);
    // Each task fills columns of its own; they are put side by side afterwards.
    const WIDTH: usize = PANELS * PANEL;
    let blocks: Vec<Vec<f32>> = weight
        .par_chunks(WIDTH * d)
        .map(|rows| {
            let width = rows.len() / d;
            let mut block = vec![0.0; n * width];
            let mut products = [[0.0; T]; PANEL];
            let mut last = Vec::new();
            for (at, panel) in rows.chunks(PANEL * d).enumerate() {
                let count = panel.len() / d;
                let panel = if count == PANEL {
                    panel
                } else {
                    // The last rows, filled up with zeros.
                    last.clear();
                    last.extend_from_slice(panel);
                    last.resize(PANEL * d, 0.0);
                    &last
                };
                for (tile, x) in tiles.chunks(d * T).enumerate() {
                    multiply(panel, x, d, &mut products);
                    for t in 0..T.min(n - tile * T) {
                        let out = &mut block[(tile * T + t) * width + at * PANEL..][..count];
                        out.iter_mut().zip(&products).for_each(|(out, row)| *out = row[t]);
                    }
                }
            }
            block
        })
        .collect();
    let mut out = vec![0.0; n * outputs];
    out.par_chunks_mut(outputs).enumerate().for_each(|(t, out)| {
        for (out, block) in out.chunks_mut(WIDTH).zip(&blocks) {
            out.copy_from_slice(&block[t * out.len()..][..out.len()]);
        }
        if let Some(bias) = bias {
            out.iter_mut().zip(bias).for_each(|(out, b)| *out += b);
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_matches_plain_loops_at_odd_sizes() {
        for (n, d, outputs) in [(1, 5, 3), (8, 17, 21), (33, 19, 137), (64, 8, 128), (70, 31, 260)] {
            let x: Vec<f32> = (0..n * d).map(|i| (i as f32 * 0.7).sin()).collect();
            let w: Vec<f32> = (0..outputs * d).map(|i| (i as f32 * 0.3).cos()).collect();
            let b: Vec<f32> = (0..outputs).map(|i| i as f32).collect();
            let out = linear(&x, &w, Some(&b), d);
            for (at, got) in out.iter().enumerate() {
                let (t, o) = (at / outputs, at % outputs);
                let want = b[o] + (0..d).map(|i| x[t * d + i] * w[o * d + i]).sum::<f32>();
                assert!((got - want).abs() < 1e-4, "{n}x{d}x{outputs} at {at}: {got} {want}");
            }
        }
    }

    #[test]
    fn a_token_alone_is_what_it_is_among_many() {
        let (d, outputs) = (67, 43);
        let x: Vec<f32> = (0..40 * d).map(|i| (i as f32 * 0.7).sin()).collect();
        let w: Vec<f32> = (0..outputs * d).map(|i| (i as f32 * 0.3).cos()).collect();
        let many = linear(&x, &w, None, d);
        for n in 1..=FEW {
            let few = linear(&x[..n * d], &w, None, d);
            assert_eq!(few, many[..n * outputs], "{n} tokens, bit for bit");
        }
    }
}
