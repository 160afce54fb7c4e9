//! The absorption cases.

use std::collections::{BTreeMap, BTreeSet};

use prunelens_core::{compare::Reader, sae::Latents};
use prunelens_metrics::absorption::{
    AbsorptionResult, AbsorptionSpec, LETTERS, LetterResult,
    calculator::absorption,
    directions::Directions,
    latents::{activations, encode},
    letter,
    probe::{Probe, Recipe, Rows, Training},
    prompts::prompt,
    report::{Used, result_file},
    result::{Basis, Mean},
    run::onto,
    scores::{Confusion, split_into},
    sparse,
    words::{answer, vocabulary},
};

use super::*;

pub fn run(case: &Case) -> Option<Outcome> {
    match case.name() {
        "absorption/prompts" => Some(prompts(case)),
        "absorption/probe" => Some(probe(case)),
        "absorption/k_sparse" => Some(k_sparse(case)),
        "absorption/calculator" => Some(calculator(case)),
        _ => None,
    }
}

fn class(name: &Value) -> usize {
    (0..LETTERS).find(|&c| letter(c).to_string() == text(name)).expect("a letter")
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Outcome {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?}, expected {expected:?}")) }
}

struct Acts(Vec<u8>);

impl Acts {
    fn of(case: &Case) -> Self {
        Self(fs::read(case.folder.join("absorption/acts.safetensors")).expect("activations"))
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        let tensors = SafeTensors::deserialize(&self.0).expect("safetensors");
        tensors.tensor(name).expect(name).data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    fn integers(&self, name: &str) -> Vec<Vec<u32>> {
        let tensors = SafeTensors::deserialize(&self.0).expect("safetensors");
        let tensor = tensors.tensor(name).expect(name);
        let all: Vec<u32> = tensor.data().as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b) as u32).collect();
        all.chunks(*tensor.shape().last().expect("rows")).map(<[u32]>::to_vec).collect()
    }

    fn classes(&self, name: &str) -> Vec<usize> {
        self.integers(name).concat().into_iter().map(|c| c as usize).collect()
    }

    fn probe(&self, prefix: &str) -> Probe {
        Probe::from_rows(&self.floats(&format!("{prefix}_w")), &self.floats(&format!("{prefix}_b"))).expect("probe")
    }
}

/// The hand-built SAE of these cases, on the fixture's model.
fn reader(case: &Case) -> Reader {
    let at = |path: &str| case.folder.join(path);
    load(&at("model"), &at("saes/absorption"), &at("core/tokens.safetensors")).reader
}

fn train(recipe: &Recipe, start: Probe, rows: Rows, classes: &[usize]) -> Probe {
    let mut training = Training::new(start);
    while training.step(recipe, rows, classes, &mut || Ok(())).expect("step") {}
    training.probe
}

fn same_probe(found: &Probe, expected: &Probe, tolerance: Tolerance) -> Outcome {
    let flat = |p: &Probe| p.weights.iter().flatten().chain(&p.biases).map(|v| f64::from(*v)).collect::<Vec<_>>();
    tolerance.check_all("probe", &flat(found), &flat(expected))
}

