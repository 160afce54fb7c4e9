//! Texts of any lengths, and gradients through whole models: by the kernels for GPUs beside the CPU's own, which its unit tests
//! hold to whole passes and to finite differences.

use candle_core::{DType, Device, Tensor};
use prunelens_core::model::{
    HookPoint, Model, Site,
    ragged::{Stopped, Text, reads_ragged},
};
use prunelens_kernels::{
    Act,
    attention::Heads,
    layers::Norm,
    ops::{self, Ops},
    ragged::Tokens,
};

use crate::{
    kernels::backend,
    support::{fixture, floats},
};

/// Numbers without a pattern, about as large as activations.
fn noise(shape: (usize, usize), seed: usize) -> Tensor {
    let number = |i: usize| ((((i + seed * 977) * 7919 + i / 13 * 104_729) % 1009) as f32 / 1009.0 - 0.5) * 3.0;
    Tensor::from_vec((0..shape.0 * shape.1).map(number).collect(), shape, &Device::Cpu).unwrap()
}

fn near(what: &str, got: &Tensor, want: &Tensor, within: f32) {
    let (got, want) = (floats(got), floats(want));
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    for (at, (got, want)) in got.iter().zip(&want).enumerate() {
        assert!((got - want).abs() <= within * largest.max(1e-3), "{what} at {at}: {got}, not {want}");
    }
}

#[test]
fn attention_and_its_gradient_at_odd_sizes() {
    let Some(backend) = backend() else { return };
    let there = ops::on(Some(backend.clone()));
    let here = ops::on(None);
    let base = Heads { heads: 6, kv_heads: 3, width: 20, scale: 0.3, softcap: None, window: None };
    for (at, heads) in [
        base,
        Heads { heads: 2, kv_heads: 2, width: 33, softcap: Some(0.7), ..base },
        Heads { heads: 4, kv_heads: 1, width: 8, window: Some(3), ..base },
        Heads { softcap: Some(1.2), window: Some(5), ..base },
    ]
    .into_iter()
    .enumerate()
    {
        let (new, before) = ([4, 1, 40], [7, 0, 2]);
        let weight = |seed| noise((1, heads.width), seed).flatten_all().unwrap();
        let (q, k) = (weight(3), weight(4));
        let (cos, sin) = (noise((200, 3), 5), noise((200, 3), 6));
        let run = |ops: &dyn Ops, device: &Device| {
            let place = |tensor: &Tensor| tensor.to_device(device).unwrap();
            let (q, k, cos, sin) = (place(&q), place(&k), place(&cos), place(&sin));
            let norm = |weight| Norm { centred: false, eps: 1e-3, weight: Some(weight), bias: None };
            let norms = (at % 2 == 0).then(|| [norm(&q), norm(&k)]);
            let tables = (at != 1).then_some((&cos, &sin));
            let of = |new: &[usize], positions: &[usize], past: &[_], give: &mut dyn FnMut(&Tokens)| {
                give(&Tokens { heads, norms, tables, new, positions, past });
            };
            // Beginnings of two of the texts.
            let mut past = vec![Default::default(); 2];
            let positions: Vec<usize> = (0..7).chain(0..2).collect();
            of(&[7, 2], &positions, &[None, None], &mut |tokens| {
                ops.attend_ragged(tokens, &place(&noise((9, heads.row()), 8)), &mut past).unwrap();
            });
            let past = [Some(&past[0]), None, Some(&past[1])];
            let positions: Vec<usize> = new.iter().zip(before).flat_map(|(n, from)| from..from + n).collect();
            let qkv = place(&noise((45, heads.row()), 9));
            let mut found = Vec::new();
            of(&new, &positions, &past, &mut |tokens| {
                let (z, traced) = ops.trace_ragged(tokens, &qkv).unwrap();
                let g = place(&noise((45, heads.queries()), 10));
                found = vec![z, ops.ragged_vjp(tokens, &traced, &g).unwrap()];
                // Read in two parts.
                let mut own = vec![Default::default(); 3];
                found.push(ops.attend_ragged(tokens, &qkv, &mut own).unwrap());
                let next: Vec<usize> = new.iter().zip(before).map(|(n, from)| n + from).collect();
                of(&[1, 1, 1], &next, &past, &mut |tokens| {
                    found.push(ops.attend_ragged(tokens, &place(&noise((3, heads.row()), 11)), &mut own).unwrap());
                });
            });
            found
        };
        let (got, want) = (run(&*there, backend.device()), run(&*here, &Device::Cpu));
        for (what, (got, want)) in ["z", "gradient", "z as read", "z of the next"].iter().zip(got.iter().zip(&want)) {
            near(&format!("{heads:?}: {what}"), got, want, 1e-5);
        }
    }
}

#[test]
fn gradients_of_norms_and_activations() {
    let Some(backend) = backend() else { return };
    let there = ops::on(Some(backend.clone()));
    let here = ops::on(None);
    let place = |tensor: &Tensor| tensor.to_device(backend.device()).unwrap();
    for (rows, width) in [(1, 1), (3, 31), (5, 300), (2, 1500)] {
        let (x, g) = (noise((rows, width), 1), noise((rows, width), 2));
        let weight = noise((1, width), 3).flatten_all().unwrap();
        let weight_there = place(&weight);
        for (centred, weighted) in [(true, true), (true, false), (false, true)] {
            let norm = |weight| Norm { centred, eps: 1e-2, weight: Some(weight).filter(|_| weighted), bias: None };
            let got = there.norm_vjp(&place(&x), &place(&g), norm(&weight_there)).unwrap();
            near("norm", &got, &here.norm_vjp(&x, &g, norm(&weight)).unwrap(), 2e-5);
        }
        for act in [Act::GeluTanh, Act::Gelu, Act::Silu, Act::Relu] {
            for gated in [false, true] {
                let x = noise((rows, if gated { 2 * width } else { width }), 4);
                let got = there.activate_vjp(&place(&x), &place(&g), act, gated).unwrap();
                near(&format!("{act:?}"), &got, &here.activate_vjp(&x, &g, act, gated).unwrap(), 2e-5);
            }
        }
    }
}

