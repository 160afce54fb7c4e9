//! Figures against the formulas written out in plain loops, over all batches at once.

use prunelens_core::sae::Latents;
use prunelens_kernels::{Spread, firing::Counts};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;

const D_IN: usize = 5;
const D_SAE: usize = 7;
const LENGTH: usize = 4;

struct Batch {
    x: Vec<f32>,
    recon: Vec<f32>,
    dense: Vec<f32>,
    kept: Vec<bool>,
}

fn batches() -> Vec<Batch> {
    let mut rng = StdRng::seed_from_u64(3);
    [2usize, 3, 1]
        .map(|rows| {
            let tokens = rows * LENGTH;
            let mut draw = |n: usize| (0..n).map(|_| rng.random_range(-1.0f32..2.0)).collect::<Vec<f32>>();
            let x = draw(tokens * D_IN);
            let noise = draw(tokens * D_IN);
            let recon = x.iter().zip(&noise).map(|(x, n)| x * 0.8 + 0.2 * n).collect();
            let dense = draw(tokens * D_SAE).into_iter().map(|v| if v > 0.9 { v } else { 0.0 }).collect();
            let kept = (0..tokens).map(|t| t % LENGTH != 0 && t != 6).collect();
            Batch { x, recon, dense, kept }
        })
        .into()
}

fn counted(dense: &[f32], kept: &[bool], length: usize) -> Firing {
    let mut counts = Counts::new(D_SAE, kept, length);
    counts.add(&sparse(dense));
    counts.finish()
}

fn firing(batch: &Batch) -> Firing {
    counted(&batch.dense, &batch.kept, LENGTH)
}

fn sparse(dense: &[f32]) -> Latents {
    let mut latents = Latents::new(D_SAE);
    for row in dense.chunks_exact(D_SAE) {
        latents.push_row(row.iter().enumerate().filter(|(_, v)| **v != 0.0).map(|(i, &v)| (i as u32, v)));
    }
    latents
}

fn inputs(x: &[f32], length: usize, kept: Vec<bool>) -> Inputs {
    Inputs::new(Spread::of(x, D_IN, &kept), length, kept)
}

fn errors(batch: &Batch) -> Vec<TokenErrors> {
    TokenErrors::of(&batch.x, &batch.recon, D_IN)
}

