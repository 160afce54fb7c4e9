//! Steps of training beside SAELens' own trainer: `tests/fixtures/training/record.py` recorded them, from the same weights on
//! the same batches.

use std::{collections::HashMap, fs};

use prunelens_core::train::{Architecture, Batch, Budget, Decoder, Jump, Sparsity, State, TrainSpec, Work};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::support::fixtures;

const D_IN: usize = 16;
const D_SAE: usize = 64;

/// A recorded run.
struct Recorded {
    tensors: HashMap<String, Vec<f64>>,
    about: Value,
}

impl Recorded {
    fn read(name: &str) -> Self {
        let bytes = fs::read(fixtures().join(format!("training/{name}.safetensors"))).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let about = header.metadata().as_ref().and_then(|m| m.get("about"));
        let about = about.map_or(Value::Null, |about| serde_json::from_str(about).unwrap());
        let read = |tensor: safetensors::tensor::TensorView| -> Vec<f64> {
            match tensor.dtype() {
                Dtype::F32 => tensor.data().as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
                Dtype::F64 => tensor.data().as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
                other => panic!("{other:?}"),
            }
        };
        let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
        Self { tensors: tensors.into_iter().map(|(name, tensor)| (name, read(tensor))).collect(), about }
    }

    fn number(&self, key: &str) -> f64 {
        self.about[key].as_f64().unwrap()
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.tensors[name].iter().map(|value| *value as f32).collect()
    }

    fn spec(&self, name: &str) -> TrainSpec {
        let settings = &self.about["settings"];
        let number = |key: &str, default: f64| settings[key].as_f64().unwrap_or(default);
        let l1 = number("l1_coefficient", 0.0);
        let batch = Batch::new(number("k", 0.0));
        let architecture = match name {
            "topk" => Architecture::TopK { k: batch.k as usize },
            "standard" => Architecture::Standard { l1, l1_warm_up: 0.0 },
            "gated" => Architecture::Gated { l1, l1_warm_up: 0.0 },
            "batchtopk" => Architecture::BatchTopK(batch),
            "matryoshka" => Architecture::Matryoshka {
                batch,
                widths: serde_json::from_value(settings["matryoshka_widths"].clone()).unwrap(),
            },
            _ => Architecture::JumpRelu(Jump {
                threshold: number("jumprelu_init_threshold", 0.0),
                bandwidth: number("jumprelu_bandwidth", 0.0),
                l0: number("l0_coefficient", 0.0),
                sparsity: match settings["jumprelu_sparsity_loss_mode"].as_str() {
                    Some("tanh") => Sparsity::Tanh { scale: 4.0 },
                    Some("quadratic") => Sparsity::Quadratic { target: number("target_l0", 0.0) },
                    _ => Sparsity::Step,
                },
                to_input: settings["jumprelu_ste_to_input"] == true,
                pull: number("pre_act_loss_coefficient", 0.0),
                ..Jump::default()
            }),
        };
        let auxiliary = if architecture.has_auxiliary() { 1.0 } else { 0.0 };
        TrainSpec {
            batch: self.number("batch") as usize,
            learning_rate: self.number("learning_rate"),
            warm_up: 0.0,
            decay: 0.0,
            decoder: Decoder::Free,
            clip: Some(1.0),
            auxiliary,
            dead_after: (self.number("dead_window") * self.number("batch")) as u64,
            ..TrainSpec::new(architecture, D_SAE, Budget::Tokens(1 << 20))
        }
    }

    /// The weights it began with.
    fn begin(&self, spec: &TrainSpec) -> State {
        let mut state = State::new(spec, D_IN, 1.0, &[]);
        let names = names(spec);
        for (name, values) in names.iter().zip(parts(&mut state)) {
            *values = self.floats(&format!("begin.{name}"));
        }
        state
    }

    /// The largest difference from what was recorded, as a share of the largest number there.
    fn difference(&self, name: &str, ours: impl Iterator<Item = f32>) -> f64 {
        let theirs = &self.tensors[name];
        let scale = theirs.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        ours.zip(theirs).map(|(a, b)| (f64::from(a) - b).abs()).fold(0.0, f64::max) / scale.max(1e-3)
    }
}

