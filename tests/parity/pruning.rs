//! Rank once, prune at any ratio: properties that hold for every criterion and every kind of SAE.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use prunelens_core::{
    compare::path::PathGrid,
    model::{HookPoint, Site, Space},
    prune::sae::{Norms, rank},
    sae::{
        Activation, Criterion, Dictionary, Encoded, Latents, Normalize, Order, Pruning, Sae, SaeConfig, Side, TextSum,
        place,
    },
};
use prunelens_kernels::{
    Kept, cut, keep,
    ops::{self, Ops},
};

use crate::support::{device::TestDevice, floats};

const D_IN: usize = 37;
const D_SAE: usize = 531;
const TOKENS: usize = 45;

/// Values between -1 and 1, the same at every run.
fn noise(n: usize, salt: u64) -> Vec<f32> {
    let mut state = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn sae(activation: Activation, architecture: &'static str) -> Sae {
    let matrix = |salt| Tensor::from_vec(noise(D_SAE * D_IN, salt), (D_SAE, D_IN), &Device::Cpu).unwrap();
    Sae {
        config: SaeConfig {
            name: "test".into(),
            architecture,
            d_in: D_IN,
            d_sae: D_SAE,
            hook: HookPoint { layer: 0, site: Site::ResidPost },
            module: None,
            normalize: Normalize::LayerNorm,
            apply_b_dec_to_input: true,
            prepend_bos: true,
            space: Space::Raw,
            source: serde_json::Value::Null,
            folded: None,
            warnings: Vec::new(),
        },
        w_enc: matrix(1),
        b_enc: noise(D_SAE, 2).iter().map(|v| v - 1.5).collect(),
        w_dec: matrix(3),
        b_dec: noise(D_IN, 4),
        activation,
        decode_scale: None,
    }
}

/// On the CPU, and on the GPU in PRUNELENS_DEVICE or one that stands in for it.
pub fn kinds() -> Vec<(Where, Arc<dyn Dictionary>)> {
    let asked = std::env::var_os("PRUNELENS_DEVICE").is_some();
    let device = if asked { Some(TestDevice::asked()) } else { TestDevice::stand_in() };
    let device = device.filter(|device| device.ops.backend().is_some()).map(|device| device.ops);
    let everywhere = [ops::on(None)].into_iter().chain(device);
    everywhere.flat_map(|ops| of_each_kind().into_iter().map(move |sae| (ops.clone(), placed(sae, &ops)))).collect()
}

/// What an SAE works with.
pub type Where = Arc<dyn Ops>;

fn placed(sae: Sae, ops: &Where) -> Arc<dyn Dictionary> {
    place(Arc::new(sae), &**ops).unwrap()
}

fn normalized(sae: Sae, normalize: Normalize) -> Sae {
    Sae { config: SaeConfig { normalize, ..sae.config }, ..sae }
}

fn of_each_kind() -> Vec<Sae> {
    let threshold = noise(D_SAE, 6).iter().map(|v| v * 2.0).collect();
    vec![
        sae(Activation::Relu, "standard"),
        sae(Activation::TopK { k: 9, rescale_by_decoder_norm: false }, "topk"),
        sae(Activation::TopK { k: 9, rescale_by_decoder_norm: true }, "topk"),
        sae(Activation::JumpRelu { threshold }, "jumprelu"),
        sae(Activation::Gated { r_mag: noise(D_SAE, 7), b_mag: noise(D_SAE, 8) }, "gated"),
        normalized(sae(Activation::TanhRelu, "standard"), Normalize::None),
        normalized(
            sae(Activation::TopK { k: 9, rescale_by_decoder_norm: false }, "topk"),
            Normalize::ConstantNormRescale,
        ),
    ]
}

pub fn activations(sae: &dyn Dictionary) -> Tensor {
    // A GPU that is stood in for takes its time.
    let tokens = if sae.bytes_on_device() > 0 { 18 } else { TOKENS };
    Tensor::from_vec(noise(tokens * D_IN, 5), (tokens, D_IN), &Device::Cpu).unwrap()
}

/// Random norms, for the criteria that need them.
pub fn norms(criterion: Criterion) -> Option<Norms> {
    let (enc, dec) = match criterion {
        Criterion::Wanda => (D_IN, D_SAE),
        _ => (D_SAE, D_IN),
    };
    let positive = |n: usize, salt: u64| noise(n, salt).iter().map(|v| v.abs()).collect();
    let needed = matches!(criterion, Criterion::Wanda | Criterion::Paper);
    needed.then(|| Norms { enc: positive(enc, 9), dec: positive(dec, 10) })
}

fn order(sae: &dyn Dictionary, criterion: Criterion) -> Arc<Order> {
    Arc::new(rank(sae, criterion, norms(criterion).as_ref(), &mut || Ok(())).unwrap())
}

pub fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|v| v.to_bits()).collect()
}

