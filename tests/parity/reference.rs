//! Numbers of the reference stack: walks `index.json` of a fixture set and checks every case in it.
//!
//! The folder is `PRUNELENS_PARITY_FIXTURES` if set, else `tests/fixtures/parity`.

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
    prune::{
        Sparsity,
        sae::{Gather, rank},
    },
    sae::{self, Criterion, Dictionary, Latents, Pruning},
    session::token_tensor,
};
use serde_json::Value;

use crate::support::{
    device::{TestDevice, at_edges},
    fixtures, floats,
};

type Tensors = HashMap<String, Tensor>;

/// What one kind of check found.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: Vec<String>,
}

struct Report {
    tallies: BTreeMap<&'static str, Tally>,
    /// Where the numbers come from.
    device: Device,
}

impl Report {
    fn of(place: &TestDevice) -> Self {
        Self { tallies: BTreeMap::new(), device: place.device.clone() }
    }

    /// How many of some entries differ, of which a card may have a few. Whether none does: if one does, what is computed from
    /// them is another number, and there is nothing to compare.
    fn count(&mut self, kind: &'static str, name: String, differ: usize, of: usize) -> bool {
        if differ > 0 {
            println!("{kind}, {name}: {differ} of {of} differ; what follows from them is not compared");
        }
        let allowed = at_edges(&self.device, of);
        let many = || format!("{differ} of {of} differ, {allowed} are allowed");
        self.add(kind, name, if differ <= allowed { Ok(()) } else { Err(many()) });
        differ == 0
    }

    fn add(&mut self, kind: &'static str, name: String, result: Result<(), String>) {
        let tally = self.tallies.entry(kind).or_default();
        match result {
            Ok(()) => tally.passed += 1,
            Err(why) => tally.failed.push(format!("{name}: {why}")),
        }
    }

    fn finish(self) {
        let mut failed = 0;
        for (kind, tally) in &self.tallies {
            println!("{kind}: {} passed, {} failed", tally.passed, tally.failed.len());
            tally.failed.iter().for_each(|why| println!("  FAILED {why}"));
            failed += tally.failed.len();
        }
        assert_eq!(failed, 0, "{failed} cases failed");
        let passed = |kind: &str| self.tallies.get(kind).map_or(0, |t| t.passed);
        assert!(passed("model") > 0 && passed("sae") > 0, "no case was found");
    }
}

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

/// By how much each value is farther away than it may be.
fn excesses(got: &[f32], want: &[f32], atol: f64, rtol: f64) -> impl Iterator<Item = f64> {
    got.iter().zip(want).map(move |(g, w)| {
        let (g, w) = (f64::from(*g), f64::from(*w));
        let excess = (g - w).abs() - (atol + rtol * w.abs());
        if excess.is_nan() { f64::INFINITY } else { excess }
    })
}

fn close(got: &[f32], want: &[f32], atol: f64, rtol: f64) -> Result<(), String> {
    if got.len() != want.len() {
        return Err(format!("{} values, expected {}", got.len(), want.len()));
    }
    let (at, worst) =
        excesses(got, want, atol, rtol).enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0));
    if worst > 0.0 {
        return Err(format!("value {at} is {}, expected {} (tolerance {atol} + {rtol} relative)", got[at], want[at]));
    }
    Ok(())
}

/// Masks of the fixtures: bits, highest first, 1 = pruned.
fn unpack(t: &Tensor, n: usize) -> Vec<bool> {
    let bytes: Vec<u8> = t.to_vec1().unwrap();
    (0..n).map(|i| bytes[i / 8] >> (7 - i % 8) & 1 == 1).collect()
}

/// How many bits are not those of the fixture.
fn wrong_bits(got: &[bool], want: &Tensor) -> usize {
    unpack(want, got.len()).iter().zip(got).filter(|(a, b)| a != b).count()
}

struct Tolerance<'a>(&'a Value);

impl Tolerance<'_> {
    fn check(&self, kind: &str, got: &[f32], want: &Tensor) -> Result<(), String> {
        let number = |key: &str| self.0[kind][key].as_f64().unwrap_or(0.0);
        close(got, &floats(want), number("atol"), number("rtol"))
    }

    /// Latents one by one, since the k-th of near equals may be another one: whether all are as expected.
    fn latents(&self, got: &Latents, want: &Tensor, kind: &'static str, name: String, report: &mut Report) -> bool {
        let number = |key: &str| self.0["latents"][key].as_f64().unwrap_or(0.0);
        let (dense, want) = (got.dense(), floats(want));
        let active = want.iter().filter(|w| **w != 0.0).count();
        let far = excesses(&dense, &want, number("atol"), number("rtol")).filter(|excess| *excess > 0.0).count();
        let differ = if dense.len() == want.len() { far } else { active.max(1) };
        if differ > at_edges(&report.device, active) {
            // With the values, for whoever looks into it.
            report.add(kind, name, close(&dense, &want, number("atol"), number("rtol")));
            return false;
        }
        report.count(kind, name, differ, active)
    }
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