fn prompts(case: &Case) -> Outcome {
    let expected = json(&case.folder.join("absorption/prompts.json"));
    let folder = case.folder.join("model");
    let model = TestDevice::asked().model(&folder, DType::F32).expect("model");
    let tokenizer = Tokenizer::load(&folder, &model.config).expect("tokenizer");

    let mut words: Vec<_> = vocabulary(&tokenizer).into_iter().map(|w| w.text).collect();
    words.sort_unstable();
    let alpha: Vec<_> = expected["alpha_tokens"].as_array().expect("words").iter().map(text).collect();
    expect("words", words, alpha.into_iter().map(String::from).collect())?;
    for (word, expected) in expected["first_letter"].as_object().expect("letters") {
        expect(word, answer(word).as_str(), text(expected))?;
    }
    let pool: Vec<_> = expected["examples_pool"].as_array().expect("pool").iter().map(text).collect();
    for (word, expected) in expected["prompts"].as_object().expect("prompts") {
        let base = prompt(word, &pool[..10]);
        expect("prompt", base.as_str(), text(&expected["base"]))?;
        expect("answer", answer(word).as_str(), text(&expected["answer"]))?;
        let ids: Vec<u32> = expected["token_ids"].as_array().expect("ids").iter().map(|i| count(i) as u32).collect();
        expect("ids", tokenizer.encode(&base, true).expect("ids"), ids)?;
    }
    let acts = Acts::of(case);
    let (probe, x, classes) = (acts.probe("probe"), acts.floats("x_test"), acts.classes("y_test"));
    let rows = Rows::Dense(&x, probe.width());
    let tolerance = Tolerance { rel: 0.0, abs: case.case["tolerance"]["stats_abs"].as_f64().expect("stats_abs") };
    for stats in expected["probe_stats"].as_array().expect("stats") {
        let of = class(&stats["letter"]);
        let scores = classes.iter().enumerate().map(|(row, &c)| (probe.scores(rows, row)[of].into(), c == of));
        let found = Confusion::above(0.5, scores);
        for (name, found) in [
            ("f1", found.f1()),
            ("accuracy", found.accuracy()),
            ("precision", found.precision()),
            ("recall", found.recall()),
        ] {
            tolerance.check(&format!("{name} of {}", letter(of)), found, number(&stats[name]))?;
        }
    }
    Ok(())
}

fn probe(case: &Case) -> Outcome {
    let (acts, reader) = (Acts::of(case), reader(case));
    let tolerance = |name: &str| case.case["tolerance"][name].as_f64().expect("tolerance");
    let activation = Tolerance { rel: tolerance("x_rel"), abs: tolerance("x_abs") };
    for part in ["train", "test"] {
        let rows = acts.integers(&format!("{part}_tokens"));
        let position = rows[0].len() - 6;
        let found = activations(&reader, &rows, position, &mut || Ok(())).expect("activations");
        let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<_>>();
        activation.check_all("x", &wide(found), &wide(acts.floats(&format!("x_{part}"))))?;
    }
    let x = acts.floats("x_train");
    let recipe = Recipe { batch: 4096, ..Recipe::ground_truth(0) };
    let start = acts.probe("probe_init");
    let rows = Rows::Dense(&x, start.width());
    let found = train(&recipe, start, rows, &acts.classes("y_train"));
    same_probe(&found, &acts.probe("probe"), Tolerance { rel: 0.0, abs: tolerance("probe_abs") })
}

/// Latents of recorded activations.
fn latents(case: &Case, acts: &Acts, name: &str) -> Latents {
    let reader = reader(case);
    let directions = Directions::new(&reader, &acts.probe("probe"), &mut || Ok(())).expect("directions");
    encode(&reader, &directions, &acts.floats(name), &mut || Ok(())).expect("latents")
}

