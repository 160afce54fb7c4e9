//! Steps of training beside SAELens' own trainer: `tests/fixtures/training/record.py` recorded them, from the same weights on
//! the same batches. The same steps by the GPU's kernels, on a GPU where PRUNELENS_DEVICE is cuda, else compiled for the processor.

use std::{borrow::Cow, collections::HashMap, fs, sync::Arc};

use candle_core::{DType, Device, Tensor};
use prunelens_core::{
    data::rows::first_rows,
    demo,
    error::Result,
    model::Model,
    rng::Rng,
    train::{
        Adam, Architecture, Batch, Budget, Course, Decoder, DeviceState, Jump, Moments, Sparsity, State, TrainSpec,
        Trainer, Training, Work, activations::ModelActivations, stream::Activations,
    },
};
use prunelens_kernels::{device::Backend, ops};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::{
    kernels::backend,
    support::{device::at_edges, fixtures},
};

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

/// A state where its steps are taken.
enum Place {
    Here(Box<(State, Work)>),
    OnDevice(Box<DeviceState>, Arc<dyn Backend>),
}

impl Place {
    fn new(state: State, backend: Option<Arc<dyn Backend>>) -> Self {
        match backend {
            Some(backend) => Self::OnDevice(Box::new(DeviceState::upload(backend.clone(), state).unwrap()), backend),
            None => Self::Here(Box::new((state, Work::default()))),
        }
    }

    fn step(&mut self, spec: &TrainSpec, x: &[f32], progress: f64) -> Result<()> {
        match self {
            Self::Here(here) => here.0.step(spec, x, progress, &mut here.1),
            Self::OnDevice(state, backend) => {
                let d_in = state.course.recent.input.len();
                let x = Tensor::from_slice(x, (x.len() / d_in, d_in), backend.device()).unwrap();
                state.step(spec, &x, progress)
            }
        }
    }

    fn course(&mut self) -> &mut Course {
        match self {
            Self::Here(here) => &mut here.0.course,
            Self::OnDevice(state, _) => &mut state.course,
        }
    }