fn check_sae(
    place: &TestDevice,
    root: &Path,
    case: &Value,
    subject: &Subject,
    tolerance: &Tolerance,
    report: &mut Report,
) {
    let id = case["id"].as_str().unwrap();
    let dir = root.join(case["files"][0].as_str().unwrap());
    let sae = match sae::formats::load(&dir) {
        Ok(sae) => place.sae(sae),
        Err(e) => return report.add("sae", id.into(), Err(e.to_string())),
    };
    let hook: HookPoint = case["hook"].as_str().unwrap().parse().unwrap();
    let same = sae.config.hook == hook && sae.d_sae() == case["d_sae"].as_u64().unwrap() as usize;
    report.add("sae", format!("{id} config"), if same { Ok(()) } else { Err(format!("{:?}", sae.config)) });
    let expected = tensors(&root.join(case["expected"].as_str().unwrap()));
    let spaces: Vec<&str> = case["spaces"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
    // The space told from the file alone is the one the fixture was trained in (the first).
    let differ = matches!(case["arch"].as_str(), Some("gpt2" | "neox"));
    let auto = if !differ || sae.config.space == space(spaces[0]) {
        Ok(())
    } else {
        Err(format!("read as {:?}, expected {}", sae.config.space, spaces[0]))
    };
    report.add("sae", format!("{id} space"), auto);
    for s in &spaces {
        let reader = Reader::new(Variant::Original, subject.model.clone(), sae.clone(), None, hook, space(s)).unwrap();
        for (n, ids) in subject.prompts.iter().enumerate() {
            check_reader(&reader, ids, &expected, &format!("p{n}.{s}"), id, tolerance, report);
        }
    }
    if let Some(pruned) = case.get("pruned") {
        check_pruned(
            place,
            &sae,
            hook,
            space(pruned["space"].as_str().unwrap()),
            pruned,
            id,
            subject,
            &expected,
            tolerance,
            report,
        );
    }
}

/// Latents, reconstruction and the spliced pass of one prompt.
fn check_reader(
    reader: &Reader,
    ids: &[u32],
    expected: &Tensors,
    prefix: &str,
    id: &str,
    tolerance: &Tolerance,
    report: &mut Report,
) {
    let tick = &mut || Ok(());
    let captured = reader.model.capture(&one(ids, &reader.model), reader.hook, tick).unwrap();
    let encoded = reader.encode(&reader.input(&captured).unwrap()).unwrap();
    let name = |what: &str| format!("{id} {prefix} {what}");
    let want = &expected[&format!("{prefix}.latents")];
    if !tolerance.latents(encoded.latents().unwrap(), want, "sae", name("latents"), report) {
        return;
    }
    let recon = reader.decode(&encoded).unwrap();
    report.add("sae", name("recon"), tolerance.check("recon", &floats(&recon), &expected[&format!("{prefix}.recon")]));
    let spliced = reader.model.resume(&captured, &reader.replacement(&captured, &recon).unwrap(), tick).unwrap();
    let clean = reader.model.finish(&captured, tick).unwrap();
    let (clean, spliced) = (clean.flatten_to(1).unwrap(), spliced.flatten_to(1).unwrap());
    let (_, spliced) = losses(&reader.model, &clean, &[&spliced], &next_tokens(&[ids.to_vec()]), tick).unwrap();
    let ce = tolerance.check("ce", &[mean(&spliced[0].ce) as f32], &expected[&format!("{prefix}.spliced_ce")]);
    report.add("sae", name("spliced_ce"), ce);
    let kl = tolerance.check("kl", &spliced[0].kl, &expected[&format!("{prefix}.spliced_kl")]);
    report.add("sae", name("spliced_kl"), kl);
}

#[allow(clippy::too_many_arguments)]
fn check_pruned(
    place: &TestDevice,
    sae: &Arc<dyn Dictionary>,
    hook: HookPoint,
    space: Space,
    case: &Value,
    id: &str,
    subject: &Subject,
    expected: &Tensors,
    tolerance: &Tolerance,
    report: &mut Report,
) {
    let tick = &mut || Ok(());
    let reader = Reader::new(Variant::Original, subject.model.clone(), sae.clone(), None, hook, space).unwrap();
    for (criterion, batches) in [
        (Criterion::Wanda, vec![rows(&expected["prune.wanda.calib_ids"])]),
        (Criterion::Paper, (0..).map_while(|n| expected.get(&format!("prune.paper.batch{n}")).map(rows)).collect()),
    ] {
        let rule = criterion.name();
        let mut gather = Gather::new(criterion, sae).unwrap();
        for batch in &batches {
            let ids = token_tensor(batch, &reader.model).unwrap();
            let x = reader.input(&reader.model.capture(&ids, hook, tick).unwrap()).unwrap();
            gather.add(&**sae, &x, &reader.encode(&x).unwrap(), batch.len()).unwrap();
        }
        let norms = gather.norms();
        for (side, got) in [("enc", &norms.enc), ("dec", &norms.dec)] {
            let result = tolerance.check("norms", got, &expected[&format!("prune.{rule}.norm_{side}")]);
            report.add("sae norms", format!("{id} {rule} {side}"), result);
        }
        let order = Arc::new(rank(&**sae, criterion, Some(&norms), tick).unwrap());
        for ratio in case["ratios"].as_array().unwrap() {
            let prefix = format!("prune.{rule}.r{ratio}");
            let pruning = Pruning { order: order.clone(), at: ratio.as_f64().unwrap() };
            let applied = sae.pruned(Some(&pruning)).unwrap();
            let mut same = true;
            // Ours are [d_sae, d_in]; the file's W_enc is [d_in, d_sae].
            for (name, ours, theirs) in [
                ("W_enc", applied.w_enc.t().unwrap(), sae.w_enc.t().unwrap()),
                ("W_dec", applied.w_dec.clone(), sae.w_dec.clone()),
            ] {
                let (ours, theirs) = (floats(&ours.contiguous().unwrap()), floats(&theirs.contiguous().unwrap()));
                let mask: Vec<bool> = ours.iter().zip(&theirs).map(|(a, b)| *a == 0.0 && *b != 0.0).collect();
                let wrong = wrong_bits(&mask, &expected[&format!("{prefix}.mask.{name}")]);
                same &= report.count("sae masks", format!("{id} {prefix} {name}"), wrong, mask.len());
            }
            for n in [0, 2] {
                let captured = reader.model.capture(&one(&subject.prompts[n], &reader.model), hook, tick).unwrap();
                let x = reader.input(&captured).unwrap();
                let encoded = sae.encode(&x, Some(&pruning)).unwrap();
                let want = &expected[&format!("{prefix}.p{n}.latents")];
                let name = format!("{id} {prefix} p{n} latents");
                let same = same && tolerance.latents(encoded.latents().unwrap(), want, "sae pruned", name, report);
                // The mask applied on the fly and the zeros written out are the same SAE, to the bit.
                let applied = place.sae(applied.clone());
                let result = if applied.encode(&x, None).unwrap().latents().unwrap() == encoded.latents().unwrap() {
                    Ok(())
                } else {
                    Err("differs".into())
                };
                report.add("sae pruned", format!("{id} {prefix} p{n} applied"), result);
                if let Some(want) = expected.get(&format!("{prefix}.p{n}.recon")).filter(|_| same) {
                    let recon = floats(&sae.decode(&encoded, Some(&pruning)).unwrap());
                    let result = tolerance.check("recon", &recon, want);
                    report.add("sae pruned", format!("{id} {prefix} p{n} recon"), result);
                }
            }
        }
    }
    let Some(wanda) = &subject.wanda else { return };
    let transfer = Reader::new(Variant::Transfer, wanda.clone(), sae.clone(), None, hook, space).unwrap();
    for (n, ids) in subject.prompts.iter().enumerate() {
        let captured = transfer.model.capture(&one(ids, &transfer.model), hook, tick).unwrap();
        let encoded = transfer.encode(&transfer.input(&captured).unwrap()).unwrap();
        let key = case["space"].as_str().unwrap();
        let want = &expected[&format!("wanda_model.p{n}.{key}.latents")];
        tolerance.latents(encoded.latents().unwrap(), want, "sae", format!("{id} on the pruned model p{n}"), report);
    }
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