/// Latents worked out in plain loops in f64, for one weight at a time.
fn plain(sae: &Sae, x: &Tensor) -> Vec<f64> {
    let (input, _) = sae.process_input(x).unwrap();
    let w: Vec<f32> = sae.w_enc.flatten_all().unwrap().to_vec1().unwrap();
    let w_dec: Vec<f32> = sae.w_dec.flatten_all().unwrap().to_vec1().unwrap();
    let mut out = Vec::new();
    for row in input.chunks(D_IN) {
        let mut pre: Vec<f64> = (0..D_SAE)
            .map(|j| {
                let dot: f64 = (0..D_IN).map(|i| f64::from(row[i]) * f64::from(w[j * D_IN + i])).sum();
                dot + f64::from(sae.b_enc[j])
            })
            .collect();
        match &sae.activation {
            Activation::Relu => pre.iter_mut().for_each(|v| *v = v.max(0.0)),
            Activation::JumpRelu { threshold } => (pre.iter_mut().zip(threshold))
                .for_each(|(v, t)| *v = if *v > f64::from(*t) { v.max(0.0) } else { 0.0 }),
            Activation::TopK { k, rescale_by_decoder_norm } => {
                if *rescale_by_decoder_norm {
                    for (j, v) in pre.iter_mut().enumerate() {
                        let row = &w_dec[j * D_IN..(j + 1) * D_IN];
                        *v *= row.iter().map(|w| f64::from(*w) * f64::from(*w)).sum::<f64>().sqrt();
                    }
                }
                let mut by_size: Vec<usize> = (0..D_SAE).collect();
                by_size.sort_by(|a, b| pre[*b].total_cmp(&pre[*a]));
                for (place, j) in by_size.into_iter().enumerate() {
                    pre[j] = if place < *k { pre[j].max(0.0) } else { 0.0 };
                }
            }
            Activation::Gated { r_mag, b_mag } => {
                for (j, v) in pre.iter_mut().enumerate() {
                    let magnitude = (*v - f64::from(sae.b_enc[j])) * f64::from(r_mag[j]).exp() + f64::from(b_mag[j]);
                    *v = if *v > 0.0 { magnitude.max(0.0) } else { 0.0 };
                }
            }
            Activation::TanhRelu => pre.iter_mut().for_each(|v| *v = v.max(0.0).tanh()),
        }
        out.extend(pre);
    }
    out
}

fn close(latents: &Latents, want: &[f64]) {
    for (at, (got, want)) in latents.dense().iter().zip(want).enumerate() {
        assert!((f64::from(*got) - want).abs() < 1e-4, "value {at}: {got}, expected {want}");
    }
}

/// All that rank otherwise; on a GPU, whose kernels know ranks and no criteria, one of each width.
fn criteria(sae: &dyn Dictionary) -> Vec<Criterion> {
    if sae.bytes_on_device() > 0 { vec![Criterion::Wanda, Criterion::Paper] } else { Criterion::ALL.to_vec() }
}