fn k_sparse(case: &Case) -> Outcome {
    let (acts, expected) = (Acts::of(case), json(&case.folder.join("absorption/k_sparse.json")));
    let tolerance = |name: &str| case.case["tolerance"][name].as_f64().expect("tolerance");
    let (train_latents, test_latents) = (latents(case, &acts, "x_train"), latents(case, &acts, "x_test"));
    let (train_classes, test_classes) = (acts.classes("y_train"), acts.classes("y_test"));

    let spec = AbsorptionSpec::default();
    let recipe = Recipe::on_latents(4096, spec.k_sparse_probe_num_epochs, spec.k_sparse_probe_l1_decay, 0);
    let found = train(&recipe, acts.probe("l1_init"), Rows::Sparse(&train_latents), &train_classes);
    let l1 = acts.probe("l1");
    same_probe(&found, &l1, Tolerance { rel: 0.0, abs: tolerance("l1_abs") })?;

    let ks: Vec<usize> = expected["ks"].as_array().expect("ks").iter().map(count).collect();
    let most = *ks.last().expect("ks");
    let near = Tolerance { rel: tolerance("lr_rel"), abs: tolerance("lr_abs") };
    let ground_truth = acts.probe("probe");
    let x = acts.floats("x_test");
    for metrics in expected["metrics"].as_array().expect("metrics") {
        let of = class(&metrics["letter"]);
        let name = |what: &str| format!("{what} of {}", letter(of));
        let best = sparse::largest(&l1, of, most);
        let probes = sparse::train(&train_latents, &train_classes, of, best, &mut || Ok(())).expect("probes");
        for &k in &ks {
            let expected = &expected["probes"][k.to_string()][letter(of).to_string()];
            let ids: Vec<u32> =
                expected["feature_ids"].as_array().expect("ids").iter().map(|i| count(i) as u32).collect();
            let set = |ids: &[u32]| ids.iter().copied().collect::<BTreeSet<_>>();
            expect(&name("latents"), set(&probes.latents[..k]), set(&ids))?;
            let weights: BTreeMap<u32, f64> =
                ids.iter().copied().zip(expected["weight"].as_array().expect("weights").iter().map(number)).collect();
            let fit = &probes.fits[k - 1];
            for (latent, weight) in probes.latents.iter().zip(&fit.weights) {
                near.check(&name(&format!("weight {k}")), *weight, weights[latent])?;
            }
            near.check(&name(&format!("bias {k}")), fit.bias, number(&expected["bias"]))?;
        }
        let scored = Tolerance { rel: 0.0, abs: tolerance("f1_abs") };
        let f1 = probes.f1(&test_latents, &test_classes, of);
        for (k, f1) in ks.iter().zip(&f1) {
            scored.check(&name(&format!("f1 {k}")), *f1, number(&metrics[format!("f1_sparse_sae_{k}")]))?;
        }
        let rows = Rows::Dense(&x, ground_truth.width());
        let scores = test_classes.iter().enumerate();
        let scores = scores.map(|(row, &c)| (ground_truth.scores(rows, row)[of].into(), c == of));
        let truth = Confusion::above(0.0, scores);
        for (what, found) in
            [("f1_probe", truth.f1()), ("recall_probe", truth.recall()), ("precision_probe", truth.precision())]
        {
            Tolerance { rel: 0.0, abs: 1e-6 }.check(&name(what), found, number(&metrics[what]))?;
        }
        let split: BTreeSet<u32> =
            metrics["split_feats"].as_array().expect("split").iter().map(|i| count(i) as u32).collect();
        let found = probes.main(&f1, spec.f1_jump_threshold).iter().copied().collect::<BTreeSet<_>>();
        expect(&name("split latents"), found, split.clone())?;
        expect(&name("number of splits"), split_into(&f1, spec.f1_jump_threshold), split.len())?;
    }
    Ok(())
}

/// The words of the calculator's case, by letter, and how many of each letter the probe knows.
fn letters(case: &Case) -> Result<Vec<LetterResult>, String> {
    let (acts, reader) = (Acts::of(case), reader(case));
    let tolerance = |name: &str| case.case["tolerance"][name].as_f64().unwrap_or(1e-3);
    let near = Tolerance { rel: tolerance("acts_rel"), abs: tolerance("acts_abs") };
    let expected = json(&case.folder.join("absorption/calculator.json"));
    let rows = acts.integers("calc_tokens");
    let from_end = -expected["word_token_pos"].as_i64().expect("position") as usize;
    let probe = acts.probe("probe");
    let x = activations(&reader, &rows, rows[0].len() - from_end, &mut || Ok(())).expect("activations");
    let directions = Directions::new(&reader, &probe, &mut || Ok(())).expect("directions");
    let latents = encode(&reader, &directions, &x, &mut || Ok(())).expect("latents");
    let mut letters: Vec<LetterResult> =
        (0..LETTERS).map(|class| LetterResult { class, ..LetterResult::default() }).collect();
    let cases = expected["rows"].as_array().expect("rows");
    expect("rows", rows.len(), cases.len())?;
    for (row, expected) in cases.iter().enumerate() {
        let of = class(&expected["letter"]);
        let name = |what: &str| format!("{what} of word {row}");
        let list = |key: &str| expected[key].as_array().expect("list").clone();
        let main: Vec<u32> = list("split_feats").iter().map(|i| count(i) as u32).collect();
        let compare = |ids: &str, acts: &str, cosines: &str| -> Outcome {
            for ((id, act), cos) in list(ids).iter().zip(list(acts)).zip(list(cosines)) {
                let id = count(id) as u32;
                near.check(&name("activation"), latents.get(row, id).into(), number(&act))?;
                near.check(&name("cosine"), directions.cosines[id as usize][of].into(), number(&cos))?;
            }
            Ok(())
        };
        compare("split_feats", "split_feat_acts", "split_feat_probe_cos")?;
        compare("projection_feats", "projection_feat_acts", "projection_feat_probe_cos")?;
        let width = probe.width();
        let projection = onto(&x[row * width..(row + 1) * width], &probe.row(of));
        let found = absorption(projection, latents.row(row), &directions.cosines, of, &main);
        let fraction = Tolerance { rel: 0.0, abs: case.case["tolerance"]["fraction_abs"].as_f64().unwrap_or(2e-3) };
        fraction.check(&name("fraction"), found.fraction, number(&expected["absorption_fraction"]))?;
        expect(&name("full"), Some(found.full), expected["is_full_absorption"].as_bool())?;
        if found.top.is_some_and(|top| top.projection() > 0.0) {
            let top = found.top.map(|top| top.latent as usize);
            expect(&name("top latent"), top, Some(count(&list("projection_feats")[0])))?;
        }
        letters[of].main = main;
        letters[of].words.push((text(&expected["token"]).to_owned(), found));
    }
    Ok(letters)
}

