//! Against whole passes of the model itself, and gradients against finite differences of its f64 form.

use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::model::{HookPoint, Site};

const FAMILIES: [&str; 5] = ["gpt2", "llama", "neox", "gemma2", "gemma3"];

fn model(family: &str, dtype: DType) -> Model {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/parity/models").join(family);
    Model::load(&dir, &Device::Cpu, dtype, &mut |_| Ok(())).unwrap()
}

fn ids(n: usize, seed: u32) -> Vec<u32> {
    (0..n as u32).map(|i| (i * 37 + seed * 101 + 5) % 500).collect()
}

fn close(a: &Tensor, b: &Tensor, within: f32) {
    let (a, b) =
        (a.flatten_all().unwrap().to_vec1::<f32>().unwrap(), b.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    assert_eq!(a.len(), b.len());
    for (at, (a, b)) in a.iter().zip(&b).enumerate() {
        assert!((a - b).abs() <= within * (1.0 + b.abs()), "at {at}: {a} {b}");
    }
}

fn quiet() -> Result<()> {
    Ok(())
}

fn hooks(model: &Model) -> Vec<HookPoint> {
    let all = Site::ALL.into_iter().map(|site| HookPoint { layer: 1, site });
    all.filter(|hook| model.check_hook(*hook).is_ok()).collect()
}

/// Two texts with a beginning in common, and one without.
fn texts(model: &Model) -> (Vec<Vec<u32>>, Vec<Text>, Vec<Vec<u32>>) {
    let shared = ids(9, 1);
    let prefix = model.prefix(&shared, &mut quiet).unwrap();
    let tails = vec![ids(4, 2), ids(7, 3), ids(6, 4)];
    let whole = vec![[&shared[..], &tails[0]].concat(), [&shared[..], &tails[1]].concat(), tails[2].clone()];
    let texts = vec![Text::after(Some(prefix.clone())), Text::after(Some(prefix)), Text::default()];
    (whole, texts, tails)
}

fn rows(ids: &[u32]) -> Tensor {
    Tensor::new(ids, &Device::Cpu).unwrap().unsqueeze(0).unwrap()
}

#[test]
fn texts_side_by_side_are_read_as_alone() {
    for family in FAMILIES {
        let model = model(family, DType::F32);
        let (whole, texts, tails) = texts(&model);
        let new: Vec<&[u32]> = tails.iter().map(Vec::as_slice).collect();
        for hook in hooks(&model) {
            let stopped = model.read_to(texts.clone(), &new, hook, &mut quiet).unwrap();
            let changed = (&stopped.acts * 0.5).unwrap();
            let (_, last) = model.read_on(stopped.clone(), &changed, &mut quiet).unwrap();
            let traced = model.trace(&stopped, &changed, &mut quiet).unwrap();
            close(&traced.last, &last, 1e-5);
            let mut start = 0;
            for (whole, tail) in whole.iter().zip(&tails) {
                let captured = model.capture(&rows(whole), hook, &mut quiet).unwrap();
                let skipped = whole.len() - tail.len();
                let acts = captured.acts.squeeze(0).unwrap();
                close(
                    &stopped.acts.narrow(0, start, tail.len()).unwrap(),
                    &acts.narrow(0, skipped, tail.len()).unwrap(),
                    2e-5,
                );
                // The same change of the tail alone.
                let factors: Vec<f32> = (0..whole.len()).map(|t| if t < skipped { 1.0 } else { 0.5 }).collect();
                let factors = Tensor::new(factors, &Device::Cpu).unwrap().unsqueeze(1).unwrap();
                let want = model.resume(&captured, &acts.broadcast_mul(&factors).unwrap(), &mut quiet).unwrap();
                let want = want.squeeze(0).unwrap().narrow(0, skipped, tail.len()).unwrap();
                close(&last.narrow(0, start, tail.len()).unwrap(), &want, 5e-5);
                start += tail.len();
            }
        }
    }
}

#[test]
fn reading_on_continues_as_whole_passes_do() {
    for family in FAMILIES {
        let model = model(family, DType::F32);
        let (whole, texts, tails) = texts(&model);
        let new: Vec<&[u32]> = tails.iter().map(Vec::as_slice).collect();
        let (read, last) = model.read(texts, &new, &mut quiet).unwrap();
        let logits = model.last_logits(&last, &[4, 7, 6]).unwrap();
        let answer = |texts: &[Text], end| model.continue_texts(texts.to_vec(), &logits, 5, end, &mut quiet).unwrap();
        let answers = answer(&read, None);
        let hook = HookPoint { layer: 0, site: Site::ResidPre };
        for (whole, answer) in whole.iter().zip(&answers) {
            let mut text = whole.clone();
            for id in answer {
                let captured = model.capture(&rows(&text), hook, &mut quiet).unwrap();
                let last = model.finish(&captured, &mut quiet).unwrap();
                let logits = model.logits(&last.narrow(1, text.len() - 1, 1).unwrap()).unwrap();
                assert_eq!(model.ops.likeliest(&logits.reshape((1, ())).unwrap()).unwrap(), [*id], "{family}");
                text.push(*id);
            }
        }
        // A text that ends leaves the others as they were.
        let end = answers[1][2];
        for (answer, whole) in answer(&read, Some(end)).iter().zip(&answers) {
            let upto = whole.iter().position(|id| *id == end).map_or(whole.len(), |at| at + 1);
            assert_eq!(answer, &whole[..upto], "{family}");
        }
    }
}

#[test]
fn gradients_are_finite_differences() {
    for family in FAMILIES {
        let (single, double) = (model(family, DType::F32), model(family, DType::F64));
        let (whole, texts, tails) = texts(&single);
        let new: Vec<&[u32]> = tails.iter().map(Vec::as_slice).collect();
        for hook in hooks(&single) {
            let stopped = single.read_to(texts.clone(), &new, hook, &mut quiet).unwrap();
            let trace = single.trace(&stopped, &stopped.acts, &mut quiet).unwrap();
            let (n, vocab) = trace.logits.dims2().unwrap();
            let weights: Vec<f32> = (0..n * vocab).map(|i| ((i * 29 % 83) as f32 / 83.0 - 0.5) * 0.3).collect();
            let by_logits = Tensor::from_vec(weights.clone(), (n, vocab), &Device::Cpu).unwrap();
            let found = trace.vjp(&by_logits, &mut quiet).unwrap();
            let width = found.dim(1).unwrap();
            let mut start = 0;
            for (text, (whole, tail)) in whole.iter().zip(&tails).enumerate() {
                let captured = double.capture(&rows(whole), hook, &mut quiet).unwrap();
                let acts = captured.acts.to_dtype(DType::F64).unwrap();
                let weights =
                    Tensor::from_slice(&weights[text * vocab..(text + 1) * vocab], vocab, &Device::Cpu).unwrap();
                let loss = |acts: &Tensor| {
                    let last = double.resume(&captured, acts, &mut quiet).unwrap();
                    let last = last.squeeze(0).unwrap().narrow(0, whole.len() - 1, 1).unwrap();
                    let logits =
                        double.unembed.forward(&double.ln_final.forward(&last, &*double.ops).unwrap()).unwrap();
                    let logits = prunelens_kernels::ops::softcap(logits, double.config.logit_softcap).unwrap();
                    let product = (logits.squeeze(0).unwrap() * weights.to_dtype(DType::F64).unwrap()).unwrap();
                    product.sum_all().unwrap().to_scalar::<f64>().unwrap()
                };
                for (token, column) in [(0, 0), (1, 7), (tail.len() - 2, width - 1), (tail.len() - 1, 3)] {
                    let at = whole.len() - tail.len() + token;
                    let mut values = acts.flatten_all().unwrap().to_vec1::<f64>().unwrap();
                    let step = 1e-5 * (1.0 + values[at * width + column].abs());
                    let mut moved = |by: f64| {
                        values[at * width + column] += by;
                        loss(&Tensor::from_slice(&values, acts.shape(), &Device::Cpu).unwrap())
                    };
                    let want = (moved(step) - moved(-2.0 * step)) / (2.0 * step);
                    let got = found.get(start + token).unwrap().get(column).unwrap().to_scalar::<f32>().unwrap();
                    let got = f64::from(got);
                    assert!(
                        (got - want).abs() < 2e-5 + 1e-3 * want.abs(),
                        "{family} {hook}, text {text}, token {token}, column {column}: {got}, expected {want}"
                    );
                }
                start += tail.len();
            }
        }
    }
}

#[test]
fn the_loss_of_a_row_goes_back_to_the_hook() {
    for family in FAMILIES {
        let (single, double) = (model(family, DType::F32), model(family, DType::F64));
        let read = [ids(11, 5), ids(11, 6)];
        let both = Tensor::new(read.concat(), &Device::Cpu).unwrap().reshape((2, 11)).unwrap();
        // The last token predicts nothing, and one in the middle does not count.
        let target = |t: usize| (t < 10 && t != 4).then(|| read[1][t + 1]);
        let targets: Vec<Option<u32>> = (0..11).map(target).collect();
        for hook in hooks(&single) {
            let row = single.capture(&both, hook, &mut quiet).unwrap().row(1).unwrap();
            let stopped = Stopped::at(&single, &row).unwrap();
            let trace = single.trace(&stopped, &stopped.acts, &mut quiet).unwrap();
            let (found_loss, found) = trace.loss_vjp(&targets, &mut quiet).unwrap();
            let captured = double.capture(&rows(&read[1]), hook, &mut quiet).unwrap();
            let loss = |acts: &Tensor| {
                let last = double.resume(&captured, acts, &mut quiet).unwrap().squeeze(0).unwrap();
                let x = double.ln_final.forward(&last, &*double.ops).unwrap();
                let logits = double.unembed.forward(&x).unwrap();
                let logits = prunelens_kernels::ops::softcap(logits, double.config.logit_softcap).unwrap();
                let logits = logits.to_vec2::<f64>().unwrap();
                let ce = |(logits, target): (&Vec<f64>, &Option<u32>)| {
                    let total = logits.iter().map(|v| v.exp()).sum::<f64>().ln();
                    target.map(|target| total - logits[target as usize])
                };
                logits.iter().zip(&targets).filter_map(ce).sum::<f64>()
            };
            let acts = captured.acts.to_dtype(DType::F64).unwrap();
            let want = loss(&acts);
            assert!((found_loss - want).abs() < 1e-5 * want, "{family} {hook}: {found_loss}, expected {want}");
            let width = found.dim(1).unwrap();
            for (token, column) in [(0, 1), (4, 0), (5, width - 1), (9, 3)] {
                let mut values = acts.flatten_all().unwrap().to_vec1::<f64>().unwrap();
                let step = 1e-5 * (1.0 + values[token * width + column].abs());
                let mut moved = |by: f64| {
                    values[token * width + column] += by;
                    loss(&Tensor::from_slice(&values, acts.shape(), &Device::Cpu).unwrap())
                };
                let want = (moved(step) - moved(-2.0 * step)) / (2.0 * step);
                let got = f64::from(found.get(token).unwrap().get(column).unwrap().to_scalar::<f32>().unwrap());
                assert!(
                    (got - want).abs() < 2e-4 + 1e-3 * want.abs(),
                    "{family} {hook} {token} {column}: {got}, {want}"
                );
            }
        }
    }
}