/// SAELens' names of the weights, in the order of [`parts`].
fn names(spec: &TrainSpec) -> Vec<&'static str> {
    let b_enc = if matches!(spec.architecture, Architecture::Gated { .. }) { "b_gate" } else { "b_enc" };
    [["W_enc", b_enc, "W_dec", "b_dec"].as_slice(), spec.architecture.vectors()].concat()
}

fn parts(state: &mut State) -> Vec<&mut Vec<f32>> {
    let w = &mut state.weights;
    [&mut w.w_enc, &mut w.b_enc, &mut w.w_dec, &mut w.b_dec].into_iter().chain(&mut w.vectors).collect()
}

/// Terms of the last step's loss by SAELens' names, the inner ones of matryoshka as one.
fn terms(state: &State) -> [(&'static str, f64); 6] {
    let sums = &state.recent;
    [
        ("mse_loss", sums.squared_error),
        ("l1_loss", sums.penalty),
        ("l0_loss", sums.penalty),
        ("pre_act_loss", sums.auxiliary),
        ("auxiliary_reconstruction_loss", sums.auxiliary),
        ("inner_mse_loss", sums.inner),
    ]
    .map(|(name, sum)| (name, sum / sums.tokens))
}

/// Of f32, where the same numbers are summed in another order.
const ROUNDING: f64 = 2e-5;

#[test]
fn every_kind_trains_as_saelens_does() {
    let x = Recorded::read("batches").floats("x");
    for kind in
        ["topk", "standard", "batchtopk", "matryoshka", "gated", "jumprelu_step", "jumprelu_tanh", "jumprelu_quadratic"]
    {
        let recorded = Recorded::read(kind);
        let spec = recorded.spec(kind);
        spec.check(D_IN).unwrap();
        let mut state = recorded.begin(&spec);
        let losses: Vec<&str> =
            recorded.about["losses"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        let (mut worst, mut work) = (0.0f64, Work::default());
        for (step, expected) in recorded.tensors["losses"].chunks(losses.len()).enumerate() {
            let batch = x.chunks(spec.batch * D_IN).cycle().nth(step).unwrap();
            // Only this step's sums.
            state.recent.decay(0.0);
            state.step(&spec, batch, 0.5, &mut work).unwrap();
            for (name, ours) in terms(&state) {
                let of = losses.iter().zip(expected).filter(|(of, _)| of.starts_with(name));
                let Some(theirs) = of.map(|(_, value)| *value).reduce(|a, b| a + b) else { continue };
                let difference = (ours - theirs).abs() / theirs.abs().max(0.1);
                worst = worst.max(difference);
                assert!(difference < 1e-4, "{kind}, step {step}, {name}: {ours}, SAELens {theirs}");
            }
            if step == 0 {
                // Adam's first moment is a tenth of the first gradient, as clipped.
                let adam = &state.adam;
                let moments = [&adam.w_enc, &adam.b_enc, &adam.w_dec, &adam.b_dec].into_iter().chain(&adam.vectors);
                for (name, moments) in names(&spec).iter().zip(moments) {
                    let gradient = moments.first.iter().map(|m| m * 10.0);
                    let difference = recorded.difference(&format!("gradient.{name}"), gradient);
                    assert!(difference < ROUNDING, "{kind}: gradient of {name} differs by {difference:e}");
                }
            }
            let limit = match step + 1 {
                5 => ROUNDING,
                50 => 2e-4,
                _ => continue,
            };
            for (name, weights) in names(&spec).iter().zip(parts(&mut state)) {
                let name = format!("after_{}.{name}", step + 1);
                let difference = recorded.difference(&name, weights.iter().copied());
                println!("{kind}: {name} differs by {difference:.1e} of its largest");
                assert!(difference < limit, "{kind}: {name} differs by {difference:e}");
            }
        }
        if let Some(theirs) = recorded.tensors.get("topk_threshold") {
            assert!((state.threshold - theirs[0]).abs() < 1e-6, "{kind}: {} {theirs:?}", state.threshold);
        }
        assert_eq!(state.dead(&spec).len() as f64, recorded.number("dead_at_the_end"), "{kind}");
        println!("{kind}: loss terms of 50 steps differ by {worst:.1e} at most");
    }
}