fn ids(n: usize, seed: u32) -> Vec<u32> {
    (0..n as u32).map(|i| (i * 37 + seed * 101 + 5) % 500).collect()
}

#[test]
fn whole_models_are_read_and_gone_back_through() {
    let Some(backend) = backend() else { return };
    let quiet = &mut || Ok(());
    for family in ["gpt2", "llama", "neox", "gemma2", "gemma3"] {
        let load = |device: &Device, dtype| {
            let folder = fixture(&format!("models/{family}"));
            Model::load(&folder, device, dtype, &mut |_| Ok(())).unwrap()
        };
        let here = load(&Device::Cpu, DType::F32);
        let on = |dtype| Model { ops: ops::on(Some(backend.clone())), ..load(backend.device(), dtype) };
        let there = on(DType::F32);
        assert!(reads_ragged(&there) && reads_ragged(&here));
        // What lies between the sites is the same for all but those whose blocks are built otherwise.
        let others: &[Site] = if ["neox", "gemma2"].contains(&family) { &[Site::ResidPre, Site::Z] } else { &[] };
        for &site in [Site::ResidPost].iter().chain(others) {
            let hook = HookPoint { layer: 1, site };
            let mut run = |model: &Model| {
                let prefix = model.prefix(&ids(9, 1), quiet).unwrap();
                let texts = vec![Text::after(Some(prefix.clone())), Text::after(Some(prefix)), Text::default()];
                let tails = [ids(4, 2), ids(7, 3), ids(6, 4)];
                let new: Vec<&[u32]> = tails.iter().map(Vec::as_slice).collect();
                let stopped = model.read_to(texts, &new, hook, quiet).unwrap();
                let changed = (&stopped.acts * 0.7).unwrap();
                let targets: Vec<Option<u32>> = (0..17).map(|t| (t % 3 != 0).then_some(t * 29 % 500)).collect();
                let trace = model.trace(&stopped, &changed, quiet).unwrap();
                let (logits, (loss, g)) = (trace.logits.clone(), trace.loss_vjp(&targets, quiet).unwrap());
                let acts = stopped.acts.clone();
                let (texts, last) = model.read_on(stopped, &changed, quiet).unwrap();
                let said = model.continue_texts(texts, &logits, 5, None, quiet).unwrap();
                (acts, last, logits, loss, g, said)
            };
            let (got, want) = (run(&there), run(&here));
            let what = |of: &str| format!("{family}, {site:?}: {of}");
            near(&what("activations"), &got.0, &want.0, 1e-5);
            near(&what("the last block"), &got.1, &want.1, 1e-5);
            near(&what("logits"), &got.2, &want.2, 1e-5);
            assert!((got.3 - want.3).abs() < 1e-5 * want.3, "{}: {} {}", what("loss"), got.3, want.3);
            near(&what("gradient"), &got.4, &want.4, 1e-4);
            // Where two tokens are as likely but for rounding, a card may say the other, and goes on from it.
            let differ = got.5.iter().zip(&want.5).filter(|(a, b)| a != b).count();
            let allowed = usize::from(!backend.device().is_cpu());
            assert_eq!(got.5.len(), want.5.len(), "{}", what("answers"));
            assert!(differ <= allowed, "{}: {:?}, not {:?}", what("answers"), got.5, want.5);
            // In 16 bits gradients are still of the same size and direction.
            if site == Site::ResidPost {
                let rough = run(&on(DType::BF16));
                assert_eq!(rough.4.dtype(), DType::F32);
                near(&what("logits in bf16"), &rough.2, &want.2, 0.1);
                near(&what("gradient in bf16"), &rough.4, &want.4, 0.3);
                there.ops.likeliest(&rough.2).unwrap();
            }
            // Rows that were captured side by side, as the atlas has them.
            let mut of_row = |model: &Model| {
                let rows =
                    Tensor::new([ids(6, 2), ids(6, 3)].concat(), &model.device).unwrap().reshape((2, 6)).unwrap();
                let row = model.capture(&rows, hook, quiet).unwrap().row(1).unwrap();
                let stopped = Stopped::at(model, &row).unwrap();
                let targets: Vec<Option<u32>> = (0..6).map(|t| (t < 5).then_some(t * 31 % 500)).collect();
                model.trace(&stopped, &stopped.acts, quiet).unwrap().loss_vjp(&targets, quiet).unwrap()
            };
            let ((loss, g), (_, rough), (want_loss, want)) = (of_row(&there), of_row(&on(DType::BF16)), of_row(&here));
            assert!((loss - want_loss).abs() < 1e-5 * want_loss, "{}: {loss}, not {want_loss}", what("loss of a row"));
            near(&what("gradient of a row"), &g, &want, 1e-4);
            near(&what("gradient of a row in bf16"), &rough, &want, 0.3);
        }
    }
}
