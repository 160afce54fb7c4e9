//! The RAVEL case, and the layout of its files.

use candle_core::{Device, Tensor};
use prunelens_core::{
    compare::Reader,
    model::ragged::{cross_entropy, readable},
};
use prunelens_metrics::ravel::{
    RavelSpec,
    completion::is_right,
    mask::{Inputs, Mask, Tally, answers, by_mask, first_tokens, loss, temperature, train_step},
    pairs::Pair,
    prompts::{Prefixes, Prompt},
    report::{Circumstances, result_file},
    state::Outcome as Found,
};

use super::*;

struct Values(Vec<u8>);

impl Values {
    fn f32(&self, name: &str) -> Vec<f32> {
        let file = SafeTensors::deserialize(&self.0).expect("safetensors");
        let tensor = file.tensor(name).expect(name);
        tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    fn i64(&self, name: &str) -> Vec<i64> {
        let file = SafeTensors::deserialize(&self.0).expect("safetensors");
        let tensor = file.tensor(name).expect(name);
        tensor.data().as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect()
    }

    fn matrix(&self, name: &str) -> Tensor {
        let file = SafeTensors::deserialize(&self.0).expect("safetensors");
        let shape = file.tensor(name).expect(name).shape().to_vec();
        Tensor::from_vec(self.f32(name), shape, &Device::Cpu).expect(name)
    }
}

/// Rows of tokens as prompts. What the rows' beginnings share changes nothing, so every length of it is tried.
fn prompts(rows: &[i64], positions: &[i64]) -> Vec<Prompt> {
    let length = rows.len() / positions.len();
    let prompt = |(at, (row, position)): (usize, (&[i64], &i64))| {
        let entity = (length as i64 + position) as usize;
        Prompt {
            text: "t".into(),
            ids: row.iter().map(|id| *id as u32).collect(),
            at: entity,
            shared: at % (entity + 1),
            entity: 0,
            attribute: 0,
            template: 0,
            label: String::new(),
        }
    };
    rows.chunks(length).zip(positions).enumerate().map(prompt).collect()
}

fn floats(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// A score that may be off by one row.
fn score(name: &str, (right, all): (usize, usize), expected: &Value) -> Outcome {
    let found = if all == 0 { 0.0 } else { right as f64 / all as f64 };
    let one = 1.0 / all.max(1) as f64 + 1e-9;
    Tolerance { rel: 0.0, abs: one }.check(name, found, number(expected))
}

fn scores(name: &str, tally: Tally, expected: &Value) -> Outcome {
    score(&format!("{name} cause"), tally.cause, &expected["cause"])?;
    score(&format!("{name} isolation"), tally.isolation, &expected["isolation"])?;
    for (kind, count) in [("n_cause", tally.cause.1), ("n_isolation", tally.isolation.1)] {
        if let Some(expected) = expected[kind].as_u64()
            && count as u64 != expected
        {
            return Err(format!("{name} {kind}: {count}, expected {expected}"));
        }
    }
    Ok(())
}

pub fn run(case: &Case) -> Outcome {
    let at = |path: &str| case.folder.join(path);
    let tolerance = |key: &str| Tolerance { rel: 0.0, abs: number(&case.case["tolerance"][key]) };
    let expected = json(&at("ravel/expected.json"));
    let values = Values(fs::read(at("ravel/pairs.safetensors")).expect("pairs"));
    let quiet = &mut || Ok(());

    let place = TestDevice::asked();
    let model = Arc::new(place.model(&at("model"), DType::F32).expect("model"));
    let tokenizer = Tokenizer::load(&at("model"), &model.config).expect("tokenizer");
    let model = readable(&model).expect("model");
    let sae = place.sae(formats::load(&at("saes/ravel")).expect("SAE"));
    let (hook, space) = (sae.config.hook, sae.config.space);
    if hook.layer != count(&expected["layer"]) {
        return Err(format!("the SAE is of {hook}"));
    }
    let reader = Reader::new(Variant::Original, model.clone(), sae, None, hook, space).expect("reader");

    let base = prompts(&values.i64("base_tokens"), &values.i64("base_pos"));
    let source = prompts(&values.i64("source_tokens"), &values.i64("source_pos"));
    let pair = |(i, (before, target)): (usize, (i64, i64))| Pair {
        base: i,
        source: i,
        before: before as u32,
        target: target as u32,
        cause: before != target,
    };
    let pairs = |before: &str, target: &str| -> Vec<Pair> {
        values.i64(before).into_iter().zip(values.i64(target)).enumerate().map(pair).collect()
    };
    let all = pairs("base_pred", "target");
    let size = count(&expected["batch"]);
    let mut prefixes = Prefixes::default();
    let batches: Vec<(Inputs, &[Pair], Vec<u32>)> = all
        .chunks(size)
        .map(|pairs| {
            let side = |of: fn(&Pair) -> usize, from| pairs.iter().map(|p| &<[Prompt]>::as_ref(from)[of(p)]).collect();
            let (base, source): (Vec<&Prompt>, Vec<&Prompt>) = (side(|p| p.base, &base), side(|p| p.source, &source));
            let inputs = Inputs::read(&model, &mut prefixes, hook, &base, &source, quiet).expect("inputs");
            (inputs, pairs, pairs.iter().map(|p| p.target).collect())
        })
        .collect();

    // One batch with a given mask, hard and soft.
    let given = Mask::with(values.f32("given_mask_logits"));
    let (inputs, pairs0, targets) = &batches[0];
    let (hard, _) = answers(&model, &reader, inputs, &given, (1, None), quiet).expect("answers");
    tolerance("logits_abs").check_all("hard_logits", &floats(&hard), &wide(&values.f32("hard_logits")))?;
    scores("hard", first_tokens(&*model.ops, &hard, pairs0).unwrap(), &expected["batch0"]["hard_scores"])?;
    let heat = number(&expected["temperature_soft"]) as f32;
    let share = given.soft(heat);
    let soft = loss(&model, &reader, inputs, &share, targets, quiet).expect("loss");
    tolerance("logits_abs").check_all("soft_logits", &floats(&soft.logits), &wide(&values.f32("soft_logits")))?;
    tolerance("logits_abs").check("soft_loss", soft.loss, number(&expected["batch0"]["soft_loss"]))?;
    let gradient = by_mask(&soft.by_share, &share, heat);
    tolerance("grad_abs").check_all("soft_mask_grad", &wide(&gradient), &wide(&values.f32("soft_mask_grad")))?;

    // Training from zeros, and the trained mask at work.
    let train = &expected["train"];
    let (epochs, rate) = (count(&train["epochs"]), number(&train["lr"]));
    let steps = epochs * batches.len();
    let mut mask = Mask::new(reader.sae.d_sae());
    for step in 0..steps {
        let (inputs, _, targets) = &batches[step % batches.len()];
        let heat = temperature(step, steps);
        train_step(&model, &reader, inputs, targets, &mut mask, heat, rate, quiet).expect("step");
    }
    let wanted = values.f32("trained_mask_logits");
    tolerance("mask_abs").check_all("trained_mask_logits", &wide(&mask.logits), &wide(&wanted))?;
    let selected = count(&train["n_selected"]);
    if mask.selected() != selected {
        return Err(format!("{} latents selected, expected {selected}", mask.selected()));
    }
    let generated = &train["generated"];
    let labels = generated["labels"].as_array().expect("labels");
    let how = (count(&generated["max_new_tokens"]), None);
    let (mut losses, mut first, mut whole) = (Vec::new(), Tally::default(), Tally::default());
    for (inputs, pairs, targets) in &batches {
        let (logits, said) = answers(&model, &reader, inputs, &mask, how, quiet).expect("answers");
        losses.push(cross_entropy(&logits, targets).expect("loss").0);
        first.merge(first_tokens(&*model.ops, &logits, pairs).unwrap());
        for (pair, said) in pairs.iter().zip(&said) {
            let bytes: Vec<u8> = said.iter().flat_map(|id| tokenizer.piece(*id)).collect();
            let right = is_right("t", text(&labels[pair.base]), &String::from_utf8_lossy(&bytes));
            whole.add(pair.is_cause(), right);
        }
    }
    let mean = losses.iter().sum::<f64>() / losses.len() as f64;
    tolerance("logits_abs").check("val loss", mean, number(&train["val"]["loss"]))?;
    let rights = (first.cause.0 + first.isolation.0, all.len());
    score("val accuracy", rights, &train["val"]["accuracy"])?;
    scores("val", first, &train["val"])?;
    scores("generated", whole, generated)?;

    // Scores of logits alone.
    let given = &expected["given_logits"];
    let pairs = pairs("score_base_pred", "score_source_pred");
    let logits = values.matrix("score_logits");
    let tally = first_tokens(&*model.ops, &logits, &pairs).unwrap();
    for (kind, (right, all)) in [("cause", tally.cause), ("isolation", tally.isolation)] {
        Tolerance { rel: 0.0, abs: 1e-9 }.check(kind, right as f64 / all as f64, number(&given[kind]))?;
    }
    scores("given_logits", tally, given)?;
    let targets: Vec<u32> = pairs.iter().map(|p| p.target).collect();
    let (found, _) = cross_entropy(&logits, &targets).expect("loss");
    Tolerance { rel: 0.0, abs: 1e-5 }.check("given loss", found, number(&given["loss"]))?;

    for case in expected["evaluate_completion"].as_array().expect("completions") {
        let (prompt, label, said) = (text(&case["text"]), text(&case["label"]), text(&case["completion"]));
        if Some(is_right(prompt, label, said)) != case["correct"].as_bool() {
            return Err(format!("{said:?} for {label:?} after {prompt:?}: expected {}", case["correct"]));
        }
    }
    Ok(())
}

/// Keys and nesting of a written file.
pub fn schema(case: &Case) -> Outcome {
    let inputs = case.files("inputs");
    let Some(file) = inputs.into_iter().find(|f| f.parent().is_some_and(|p| p.ends_with("ravel"))) else {
        return Err("no ravel file among the layouts".into());
    };
    let expected = json(&file);
    let sae = formats::load(&case.folder.join("saes/standard_resid")).expect("SAE");
    let name = file.file_name().expect("name").to_string_lossy().into_owned();
    let identity = Identity {
        release: name.strip_suffix("_custom_sae_eval_results.json").expect("SAEBench's name").into(),
        sae_id: "custom_sae".into(),
        model_name: "tiny-gpt2".into(),
        sae_config: sae_cfg_dict(&sae, sae.config.hook, "tiny-gpt2"),
    };
    let mut spec = RavelSpec::default();
    for (class, attributes) in expected["eval_config"]["entity_attribute_selection"].as_object().expect("classes") {
        let names = attributes.as_array().expect("attributes").iter().map(|a| text(a).to_owned()).collect();
        spec.entity_attribute_selection.push((class.clone(), names));
    }
    let found = Found { tally: Tally { cause: (6, 7), isolation: (13, 17) }, ..Found::NONE };
    let outcomes = vec![("city", vec![("Country", &found)])];
    let file = result_file(&spec, &identity, &RunStamp::now(), &outcomes, &Circumstances::default());
    let folder = tempfile::tempdir().expect("folder");
    let written = write_results(folder.path(), [(&identity, file)]).expect("written");
    assert_eq!(written, [folder.path().join("ravel").join(name)]);
    let mut found = json(&written[0]);
    same_shape("", &found, &expected, None)?;
    let own = found["eval_result_unstructured"].as_object_mut().expect("object").shift_remove("prunelens");
    assert!(own.is_some_and(|own| own.is_object()));
    let same = |key: &str| same_shape(key, &found[key], &expected[key], None);
    same("eval_result_unstructured")?;
    // What SAEBench has by default is the default here, but for the batch.
    for (key, value) in found["eval_config"].as_object().expect("config") {
        let differs = ["llm_batch_size", "llm_dtype", "model_name", "artifact_dir"].contains(&key.as_str());
        if !differs && *value != expected["eval_config"][key] {
            return Err(format!("{key}: {value}, expected {}", expected["eval_config"][key]));
        }
    }
    Ok(())
}
