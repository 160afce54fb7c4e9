//! The SAE compressed alike: every knob beside torch and compressed-tensors (`tests/fixtures/knobs/record.py`), and what holds
//! for every knob on every kind of SAE: settings are exact, the way back comes back, and paths are what encoding gives.

use std::{collections::HashMap, fs, sync::Arc};

use candle_core::{Device, Tensor};
use prunelens_core::{
    compare::path::PathGrid,
    model::{HookPoint, Site, Space},
    prune::sae::order,
    sae::{Activation, Criterion, Dictionary, Knob, Normalize, Order, Pruning, Sae, SaeConfig},
};
use safetensors::SafeTensors;

use super::pruning::{activations, bits, kinds, norms};
use crate::support::fixtures;

const KNOBS: [Knob; 4] = [Knob::Bits, Knob::Rank, Knob::Latents(Criterion::Wanda), Knob::Latents(Criterion::Magnitude)];

fn made(sae: &dyn Dictionary, knob: Knob) -> Arc<Order> {
    let norms = knob.criterion().and_then(norms);
    Arc::new(order(sae, knob, norms.as_ref(), None, &mut || Ok(())).unwrap())
}

#[test]
fn settings_are_exact_and_come_back() {
    for (_, sae) in kinds() {
        let x = activations(&*sae);
        for knob in KNOBS {
            let (order, scale) = (made(&*sae, knob), knob.scale(sae.d_in()));
            let at = |at: f64| Pruning { order: order.clone(), at };
            let encode = |setting: f64| sae.encode(&x, Some(&at(setting))).unwrap();
            let untouched = sae.pruned(Some(&at(scale.untouched()))).unwrap();
            assert_eq!(bits(&untouched.w_enc), bits(&sae.w_enc), "{knob}");
            assert_eq!(bits(&untouched.w_dec), bits(&sae.w_dec), "{knob}");
            assert_eq!(
                encode(scale.untouched()).into_latents().unwrap(),
                sae.encode(&x, None).unwrap().into_latents().unwrap()
            );
            let middle = scale.grid()[scale.grid().len() / 2];
            let first = encode(middle);
            encode(*scale.grid().last().unwrap());
            encode(scale.untouched());
            assert_eq!(encode(middle).latents().unwrap(), first.latents().unwrap(), "{knob}");
            // The SAE as it is written out is the one that was turned, but for the order of sums at a rank.
            let written = sae.pruned(Some(&at(middle))).unwrap();
            let (found, want) =
                (first.latents().unwrap().dense(), written.encode(&x, None).unwrap().into_latents().unwrap().dense());
            let near = |(a, b): (&f32, &f32)| (a - b).abs() < 2e-4;
            assert!(found.iter().zip(&want).all(near), "{knob} {}", sae.config.architecture);
            let recons = |t: Tensor| -> Vec<f32> {
                t.to_device(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap()
            };
            let turned = recons(sae.decode(&first, Some(&at(middle))).unwrap());
            let plain = recons(written.decode(&first, None).unwrap());
            assert!(turned.iter().zip(&plain).all(|(a, b)| (a - b).abs() < 2e-3), "{knob}");
        }
    }
}

#[test]
fn paths_are_what_encoding_at_each_setting_gives() {
    for (_, sae) in kinds() {
        let x = activations(&*sae);
        let counts = vec![true; x.dim(0).unwrap()];
        for knob in KNOBS {
            let order = made(&*sae, knob);
            let active = sae.encode(&x, None).unwrap().into_latents().unwrap();
            let grid = PathGrid::new(&*sae, &order, &x, &active).unwrap();
            let paths = grid.paths(&sae, &counts);
            assert_eq!((paths.survival[0], paths.active), (1.0, active.indices.len()));
            for (step, at) in paths.grid.iter().enumerate() {
                let latents =
                    sae.encode(&x, Some(&Pruning { order: order.clone(), at: *at })).unwrap().into_latents().unwrap();
                for (token, row) in paths.rows.iter().enumerate() {
                    for (latent, path) in row {
                        let want = latents.get(token, *latent);
                        // A candidate within rounding of the last one chosen may go either way.
                        let near = (path[step] - want).abs() < 3e-4;
                        assert!(near, "{knob} {} at {at}: {} {want}", sae.config.architecture, path[step]);
                    }
                }
            }
            let (token, latent) = (7, active.row(7).0[0]);
            let (curve, dies_at) = grid.curve(&sae, &order, &x, token, latent).unwrap();
            assert_eq!(curve.len(), knob.scale(sae.d_in()).fine().len());
            for (at, value) in &curve {
                let pruning = Pruning { order: order.clone(), at: *at };
                let want = sae.encode(&x, Some(&pruning)).unwrap().into_latents().unwrap().get(token, latent);
                assert!((value - want).abs() < 3e-4, "{knob} #{latent} at {at}: {value} {want}");
            }
            if let Some(dies_at) = dies_at {
                let place = |at: f64| knob.scale(sae.d_in()).position(at);
                assert!(curve.iter().all(|(at, value)| place(*at) < place(dies_at) || *value == 0.0), "{knob}");
                assert!(curve.iter().any(|(at, value)| place(*at) < place(dies_at) && *value > 0.0), "{knob}");
            }
        }
    }
}

fn recorded() -> (Sae, Tensor, HashMap<String, Vec<f32>>) {
    let bytes = fs::read(fixtures().join("knobs/sae.safetensors")).unwrap();
    let floats = |data: &[u8]| data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect::<Vec<f32>>();
    let tensors: HashMap<String, Vec<f32>> =
        SafeTensors::deserialize(&bytes).unwrap().tensors().into_iter().map(|(n, t)| (n, floats(t.data()))).collect();
    let (d_in, d_sae) = (tensors["b_dec"].len(), tensors["b_enc"].len());
    let tensor = |name: &str| {
        let values = tensors[name].clone();
        let rows = values.len() / d_in;
        Tensor::from_vec(values, (rows, d_in), &Device::Cpu).unwrap()
    };
    let sae = Sae {
        config: SaeConfig {
            name: "recorded".into(),
            architecture: "standard",
            d_in,
            d_sae,
            hook: HookPoint { layer: 0, site: Site::ResidPost },
            module: None,
            normalize: Normalize::None,
            apply_b_dec_to_input: false,
            prepend_bos: true,
            space: Space::Raw,
            source: serde_json::Value::Null,
            folded: None,
            warnings: Vec::new(),
        },
        w_enc: tensor("W_enc"),
        b_enc: tensors["b_enc"].clone(),
        w_dec: tensor("W_dec"),
        b_dec: tensors["b_dec"].clone(),
        activation: Activation::Relu,
        decode_scale: None,
    };
    (sae, tensor("x"), tensors)
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn close(name: &str, found: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(found.len(), want.len(), "{name}");
    let worst = found.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= tolerance, "{name}: {worst} from torch");
}

#[test]
fn every_knob_gives_what_torch_gave() {
    let (sae, x, tensors) = recorded();
    let mut seen = 0;
    for (knob, at) in [8.0, 6.0, 4.0, 3.0, 2.0]
        .map(|bits| (Knob::Bits, bits))
        .into_iter()
        .chain([20.0, 12.0, 3.0, 1.0].map(|rank| (Knob::Rank, rank)))
        .chain([0.1, 0.5, 0.9].map(|share| (Knob::Latents(Criterion::Magnitude), share)))
    {
        let pruning = Pruning { order: made(&sae, knob), at };
        let name = format!("{}.{at}", knob.name());
        let written = sae.pruned(Some(&pruning)).unwrap();
        for (matrix, found) in [("W_enc", &written.w_enc), ("W_dec", &written.w_dec)] {
            match (knob, tensors.get(&format!("{name}.{matrix}"))) {
                // To the bit: the same codes by the same scales.
                (Knob::Bits, Some(want)) => assert_eq!(&values(found), want, "{name} {matrix}"),
                (_, Some(want)) => close(&format!("{name} {matrix}"), &values(found), want, 5e-6),
                (_, None) => {
                    let kept = &tensors[&format!("{name}.kept")];
                    for (latent, row) in values(found).chunks(sae.d_in()).enumerate() {
                        assert_eq!(row.iter().any(|w| *w != 0.0), kept[latent] == 1.0, "{name} #{latent}");
                    }
                }
            }
        }
        let encoded = sae.encode(&x, Some(&pruning)).unwrap();
        close(&name, &encoded.latents().unwrap().dense(), &tensors[&format!("{name}.latents")], 1e-5);
        close(
            &name,
            &values(&sae.decode(&encoded, Some(&pruning)).unwrap()),
            &tensors[&format!("{name}.recons")],
            5e-5,
        );
        seen += 1;
    }
    assert_eq!(seen, 12);
}