fn sums(batches: &[Batch]) -> ActivationSums {
    let mut sums = ActivationSums::new(D_IN, D_SAE);
    for batch in batches {
        sums.add(&inputs(&batch.x, LENGTH, batch.kept.clone()), &errors(batch), &firing(batch));
    }
    sums
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn sub(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn mean_row(rows: &[Vec<f64>]) -> Vec<f64> {
    (0..D_IN).map(|d| rows.iter().map(|r| r[d]).sum::<f64>() / rows.len() as f64).collect()
}

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.into_iter().collect();
    values.iter().sum::<f64>() / values.len() as f64
}

fn near(found: f64, expected: f64, name: &str) {
    assert!((found - expected).abs() < 1e-9 * expected.abs().max(1.0), "{name}: {found} is not {expected}");
}

#[test]
fn figures_follow_the_formulas() {
    let batches = batches();
    let found = sums(&batches).figures();

    let rows = |data: &[f32], kept: &[bool], width: usize| -> Vec<Vec<f64>> {
        data.chunks_exact(width)
            .zip(kept)
            .filter(|(_, k)| **k)
            .map(|(r, _)| r.iter().map(|&v| v.into()).collect())
            .collect()
    };
    let (mut all_x, mut all_y, mut all_f) = (vec![], vec![], vec![]);
    let (mut s, mut r, mut bias, mut mse, mut legacy) = (vec![], vec![], vec![], vec![], vec![]);
    for batch in &batches {
        let (x, y) = (rows(&batch.x, &batch.kept, D_IN), rows(&batch.recon, &batch.kept, D_IN));
        let centre = mean_row(&x);
        let resid: Vec<f64> = x.iter().zip(&y).map(|(x, y)| dot(&sub(x, y), &sub(x, y))).collect();
        s.push(mean(x.iter().map(|x| dot(x, x))));
        r.push(mean(resid.iter().copied()));
        bias.push(mean(y.iter().map(|y| dot(y, y))) / mean(x.iter().zip(&y).map(|(x, y)| dot(x, y))));
        mse.extend(resid.iter().map(|r| r / x.len() as f64));
        legacy.extend(resid.iter().zip(&x).map(|(r, x)| 1.0 - r / dot(&sub(x, &centre), &sub(x, &centre))));
        all_f.extend(rows(&batch.dense, &batch.kept, D_SAE));
        all_x.extend(x);
        all_y.extend(y);
    }
    let pairs = || all_x.iter().zip(&all_y);
    let norm = |v: &[f64]| dot(v, v).sqrt();
    let (s, r) = (mean(s), mean(r));
    let centre = mean_row(&all_x);
    let resid: f64 = pairs().map(|(x, y)| dot(&sub(x, y), &sub(x, y))).sum();
    let variance: f64 = all_x.iter().map(|x| dot(&sub(x, &centre), &sub(x, &centre))).sum();

    near(found.explained_variance, 1.0 - r / (s - (s / D_IN as f64).powi(2)), "explained_variance");
    near(found.explained_variance_legacy, mean(legacy), "explained_variance_legacy");
    near(found.mse, mean(mse), "mse");
    near(found.cossim, mean(pairs().map(|(x, y)| dot(x, y) / norm(x) / norm(y))), "cossim");
    near(found.l2_norm_in, mean(all_x.iter().map(|x| norm(x))), "l2_norm_in");
    near(found.l2_norm_out, mean(all_y.iter().map(|y| norm(y))), "l2_norm_out");
    near(found.l2_ratio, mean(pairs().map(|(x, y)| norm(y) / norm(x))), "l2_ratio");
    near(found.relative_reconstruction_bias, mean(bias), "relative_reconstruction_bias");
    near(found.l0, mean(all_f.iter().map(|f| f.iter().filter(|v| **v != 0.0).count() as f64)), "l0");
    near(found.l1, mean(all_f.iter().map(|f| f.iter().sum())), "l1");
    near(found.mse_per_element, resid / (all_x.len() * D_IN) as f64, "mse_per_element");
    near(found.variance_explained, 1.0 - resid / variance, "variance_explained");
}

#[test]
fn density_counts_tokens_and_rows() {
    let batches = batches();
    let found = sums(&batches).density();
    let (mut tokens, mut fired, mut rows) = (0.0, [0.0; D_SAE], [0.0; D_SAE]);
    for batch in &batches {
        for row in 0..batch.kept.len() / LENGTH {
            let mut in_row = [false; D_SAE];
            for t in (row * LENGTH..(row + 1) * LENGTH).filter(|&t| batch.kept[t]) {
                tokens += 1.0;
                for latent in 0..D_SAE {
                    if batch.dense[t * D_SAE + latent] > 0.0 {
                        fired[latent] += 1.0;
                        in_row[latent] = true;
                    }
                }
            }
            in_row.iter().enumerate().filter(|(_, f)| **f).for_each(|(latent, _)| rows[latent] += 1.0);
        }
    }
    for latent in 0..D_SAE {
        assert_eq!(found.density[latent], fired[latent] / tokens);
        let (found, expected) = (found.consistent_activation_heuristic[latent], fired[latent] / rows[latent]);
        assert!(found == expected || (found.is_nan() && expected.is_nan()));
    }
}

#[test]
fn nothing_kept_leaves_figures_undefined_and_does_not_spoil_later_ones() {
    let mut empty = ActivationSums::new(D_IN, D_SAE);
    assert!(empty.figures().mse.is_nan() && empty.density().density[0].is_nan());
    let batches = batches();
    let masked = inputs(&batches[0].x, LENGTH, vec![false; batches[0].kept.len()]);
    let none = counted(&batches[0].dense, &masked.kept, LENGTH);
    empty.add(&masked, &errors(&batches[0]), &none);
    for batch in &batches {
        empty.add(&inputs(&batch.x, LENGTH, batch.kept.clone()), &errors(batch), &firing(batch));
    }
    assert_eq!(empty.figures(), sums(&batches).figures());
}

#[test]
fn a_zero_reconstruction_has_no_cosine() {
    let x = [1.0; D_IN];
    let inputs = inputs(&x, 1, vec![true]);
    let mut sums = ActivationSums::new(D_IN, D_SAE);
    let firing = counted(&[0.0; D_SAE], &inputs.kept, 1);
    sums.add(&inputs, &TokenErrors::of(&x, &[0.0; D_IN], D_IN), &firing);
    let figures = sums.figures();
    assert!(figures.cossim.is_nan() && figures.relative_reconstruction_bias.is_nan());
    assert_eq!((figures.l2_ratio, figures.l0, figures.mse_per_element), (0.0, 0.0, 1.0));
}