#[test]
fn latents_at_a_ratio_are_those_of_the_sae_with_its_zeros_written_out() {
    for (ops, sae) in kinds() {
        let x = activations(&*sae);
        close(&sae.encode(&x, None).unwrap().into_latents().unwrap(), &plain(&sae, &x));
        for criterion in criteria(&*sae) {
            let order = order(&*sae, criterion);
            for ratio in [0.0, 0.3, 0.77, 0.99] {
                let pruning = Pruning { order: order.clone(), at: ratio };
                let encoded = sae.encode(&x, Some(&pruning)).unwrap();
                let applied = placed(sae.pruned(Some(&pruning)).unwrap(), &ops);
                close(encoded.latents().unwrap(), &plain(&applied, &x));
                assert_eq!(*encoded.latents().unwrap(), applied.encode(&x, None).unwrap().into_latents().unwrap());
                let (a, b) = (sae.decode(&encoded, Some(&pruning)).unwrap(), applied.decode(&encoded, None).unwrap());
                assert_eq!(bits(&a), bits(&b));
                for (side, written) in [(Side::Enc, &applied.sae().w_enc), (Side::Dec, &applied.sae().w_dec)] {
                    let last = D_SAE as u32 - 1;
                    let row = |latent: u32| floats(&written.get(latent as usize).unwrap());
                    assert_eq!(sae.row(side, Some(&pruning), last).unwrap(), row(last), "{side:?} at {ratio}");
                }
            }
        }
    }
}

#[test]
fn latents_of_texts_are_those_of_their_tokens_added_up() {
    for (_, sae) in kinds() {
        let x = activations(&*sae);
        let pruning = Pruning { order: order(&*sae, Criterion::Wanda), at: 0.3 };
        let lengths = [7, 0, 1, x.dim(0).unwrap() - 8];
        for (pruning, undone) in [(None, false), (Some(&pruning), true)] {
            let text = |(tokens, at)| TextSum { tokens, undone, zeros: if undone { at } else { 0 }, divisor: 3.0 };
            let texts: Vec<TextSum> = lengths.into_iter().zip(0..).map(text).collect();
            let found = sae.text_sums(&x, pruning, &texts, &mut || Ok(())).unwrap();
            let encoded = sae.encode(&x, pruning).unwrap();
            let of_zeros = Tensor::zeros((1, D_IN), DType::F32, &Device::Cpu).unwrap();
            let of_zeros = sae.encode(&of_zeros, pruning).unwrap();
            let mut tokens = 0..;
            for (text, found) in texts.iter().zip(&found) {
                let mut sums = vec![0.0; D_SAE];
                let mut add = |encoded: &Encoded, token: usize, times: f64| {
                    let factor = if undone { f64::from(encoded.undo().factors().unwrap().of(token)) } else { 1.0 };
                    let (indices, values) = encoded.latents().unwrap().row(token);
                    indices.iter().zip(values).for_each(|(i, v)| sums[*i as usize] += times * factor * f64::from(*v));
                };
                tokens.by_ref().take(text.tokens).for_each(|token| add(&encoded, token, 1.0));
                add(&of_zeros, 0, text.zeros as f64);
                let sums = (0..).zip(&sums).filter(|(_, sum)| **sum > 0.0);
                let want: Vec<(u32, f32)> = sums.map(|(latent, sum)| (latent, (sum / 3.0) as f32)).collect();
                assert_eq!(*found, want, "{:?}", sae.activation);
            }
            assert!(sae.text_sums(&x.narrow(0, 0, 9).unwrap(), pruning, &texts, &mut || Ok(())).is_err());
        }
    }
}

#[test]
fn every_group_loses_exactly_its_share() {
    let sae = sae(Activation::Relu, "standard");
    for criterion in Criterion::ALL {
        let order = order(&sae, criterion);
        for percent in 0..100 {
            let ratio = f64::from(percent) / 100.0;
            let applied = sae.pruned(Some(&Pruning { order: order.clone(), at: ratio })).unwrap();
            let zeros = |t: &Tensor, group_len: usize, along_rows: bool| {
                let t = if along_rows { t.clone() } else { t.t().unwrap().contiguous().unwrap() };
                for row in t.to_vec2::<f32>().unwrap() {
                    let zeros = row.iter().filter(|v| **v == 0.0).count();
                    assert_eq!(zeros, cut(group_len, ratio) as usize, "{criterion} at {ratio}");
                }
            };
            let output_side = criterion == Criterion::Paper;
            zeros(&applied.w_enc, if output_side { D_SAE } else { D_IN }, !output_side);
            zeros(&applied.w_dec, if output_side { D_IN } else { D_SAE }, output_side);
        }
    }
}