    fn state(&self) -> Cow<'_, State> {
        match self {
            Self::Here(here) => Cow::Borrowed(&here.0),
            Self::OnDevice(state, _) => Cow::Owned(state.download().unwrap()),
        }
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

fn moments(adam: &Adam) -> Vec<&Moments> {
    [&adam.w_enc, &adam.b_enc, &adam.w_dec, &adam.b_dec].into_iter().chain(&adam.vectors).collect()
}

/// Terms of the last step's loss by SAELens' names, the inner ones of matryoshka as one.
fn terms(course: &Course) -> [(&'static str, f64); 6] {
    let sums = &course.recent;
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
    every_kind_trains(None);
}

#[test]
fn every_kind_trains_so_by_the_kernels_for_gpus() {
    let Some(backend) = backend() else { return };
    every_kind_trains(Some(backend));
}

fn every_kind_trains(backend: Option<Arc<dyn Backend>>) {
    let x = Recorded::read("batches").floats("x");
    for kind in
        ["topk", "standard", "batchtopk", "matryoshka", "gated", "jumprelu_step", "jumprelu_tanh", "jumprelu_quadratic"]
    {
        let recorded = Recorded::read(kind);
        let spec = recorded.spec(kind);
        spec.check(D_IN).unwrap();
        let mut place = Place::new(recorded.begin(&spec), backend.clone());
        let losses: Vec<&str> =
            recorded.about["losses"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        let mut worst = 0.0f64;
        for (step, expected) in recorded.tensors["losses"].chunks(losses.len()).enumerate() {
            let batch = x.chunks(spec.batch * D_IN).cycle().nth(step).unwrap();
            // Only this step's sums.
            place.course().recent.decay(0.0);
            place.step(&spec, batch, 0.5).unwrap();
            for (name, ours) in terms(place.course()) {
                let of = losses.iter().zip(expected).filter(|(of, _)| of.starts_with(name));
                let Some(theirs) = of.map(|(_, value)| *value).reduce(|a, b| a + b) else { continue };
                let difference = (ours - theirs).abs() / theirs.abs().max(0.1);
                worst = worst.max(difference);
                assert!(difference < 1e-4, "{kind}, step {step}, {name}: {ours}, SAELens {theirs}");
            }
            if step == 0 {
                // Adam's first moment is a tenth of the first gradient, as clipped.
                for (name, moments) in names(&spec).iter().zip(moments(&place.state().adam)) {
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
            let mut state = place.state().into_owned();
            for (name, weights) in names(&spec).iter().zip(parts(&mut state)) {
                let name = format!("after_{}.{name}", step + 1);
                let difference = recorded.difference(&name, weights.iter().copied());
                println!("{kind}: {name} differs by {difference:.1e} of its largest");
                assert!(difference < limit, "{kind}: {name} differs by {difference:e}");
            }
        }
        if let Some(theirs) = recorded.tensors.get("topk_threshold") {
            let ours = place.course().threshold;
            assert!((ours - theirs[0]).abs() < 1e-6, "{kind}: {ours} {theirs:?}");
        }
        let (dead, theirs) = (place.course().dead(&spec).len(), recorded.number("dead_at_the_end"));
        let at_edges = backend.as_ref().map_or(0, |backend| at_edges(backend.device(), spec.d_sae));
        assert!((dead as f64 - theirs).abs() <= at_edges as f64, "{kind}: {dead} are dead, {theirs} were");
        println!("{kind}: loss terms of 50 steps differ by {worst:.1e} at most");
    }
}

/// Sums of a few of some directions, of which there are fewer than channels.
fn activations(rng: &mut Rng, tokens: usize, d_in: usize) -> Vec<f32> {
    let directions: Vec<f32> = (0..40 * d_in).map(|_| rng.normal() as f32).collect();
    let mut x = vec![0.1; tokens * d_in];
    for row in x.chunks_mut(d_in) {
        for _ in 0..5 {
            let (strength, at) = (rng.unit() as f32, rng.below(40));
            row.iter_mut().zip(&directions[at * d_in..]).for_each(|(x, d)| *x += strength * d);
        }
    }
    x
}

/// Length of the difference, as a share of the length. (Adam's first steps are as long for a gradient that is nothing but
/// rounding as for any other, so that single weights may differ by more.)
fn apart(a: &[f32], b: &[f32]) -> f64 {
    let length = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let wide = |v: &f32| f64::from(*v);
    length(&mut a.iter().zip(b).map(|(a, b)| wide(a) - wide(b))) / length(&mut a.iter().map(wide)).max(1e-6)
}

#[test]
fn kernels_take_the_steps_of_the_cpu_at_sizes_that_nothing_divides() {
    let Some(backend) = backend() else { return };
    // More columns than a block has threads, more tokens than a tile, several blocks of a search.
    let (d_in, d_sae, tokens) = (261, 141, 70);
    let budget = Budget::Tokens(1 << 20);
    let batch = Batch::new(6.5);
    let jump = Jump { l0: 0.05, to_input: true, pull: 1e-2, ..Jump::default() };
    let (unit, free) = ((Decoder::Unit, None), (Decoder::Free, Some(0.5)));
    for (architecture, decoders) in [
        (Architecture::TopK { k: 7 }, &[unit, free][..]),
        (Architecture::BatchTopK(batch), &[unit]),
        (Architecture::Matryoshka { batch, widths: vec![30, 31, d_sae] }, &[free]),
        (Architecture::Standard { l1: 0.3, l1_warm_up: 0.0 }, &[unit, free]),
        (Architecture::Gated { l1: 0.3, l1_warm_up: 0.0 }, &[free]),
        (Architecture::JumpRelu(jump), &[unit]),
    ] {
        'runs: for &(decoder, clip) in decoders {
            // Latents die at once, so that the last steps teach dead ones.
            let spec = TrainSpec {
                decoder,
                clip,
                dead_after: tokens as u64,
                learning_rate: 1e-3,
                ..TrainSpec::new(architecture.clone(), d_sae, budget)
            };
            let mut rng = Rng::new(7, 0);
            let x = activations(&mut rng, tokens, d_in);
            let state = State::new(&spec, d_in, 1.0, &x);
            let (mut here, mut there) = (Place::new(state.clone(), None), Place::new(state, Some(backend.clone())));
            for step in 0..4 {
                let x = activations(&mut rng, tokens, d_in);
                here.step(&spec, &x, 0.5).unwrap();
                there.step(&spec, &x, 0.5).unwrap();
                let (here, there) = (here.course(), there.course());
                let of = format!("{architecture}, {decoder:?}, step {step}");
                let differ = here.last_fired.iter().zip(&there.last_fired).filter(|(a, b)| a != b).count();
                assert!(differ <= at_edges(backend.device(), d_sae), "{of}: {differ} latents fired in one place alone");
                if differ > 0 {
                    println!("{of}: {differ} latents fired in one place alone; what follows from them is not compared");
                    continue 'runs;
                }
                let difference = (here.recent.loss() - there.recent.loss()).abs() / here.recent.loss();
                assert!(difference < 1e-5, "{of}: the loss differs by {difference:e}");
                assert!((here.threshold - there.threshold).abs() <= 1e-5 * here.threshold, "{of}");
            }
            let (mut a, mut b) = (here.state().into_owned(), there.state().into_owned());
            let dead = a.course.dead(&spec).len();
            assert!(dead > 3 || !architecture.has_auxiliary(), "{architecture}: none died");
            let of_adam = moments(&a.adam).into_iter().zip(moments(&b.adam)).map(|(a, b)| apart(&a.first, &b.first));
            let of_adam: Vec<f64> = of_adam.collect();
            let weights = parts(&mut a).into_iter().zip(parts(&mut b)).map(|(a, b)| apart(a, b));
            // The last of a batch to be chosen may be another where two are equal but for rounding.
            for (name, (weights, gradients)) in names(&spec).iter().zip(weights.zip(of_adam)) {
                println!(
                    "{architecture}, {decoder:?}: {name} differs by {weights:.1e}, its gradient by {gradients:.1e}"
                );
                assert!(weights < 3e-3 && gradients < 1e-3, "{architecture}, {decoder:?}: {name}");
            }
        }
    }
}

/// The loss of 200 steps, one after the other. Single weights part as rounding grows; what is learned does not.
#[test]
fn losses_of_two_hundred_steps_on_a_gpu_are_those_on_the_cpu() {
    let Some(backend) = backend() else { return };
    let (d_in, d_sae, tokens, steps) = (24, 48, 32, 200);
    let batch = Batch::new(4.0);
    for architecture in [
        Architecture::TopK { k: 4 },
        Architecture::BatchTopK(batch),
        Architecture::Matryoshka { batch, widths: vec![16, d_sae] },
        Architecture::Standard { l1: 0.3, l1_warm_up: 0.0 },
        Architecture::Gated { l1: 0.3, l1_warm_up: 0.0 },
        Architecture::JumpRelu(Jump { l0: 0.05, ..Jump::default() }),
    ] {
        let spec = TrainSpec {
            dead_after: 20 * tokens as u64,
            learning_rate: 1e-3,
            ..TrainSpec::new(architecture.clone(), d_sae, Budget::Tokens((steps * tokens) as u64))
        };
        let mut rng = Rng::new(7, 0);
        let state = State::new(&spec, d_in, 1.0, &activations(&mut rng, tokens, d_in));
        let (mut here, mut there) = (Place::new(state.clone(), None), Place::new(state, Some(backend.clone())));
        let (mut first, mut worst) = (0.0, 0.0_f64);
        for step in 0..steps {
            // The same directions each time: there is something to learn.
            let x = activations(&mut Rng::new(7, 0), tokens, d_in);
            let losses = [&mut here, &mut there].map(|place| {
                place.course().recent.decay(0.0);
                place.step(&spec, &x, step as f64 / steps as f64).unwrap();
                place.course().recent.loss()
            });
            if step == 0 {
                first = losses[0];
            }
            worst = worst.max((losses[0] - losses[1]).abs() / first);
            assert!(worst < 1e-3, "{architecture}, step {step}: {losses:?}");
        }
        let last = here.course().recent.loss();
        println!("{architecture}: from {first:.4} to {last:.4}; at most {worst:.1e} of the first apart");
        assert!(last < 0.7 * first, "{architecture} learned nothing: {first} to {last}");
    }
}

/// Train on the demo's model and its calibration text, on a hook of each width, from a saved state if there is one; what is saved
/// after so many steps.
fn train(model: &Arc<Model>, all: &[(TrainSpec, usize)], from: Option<&[Vec<u8>]>, steps: usize) -> Vec<Vec<u8>> {
    let tokenizer = demo::tokenizer(model).unwrap();
    let texts = demo::calibration().unwrap();
    let rows = first_rows(&tokenizer, texts.iter().map(String::as_str), 32, true, 40).unwrap();
    let hooks = ["blocks.1.hook_resid_post", "blocks.0.hook_mlp_out"].map(|hook| hook.parse().unwrap());
    let source = ModelActivations::new(model.clone(), hooks.to_vec(), tokenizer.specials(), rows, None, 0, 1 << 20);
    let widths = source.widths();
    let mut training = Training::new(Box::new(source), all.to_vec()).unwrap();
    for ((trainer, bytes), (_, hook)) in training.trainers_mut().iter_mut().zip(from.into_iter().flatten()).zip(all) {
        trainer.restore(bytes, widths[*hook]).unwrap();
    }
    for _ in 0..steps {
        assert!(training.step(&mut |_, _| {}, &mut || Ok(())).unwrap());
    }
    let saved = |trainer: &mut Trainer| {
        assert!(trainer.take_error().is_none());
        trainer.to_bytes().unwrap().unwrap()
    };
    training.trainers_mut().iter_mut().map(saved).collect()
}

#[test]
fn training_on_a_gpu_is_that_on_the_cpu_wherever_it_is_taken_up() {
    let Some(backend) = backend() else { return };
    let load = |device: &Device| demo::model(device, DType::F32, &mut |_| Ok(())).unwrap();
    let here = Arc::new(load(&Device::Cpu));
    let there = Arc::new(Model { ops: ops::on(Some(backend.clone())), ..load(backend.device()) });
    let spec = |architecture| TrainSpec {
        batch: 64,
        buffer: 300,
        dead_after: 500,
        learning_rate: 1e-3,
        ..TrainSpec::new(architecture, 48, Budget::Tokens(1 << 30))
    };
    let normed = TrainSpec { layer_norm: true, ..spec(Architecture::Gated { l1: 0.3, l1_warm_up: 0.0 }) };
    let all = [(spec(Architecture::TopK { k: 4 }), 0), (normed, 1)];
    let read = |bytes: &[u8], name: &str| -> Vec<f32> {
        let file = SafeTensors::deserialize(bytes).unwrap();
        file.tensor(name).unwrap().data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    // What a model in 16 bits gives is trained on in f32.
    let narrow = Model {
        ops: ops::on(Some(backend.clone())),
        ..demo::model(backend.device(), DType::BF16, &mut |_| Ok(())).unwrap()
    };
    for (found, want) in train(&Arc::new(narrow), &all, None, 4).iter().zip(&train(&here, &all, None, 4)) {
        let difference = apart(&read(found, "first.W_enc"), &read(want, "first.W_enc"));
        println!("on a model in bf16 gradients by W_enc differ by {difference:.1e} over 4 steps");
        assert!(0.0 < difference && difference < 0.1, "gradients by W_enc differ by {difference:e}");
    }
    // A buffer has five batches: it is filled several times.
    let want = train(&here, &all, None, 23);
    let half = train(&there, &all, None, 11);
    for model in [&there, &here] {
        for (found, want) in train(model, &all, Some(&half), 12).iter().zip(&want) {
            for name in ["W_enc", "b_enc", "W_dec", "b_dec", "first.W_enc", "second.W_dec"] {
                let difference = apart(&read(found, name), &read(want, name));
                println!("{name} differs by {difference:.1e} after 23 steps");
                assert!(difference < 1e-3, "{name} differs by {difference:e}");
            }
        }
    }
}