fn calculator(case: &Case) -> Outcome {
    let mut letters = letters(case)?;
    let tolerance = Tolerance { rel: 0.0, abs: case.case["tolerance"]["fraction_abs"].as_f64().expect("tolerance") };
    let expected = json(&case.folder.join("absorption/aggregate.json"));
    let expected = expected.as_array().expect("letters");
    expect("letters", letters.iter().filter(|l| !l.words.is_empty()).count(), expected.len())?;
    for expected in expected {
        let found = &mut letters[class(&expected["letter"])];
        found.true_positives = found.words.len();
        let name = |what: &str| format!("{what} of {}", text(&expected["letter"]));
        for (key, found) in [
            ("num_probe_true_positives", found.true_positives as f64),
            ("num_split_feats", found.main.len() as f64),
            ("num_full_absorption", found.full() as f64),
            ("mean_absorption_fraction", found.mean_absorption_fraction()),
            ("full_absorption_rate", found.full_absorption_rate()),
        ] {
            tolerance.check(&name(key), found, number(&expected[key]))?;
        }
    }
    Ok(())
}

/// The result file of the same words, against the one that the package's own classes wrote of them.
pub fn schema(case: &Case) -> Outcome {
    let Some(file) = case.files("inputs").into_iter().find(|f| f.parent().is_some_and(|p| p.ends_with("absorption")))
    else {
        return Err("no absorption file among the layouts".into());
    };
    let mut letters = letters(case)?;
    for found in &mut letters {
        (found.true_positives, found.counts) = (found.words.len(), !found.words.is_empty());
    }
    let spec = AbsorptionSpec { min_feats_for_eval: 1, ..AbsorptionSpec::default() };
    let mean = Mean::of(&letters, &spec).expect("letters");
    let basis = Basis { prompts: 1, probe: 1, training_words: 1, test_words: 1 };
    let result = AbsorptionResult { variant: Variant::Original, letters, mean: Some(mean), basis };
    let at = |path: &str| case.folder.join(path);
    let loaded = load(&at("model"), &at("saes/standard_resid"), &at("core/tokens.safetensors"));
    let identity = Identity {
        release: "tiny".into(),
        sae_id: "custom_sae".into(),
        model_name: "tiny-gpt2".into(),
        sae_config: sae_cfg_dict(&loaded.reader.sae, loaded.reader.hook, "tiny-gpt2"),
    };
    let used = Used {
        prompt_token_pos: -6,
        llm_batch_size: 10,
        k_sparse_probe_batch_size: spec.k_sparse_probe_batch_size,
        dtype: DType::F32,
        hook: loaded.reader.hook.to_string(),
    };
    let made = result_file(&spec, &used, &identity, &RunStamp::now(), &result, &mean);
    let folder = tempfile::tempdir().expect("folder");
    let written = write_results(folder.path(), [(&identity, made)]).expect("written");
    expect("name", written[0].file_name(), file.file_name())?;
    let (written, expected) = (json(&written[0]), json(&file));
    // Everything that a reader needs is there, in the same order, with the same figures.
    same_shape("", &written, &expected, None)?;
    let tolerance = Tolerance { rel: 0.0, abs: 2e-3 };
    for part in ["eval_result_metrics", "eval_result_details"] {
        same_shape(part, &written[part], &expected[part], Some(tolerance))?;
    }
    Ok(())
}