#[test]
fn ratio_zero_is_untouched_and_coming_back_gives_the_same_bits() {
    for (_, sae) in kinds() {
        let x = activations(&*sae);
        let order = order(&*sae, Criterion::Wanda);
        let at = |ratio: f64| Pruning { order: order.clone(), at: ratio };
        let untouched = sae.pruned(Some(&at(0.0))).unwrap();
        assert_eq!(bits(&untouched.w_enc), bits(&sae.w_enc));
        assert_eq!(bits(&untouched.w_dec), bits(&sae.w_dec));
        assert_eq!(
            sae.encode(&x, Some(&at(0.0))).unwrap().into_latents().unwrap(),
            sae.encode(&x, None).unwrap().into_latents().unwrap()
        );
        let first = sae.encode(&x, Some(&at(0.4))).unwrap().into_latents().unwrap();
        sae.encode(&x, Some(&at(0.9))).unwrap();
        assert_eq!(sae.encode(&x, Some(&at(0.4))).unwrap().into_latents().unwrap(), first);
    }
}

#[test]
fn larger_ratios_keep_subsets() {
    let sae = sae(Activation::Relu, "standard");
    let order = order(&sae, Criterion::Paper);
    let kept = |ratio: f64| {
        let mut out = vec![0.0; D_SAE * D_IN];
        let ones = vec![1.0; D_SAE * D_IN];
        let ranking = order.enc.ranking(D_IN).unwrap().unwrap();
        keep(&ones, Kept::From(ranking, order.enc.cut(ratio)), 0..D_SAE * D_IN, &mut out);
        out
    };
    let mut before = kept(0.0);
    for percent in 1..100 {
        let now = kept(f64::from(percent) / 100.0);
        assert!(now.iter().zip(&before).all(|(now, before)| now <= before));
        before = now;
    }
}

#[test]
fn paths_are_what_encoding_at_each_ratio_gives() {
    for (_, sae) in kinds() {
        let x = activations(&*sae);
        let counts = vec![true; x.dim(0).unwrap()];
        let on_device = sae.bytes_on_device() > 0;
        for criterion in if on_device { vec![Criterion::Wanda] } else { vec![Criterion::Wanda, Criterion::Paper] } {
            let order = order(&*sae, criterion);
            let active = sae.encode(&x, None).unwrap().into_latents().unwrap();
            let grid = PathGrid::new(&*sae, &order, &x, &active).unwrap();
            let paths = grid.paths(&sae, &counts);
            assert_eq!(paths.active, active.indices.len());
            assert_eq!(paths.survival[0], 1.0);
            for step in [0_usize, 3, 10, 19] {
                let ratio = step as f64 / 20.0;
                let latents =
                    sae.encode(&x, Some(&Pruning { order: order.clone(), at: ratio })).unwrap().into_latents().unwrap();
                let mut alive = 0;
                for (token, row) in paths.rows.iter().enumerate() {
                    for (latent, path) in row {
                        let want = latents.get(token, *latent);
                        assert!(
                            (path[step] - want).abs() < 1e-4,
                            "{} token {token} #{latent} at {ratio}: {} {want}",
                            sae.config.architecture,
                            path[step]
                        );
                        alive += usize::from(want > 0.0);
                    }
                }
                assert!((paths.survival[step] - alive as f64 / paths.active as f64).abs() < 1e-9);
            }
            let (token, latent) = (7, active.row(7).0[0]);
            let (curve, dies_at) = grid.curve(&sae, &order, &x, token, latent).unwrap();
            // The curve is the CPU's everywhere.
            for (ratio, value) in curve.iter().step_by(if on_device { 11 } else { 1 }) {
                let pruning = Pruning { order: order.clone(), at: *ratio };
                let want = sae.encode(&x, Some(&pruning)).unwrap().into_latents().unwrap().get(token, latent);
                assert!(
                    (value - want).abs() < 1e-4,
                    "{} #{latent} at {ratio}: {value} {want}",
                    sae.config.architecture
                );
            }
            if let Some(dies_at) = dies_at {
                assert!(curve.iter().all(|(ratio, value)| *ratio < dies_at || *value == 0.0));
                assert!(curve.iter().any(|(ratio, value)| *ratio < dies_at && *value > 0.0));
            }
        }
    }
}
