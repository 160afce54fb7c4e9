//! Numbers of the reference stack: walks `index.json` of a fixture set and checks every case in it.
//!
//! The folder is `PRUNELENS_PARITY_FIXTURES` if set, else `tests/fixtures/parity`.

mod judge;
mod saes;

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use candle_core::{DType, Device, Tensor};
use prunelens_core::{
    compare::{
        Reader, Variant,
        splice::{losses, mean, next_tokens},
    },
    model::{HookPoint, Model, Part, Space, Tokenizer},
    prune::Sparsity,
    sae,
    session::token_tensor,
};
use serde_json::Value;

use crate::support::{device::TestDevice, fixtures, floats};

use self::{judge::*, saes::*};

type Tensors = HashMap<String, Tensor>;

fn root() -> PathBuf {
    std::env::var_os("PRUNELENS_PARITY_FIXTURES").map_or_else(|| fixtures().join("parity"), PathBuf::from)
}

fn tensors(path: &Path) -> Tensors {
    candle_core::safetensors::load(path, &Device::Cpu).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn tokens(t: &Tensor) -> Vec<u32> {
    t.to_dtype(DType::U32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn rows(t: &Tensor) -> Vec<Vec<u32>> {
    t.to_dtype(DType::U32).unwrap().to_vec2().unwrap()
}

fn space(name: &str) -> Space {
    if name == "tl" { Space::Tl } else { Space::Raw }
}

/// A model of the fixtures with its inputs.
struct Subject {
    model: Arc<Model>,
    /// Pruned by canonical Wanda, if by the same masks.
    wanda: Option<Arc<Model>>,
    prompts: Vec<Vec<u32>>,
}

fn no_progress(_: prunelens_core::progress::Progress) -> prunelens_core::error::Result<()> {
    Ok(())
}

fn one(ids: &[u32], model: &Model) -> Tensor {
    token_tensor(&[ids.to_vec()], model).unwrap()
}

#[test]
fn the_reference_stack() {
    check(&TestDevice::asked(), DType::F32);
}

/// The way of a GPU gives the reference's numbers too, as far as it can be tried without one: SAEs and their pruning by its
/// kernels, and models by candle's operations, which the processor leaves to our own loops in f32 only.
#[test]
fn the_way_of_a_gpu() {
    if let Some(place) = TestDevice::stand_in() {
        check(&place, DType::F32);
    }
}

fn check(place: &TestDevice, dtype: DType) {
    let root = root();
    // Python writes infinity bare, which is not JSON.
    let index = std::fs::read_to_string(root.join("index.json")).unwrap().replace(": Infinity", ": null");
    let index: Value = serde_json::from_str(&index).unwrap();
    let tolerance = Tolerance(&index["tolerances"]);
    let mut report = Report::of(place);
    let mut subjects = HashMap::new();
    for case in index["models"].as_array().unwrap() {
        let arch = case["arch"].as_str().unwrap().to_owned();
        let subject = check_model(place, dtype, &root, case, &tolerance, &mut report);
        subjects.insert(arch, subject);
    }
    for case in index["saes"].as_array().unwrap() {
        let subject = &subjects[case["arch"].as_str().unwrap()];
        check_sae(place, &root, case, subject, &tolerance, &mut report);
    }
    for case in index["reject"].as_array().unwrap() {
        let dir = root.join(case["files"][0].as_str().unwrap());
        let result = match sae::formats::load(&dir) {
            Ok(_) => Err("was loaded".into()),
            // For the reason that the case is there for, not for any.
            Err(e) => {
                let (why, message) = (case["why"].as_str().unwrap(), e.to_string());
                let words: &[&str] = match why {
                    "transcoder: input and output are different hooks" => &["architecture", "transcoder"],
                    "sparsify transcoder (transcode: true)" => &["transcode", "transcoder"],
                    "cfg.json d_sae does not match the tensors" => &["d_sae", "tensors"],
                    other => panic!("no words are known for the reason {other:?}"),
                };
                match words.iter().find(|word| !message.contains(**word)) {
                    Some(word) => Err(format!("refused without {word:?}: {message}")),
                    None => Ok(()),
                }
            }
        };
        report.add("reject", case["why"].to_string(), result);
    }
    report.finish();
}

fn check_model(
    place: &TestDevice,
    dtype: DType,
    root: &Path,
    case: &Value,
    tolerance: &Tolerance,
    report: &mut Report,
) -> Subject {
    let arch = case["arch"].as_str().unwrap();
    let dir = root.join(case["dir"].as_str().unwrap());
    let model = place.model(&dir, dtype).unwrap();
    let tokenizer = Tokenizer::load(&dir, &model.config).unwrap();
    let expected = tensors(&root.join(case["expected"].as_str().unwrap()));
    let hooks: Vec<HookPoint> =
        case["hooks"].as_array().unwrap().iter().map(|h| h.as_str().unwrap().parse().unwrap()).collect();
    let mut prompts = Vec::new();
    for (n, prompt) in case["prompts"].as_array().unwrap().iter().enumerate() {
        let ids = tokenizer.encode(prompt.as_str().unwrap(), true).unwrap();
        let want = tokens(&expected[&format!("p{n}.tokens")]);
        let result = if ids == want { Ok(()) } else { Err(format!("tokens {ids:?}, expected {want:?}")) };
        report.add("tokens", format!("{arch} p{n}"), result);
        check_pass(&model, &format!("{arch} p{n}"), &want, &expected, &format!("p{n}"), &hooks, tolerance, report);
        prompts.push(want);
    }
    // The same numbers from weights with the default processing applied.
    let processed = model.process().unwrap();
    for (n, ids) in prompts.iter().enumerate() {
        let name = format!("{arch} p{n} processed weights");
        check_processed(&processed, &name, ids, &expected, &format!("p{n}"), &hooks, tolerance, report);
    }

    let wanda = tensors(&root.join(case["wanda"]["expected"].as_str().unwrap()));
    let calibration = [rows(&wanda["calib_ids"])];
    let pruned = model.wanda(&calibration, Sparsity::Ratio(0.5), &mut no_progress).unwrap();
    let same = check_masks(&pruned, arch, "mask", &wanda, report);
    let two_four = model.wanda(&calibration, Sparsity::NM(2, 4), &mut no_progress).unwrap();
    check_masks(&two_four, arch, "mask_2_4", &wanda, report);
    for (n, ids) in prompts.iter().enumerate().filter(|_| same) {
        check_pass(&pruned, &format!("{arch} wanda p{n}"), ids, &wanda, &format!("p{n}"), &hooks, tolerance, report);
    }
    if let Some(paper) = case.get("paper") {
        let expected = tensors(&root.join(paper["expected"].as_str().unwrap()));
        let pruned = model.paper(&tokens(&expected["doc0"]), 0.5, &mut no_progress).unwrap();
        let same = check_paper_masks(&pruned, arch, &expected, report);
        // The same model as TransformerLens saves it.
        if let Some(path) = paper.get("tl_state_dict") {
            let path = root.join(path.as_str().unwrap());
            let loaded = model.with_state_dict(&path, &mut no_progress).unwrap();
            assert!(loaded.processed);
            let same = check_paper_masks(&loaded, &format!("{arch} state dict"), &expected, report);
            for (n, ids) in prompts.iter().enumerate().filter(|_| same) {
                let name = format!("{arch} state dict p{n}");
                check_processed(&loaded, &name, ids, &expected, &format!("p{n}"), &hooks, tolerance, report);
            }
        }
        for (n, ids) in prompts.iter().enumerate().filter(|_| same) {
            let name = format!("{arch} paper p{n}");
            check_processed(&pruned, &name, ids, &expected, &format!("p{n}"), &hooks, tolerance, report);
        }
    }
    Subject { model: Arc::new(model), wanda: same.then(|| Arc::new(pruned)), prompts }
}

/// Activations at every hook, in raw and (where the file has it) tl space, and logits.
#[allow(clippy::too_many_arguments)]
fn check_pass(
    model: &Model,
    name: &str,
    ids: &[u32],
    expected: &Tensors,
    prompt: &str,
    hooks: &[HookPoint],
    tolerance: &Tolerance,
    report: &mut Report,
) {
    let model = Arc::new(model.clone());
    for hook in hooks {
        let captured = model.capture(&one(ids, &model), *hook, &mut || Ok(())).unwrap();
        let raw = tolerance.check("activations", &floats(&captured.acts), &expected[&format!("{prompt}.raw.{hook}")]);
        report.add("model", format!("{name} {hook} raw"), raw);
        if let Some(want) = expected.get(&format!("{prompt}.tl.{hook}")) {
            let offset = model.offset(*hook, Space::Tl).unwrap();
            let x = captured.acts.flatten_to(1).unwrap();
            let tl = match offset {
                prunelens_core::model::processing::Offset::None => x,
                prunelens_core::model::processing::Offset::Fixed(v) => x.broadcast_sub(&v).unwrap(),
                prunelens_core::model::processing::Offset::Mean => {
                    x.broadcast_sub(&x.mean_keepdim(1).unwrap()).unwrap()
                }
            };
            report.add("model", format!("{name} {hook} tl"), tolerance.check("activations", &floats(&tl), want));
        }
        // Whatever the hook, going on from it gives the same logits.
        let last = model.finish(&captured, &mut || Ok(())).unwrap();
        let logits = floats(&model.logits(&last).unwrap());
        let result = tolerance.check("logits", &logits, &expected[&format!("{prompt}.raw.logits")]);
        report.add("model", format!("{name} logits from {hook}"), result);
        if let Some(want) = expected.get(&format!("{prompt}.raw.ce")) {
            let last = last.flatten_to(1).unwrap();
            let (ce, _) = losses(&model, &last, &[], &next_tokens(&[ids.to_vec()]), &mut || Ok(())).unwrap();
            report.add("model", format!("{name} ce"), tolerance.check("ce", &[mean(&ce) as f32], want));
        }
    }
}

/// Activations and logits of a model whose weights are processed; where the spaces agree the file has raw values only.
#[allow(clippy::too_many_arguments)]
fn check_processed(
    model: &Model,
    name: &str,
    ids: &[u32],
    expected: &Tensors,
    prompt: &str,
    hooks: &[HookPoint],
    tolerance: &Tolerance,
    report: &mut Report,
) {
    let want = |what: &str| {
        expected.get(&format!("{prompt}.tl.{what}")).or_else(|| expected.get(&format!("{prompt}.raw.{what}"))).unwrap()
    };
    for hook in hooks {
        let captured = model.capture(&one(ids, model), *hook, &mut || Ok(())).unwrap();
        let result = tolerance.check("activations", &floats(&captured.acts), want(&hook.to_string()));
        report.add("model", format!("{name} {hook}"), result);
        let last = model.finish(&captured, &mut || Ok(())).unwrap();
        // Centred logits and uncentred ones differ by a constant a token.
        let center = |t: &Tensor| floats(&t.broadcast_sub(&t.mean_keepdim(1).unwrap()).unwrap());
        let logits = model.logits(&last).unwrap().flatten_to(1).unwrap();
        let want = center(want("logits"));
        report.add("model", format!("{name} logits"), close(&center(&logits), &want, 1e-3, 1e-4));
    }
}

/// Whether all are those of the fixture.
fn check_masks(pruned: &Model, arch: &str, kind: &str, expected: &Tensors, report: &mut Report) -> bool {
    let mut same = true;
    for matrix in pruned.checkpoint_matrices().unwrap() {
        let weight = &pruned.blocks[matrix.layer].linear(matrix.part).weight;
        let rows: Vec<u32> = matrix.rows.iter().map(|row| *row as u32).collect();
        let weight =
            weight.to_device(&Device::Cpu).unwrap().index_select(&Tensor::new(rows, &Device::Cpu).unwrap(), 0).unwrap();
        let weight = if matrix.transposed { weight.t().unwrap().contiguous().unwrap() } else { weight };
        let got: Vec<bool> = floats(&weight).iter().map(|w| *w == 0.0).collect();
        let wrong = wrong_bits(&got, &expected[&format!("{kind}.{}", matrix.name)]);
        same &= report.count("model masks", format!("{arch} {kind} {}", matrix.name), wrong, got.len());
    }
    same
}

fn check_paper_masks(pruned: &Model, arch: &str, expected: &Tensors, report: &mut Report) -> bool {
    let mut same = true;
    let c = &pruned.config;
    for layer in 0..c.n_layers {
        let block = &pruned.blocks[layer];
        let (q, kv) = (c.n_heads * c.d_head, c.n_kv_heads * c.d_head);
        let kv_prefix = if c.n_kv_heads == c.n_heads { "" } else { "_" };
        for (name, start, len) in [
            ("W_Q".to_owned(), 0, q),
            (format!("{kv_prefix}W_K"), q, kv),
            (format!("{kv_prefix}W_V"), q + kv, kv),
            ("W_O".to_owned(), 0, q),
        ] {
            // TransformerLens: [heads, d_model, d_head], and [heads, d_head, d_model] for W_O.
            let mask: Vec<bool> = if name == "W_O" {
                floats(&block.linear(Part::O).weight.t().unwrap().contiguous().unwrap())
            } else {
                let w = block.linear(Part::Qkv).weight.narrow(0, start, len).unwrap();
                floats(&w.reshape(((), c.d_head, c.d_model)).unwrap().transpose(1, 2).unwrap().contiguous().unwrap())
            }
            .iter()
            .map(|w| *w == 0.0)
            .collect();
            let wrong = wrong_bits(&mask, &expected[&format!("mask.blocks.{layer}.attn.{name}")]);
            same &= report.count("model masks", format!("{arch} paper blocks.{layer}.attn.{name}"), wrong, mask.len());
        }
    }
    same
}

/// How far a model in bf16 may be from the reference in f32, at most and in the mean over all cases: the norm of the
/// difference by the norm of the reference for tensors, nats for the mean cross-entropy. bf16 keeps eight bits; each of the
/// few layers here rounds a few times, and a TopK SAE may choose another latent among near equals.
const BF16: [(&str, f64, f64); 5] = [
    ("activations", 0.04, 0.02),
    ("logits", 0.04, 0.02),
    ("ce", 0.08, 0.02),
    ("latents", 0.5, 0.14),
    ("recon", 0.3, 0.1),
];

fn apart(got: &[f32], want: &Tensor) -> f64 {
    let want = floats(want);
    assert_eq!(got.len(), want.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = norm(&mut got.iter().zip(&want).map(|(g, w)| f64::from(g - w)));
    difference / norm(&mut want.iter().map(|w| f64::from(*w))).max(1e-12)
}

/// Models in bf16, SAEs in f32 as always.
#[test]
fn the_reference_stack_in_bf16() {
    let (place, root) = (TestDevice::asked(), root());
    let index = std::fs::read_to_string(root.join("index.json")).unwrap().replace(": Infinity", ": null");
    let index: Value = serde_json::from_str(&index).unwrap();
    let mut found: BTreeMap<&str, Vec<(f64, String)>> = BTreeMap::new();
    let mut note = |kind: &'static str, name: String, apart: f64| found.entry(kind).or_default().push((apart, name));
    let mut models = HashMap::new();
    let quiet = &mut || Ok(());
    for case in index["models"].as_array().unwrap() {
        let arch = case["arch"].as_str().unwrap().to_owned();
        let dir = root.join(case["dir"].as_str().unwrap());
        let model = Arc::new(place.model(&dir, DType::BF16).unwrap());
        let expected = tensors(&root.join(case["expected"].as_str().unwrap()));
        let mut prompts = Vec::new();
        for n in 0..case["prompts"].as_array().unwrap().len() {
            let ids = tokens(&expected[&format!("p{n}.tokens")]);
            for hook in case["hooks"].as_array().unwrap() {
                let hook: HookPoint = hook.as_str().unwrap().parse().unwrap();
                let captured = model.capture(&one(&ids, &model), hook, quiet).unwrap();
                let want = &expected[&format!("p{n}.raw.{hook}")];
                note("activations", format!("{arch} p{n} {hook}"), apart(&floats(&captured.acts), want));
                let last = model.finish(&captured, quiet).unwrap();
                let logits = floats(&model.logits(&last).unwrap());
                note("logits", format!("{arch} p{n}"), apart(&logits, &expected[&format!("p{n}.raw.logits")]));
                if let Some(want) = expected.get(&format!("p{n}.raw.ce")) {
                    let last = last.flatten_to(1).unwrap();
                    let (ce, _) = losses(&model, &last, &[], &next_tokens(std::slice::from_ref(&ids)), quiet).unwrap();
                    note("ce", format!("{arch} p{n}"), (mean(&ce) - f64::from(floats(want)[0])).abs());
                }
            }
            prompts.push(ids);
        }
        models.insert(arch, (model, prompts));
    }
    for case in index["saes"].as_array().unwrap() {
        let (model, prompts) = &models[case["arch"].as_str().unwrap()];
        let sae = place.sae(sae::formats::load(&root.join(case["files"][0].as_str().unwrap())).unwrap());
        let expected = tensors(&root.join(case["expected"].as_str().unwrap()));
        let (id, hook) = (case["id"].as_str().unwrap(), case["hook"].as_str().unwrap().parse().unwrap());
        for s in case["spaces"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()) {
            let reader = Reader::new(Variant::Original, model.clone(), sae.clone(), None, hook, space(s)).unwrap();
            for (n, ids) in prompts.iter().enumerate() {
                let x = reader.input(&model.capture(&one(ids, model), hook, quiet).unwrap()).unwrap();
                let encoded = reader.encode(&x).unwrap();
                let (latents, recon) = (encoded.latents().unwrap().dense(), floats(&reader.decode(&encoded).unwrap()));
                note("latents", format!("{id} p{n} {s}"), apart(&latents, &expected[&format!("p{n}.{s}.latents")]));
                note("recon", format!("{id} p{n} {s}"), apart(&recon, &expected[&format!("p{n}.{s}.recon")]));
            }
        }
    }
    for (kind, most, mean) in BF16 {
        let found = &found[kind];
        let (worst, name) = found.iter().max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
        let average = found.iter().map(|(apart, _)| apart).sum::<f64>() / found.len() as f64;
        println!("{kind}: {worst:.4} at most ({name}), {average:.4} in the mean; {most} and {mean} are allowed");
        assert!(*worst <= most && average <= mean, "{kind} of {name}: {worst}, mean {average}");
    }
}
