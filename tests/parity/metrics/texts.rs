//! The cases of the metrics on labelled texts.

use std::{collections::VecDeque, fs, path::Path, sync::Arc};

use candle_core::{DType, Device, Tensor};
use prunelens_core::{
    compare::{Reader, Variant},
    rng::Rng,
    sae::formats,
};
use prunelens_kernels::columns::text_means;
use prunelens_metrics::{
    Measure,
    report::{Identity, RunStamp, sae_cfg_dict},
    scr_tpp::{
        Ablations, N_VALUES, Scr, Tpp,
        ablate::{DecoderDots, Effect, effects},
        scr as scr_metric, tpp as tpp_metric,
    },
    sparse_probing::{K_VALUES, SparseProbing, top_k},
    texts::{
        Draw, LinearProbe, Permutations, SparseRows, TextMetric, TextSet, TextsRun, Unit,
        choice::{SCR_SETS, Sizes},
        collect::{Rows, Summary, batches, collect, summarise},
        linear::{Dense, Examples, Training},
        report::{Layout, result_file},
    },
};
use safetensors::SafeTensors;
use serde_json::Value;

use super::{Case, Outcome, TestDevice, Tolerance, count, json, number, same_shape, text};

/// Tensors of a file as f64, by name, with their shapes.
struct Tensors(Vec<u8>);

impl Tensors {
    fn read(path: &Path) -> Self {
        Self(fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
    }

    fn get(&self, name: &str) -> (Vec<f32>, Vec<usize>) {
        let file = SafeTensors::deserialize(&self.0).expect("safetensors");
        let tensor = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        let values = match tensor.dtype() {
            safetensors::Dtype::F32 => tensor.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            safetensors::Dtype::I64 => {
                tensor.data().as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f32).collect()
            }
            other => panic!("{name}: {other:?}"),
        };
        (values, tensor.shape().to_vec())
    }

    fn values(&self, name: &str) -> Vec<f32> {
        self.get(name).0
    }
}

fn f64s(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| v.into()).collect()
}

fn reader(folder: &Path, sae: &Path) -> Reader {
    let place = TestDevice::asked();
    let model = place.model(&folder.join("model"), DType::F32).expect("model");
    let sae = place.sae(formats::load(sae).expect("SAE"));
    let (hook, space) = (sae.config.hook, sae.config.space);
    Reader::new(Variant::Original, Arc::new(model), sae, None, hook, space).expect("reader")
}

/// Recorded activations as a run would have summed them up; the sets of rows in the order of their tensors.
fn summed(reader: &Reader, tensors: &Tensors, sets: usize, test: Summary) -> (Rows, Vec<Vec<usize>>, Vec<Vec<usize>>) {
    let (d, mut texts) = (reader.sae.d_in(), Vec::new());
    let mut split = |prefix: &str, summary: Summary| -> Vec<Vec<usize>> {
        let of_set = |set: usize| {
            let (values, shape) = tensors.get(&format!("{prefix}.{set}"));
            let start = texts.len();
            for text in values.chunks_exact(shape[1] * d) {
                // The mask is in the activations: rows of zeros.
                let kept = text.chunks_exact(d).filter(|x| x.iter().sum::<f32>() != 0.0);
                texts.push((kept.flatten().copied().collect::<Vec<_>>(), shape[1], summary));
            }
            (start..texts.len()).collect()
        };
        (0..sets).map(of_set).collect()
    };
    let (train, test) = (split("train", Summary::Mean), split("test", test));
    let mut rows = Rows::new(&[reader], texts.len(), usize::MAX);
    for (at, (x, positions, summary)) in texts.iter().enumerate() {
        let kept = x.len() / d;
        rows.kept[at] = kept as u32;
        rows.means[at * d..(at + 1) * d].copy_from_slice(&text_means(x, d, &[kept]));
        let x = Tensor::from_slice(x, (kept, d), &Device::Cpu).expect("a tensor");
        let latents =
            summarise(reader, &x, &[kept], &[positions - kept], &[*summary], &mut || Ok(())).expect("latents");
        rows.latents[0].set(at, &latents[0]).expect("memory");
    }
    (rows, train, test)
}

fn dense(rows: &SparseRows, row: usize) -> Vec<f64> {
    (0..rows.width).map(|at| rows.get(row, at).into()).collect()
}

pub fn sparse_probing(case: &Case) -> Outcome {
    if case.name().ends_with("from_tokens") { from_tokens(case) } else { two_class(case) }
}

/// Tokens through the model and the SAE.
fn from_tokens(case: &Case) -> Outcome {
    let [model, sae] = &case.files("inputs")[..] else { panic!("model and SAE") };
    let reader = reader(model.parent().expect("folder"), sae);
    let expected = Tensors::read(&case.files("expected")[0]);
    let (tokens, shape) = expected.get("tokens");
    let texts: Vec<Vec<u32>> = tokens.chunks_exact(shape[1]).map(|t| t.iter().map(|&id| id as u32).collect()).collect();
    let special = (reader.model.config.d_vocab - 1) as u32;
    let unit =
        Unit { kept: texts.iter().map(|t| t.iter().map(|&id| id != special).collect()).collect(), texts, ..unit(0) };
    let mut rows = Rows::new(&[&reader], unit.texts.len(), usize::MAX);
    for batch in batches(&unit, 2 * shape[1]) {
        collect(&[&reader], &unit, &batch, &[Summary::Mean; 99], shape[1], &mut rows, &mut || Ok(())).expect("collect");
    }
    case.tolerance().check_all("llm", &f64s(&rows.means), &f64s(&expected.values("llm")))?;
    let found: Vec<f64> = (0..unit.texts.len()).flat_map(|row| dense(&rows.latents[0], row)).collect();
    case.tolerance().check_all("sae", &found, &f64s(&expected.values("sae")))
}

fn two_class(case: &Case) -> Outcome {
    let tolerance = |key: &str| case.case["tolerance"][key].as_f64().unwrap_or_else(|| panic!("{key}"));
    let [acts, sae] = &case.files("inputs")[..] else { panic!("activations and SAE") };
    let [meaned, expected] = &case.files("expected")[..] else { panic!("means and figures") };
    let (meaned, expected) = (Tensors::read(meaned), json(expected));
    let reader = reader(case.folder, sae);
    let (rows, train, test) = summed(&reader, &Tensors::read(acts), 2, Summary::Mean);
    let near = Tolerance { rel: tolerance("meaned_rel"), abs: 1e-6 };
    for (split, sets) in [("train", &train), ("test", &test)] {
        for (set, of_set) in sets.iter().enumerate() {
            let llm: Vec<f64> =
                of_set.iter().flat_map(|row| f64s(&rows.means[row * rows.width..(row + 1) * rows.width])).collect();
            near.check_all("llm means", &llm, &f64s(&meaned.values(&format!("llm_{split}.{set}"))))?;
            let sae: Vec<f64> = of_set.iter().flat_map(|&row| dense(&rows.latents[0], row)).collect();
            near.check_all("sae means", &sae, &f64s(&meaned.values(&format!("sae_{split}.{set}"))))?;
        }
    }
    let mut chance = Rng::named(1, "any");
    let mut draw = |sets: &[Vec<usize>], class: usize| Draw::one_against_rest(sets, class, &mut chance);
    let model = Dense { values: &rows.means, width: rows.width };
    for (class, name) in expected["classes"].as_array().expect("classes").iter().enumerate() {
        let (train, test) = (draw(&train, class), draw(&test, class));
        for k in expected["k_values"].as_array().expect("k_values").iter().map(count) {
            for who in ["llm", "sae"] {
                let expected = &expected[who][format!("top_{k}")][text(name)];
                match who {
                    "llm" => check_top_k(case, &model, (&train, &test), k, expected),
                    _ => check_top_k(case, &rows.latents[0], (&train, &test), k, expected),
                }
                .map_err(|what| format!("{who}, class {class}, top {k}: {what}"))?;
            }
        }
    }
    let expected = &expected["adamw_full_batch"];
    let floats = |key: &str| -> Vec<f64> { expected[key].as_array().expect(key).iter().map(number).collect() };
    let start = LinearProbe {
        weight: floats("init_weight").iter().map(|&v| v as f32).collect(),
        bias: number(&expected["init_bias"]) as f32,
    };
    let (train, test) = (draw(&train, 0), draw(&test, 0));
    let training = Training {
        epochs: count(&expected["epochs"]),
        batch: train.0.len(),
        lr: number(&expected["lr"]),
        l1_penalty: number(&expected["l1_penalty"]),
        patience: count(&expected["early_stopping_patience"]),
    };
    let (probe, accuracy) = start.train(&model, &train, &test, training, &mut chance, &mut || Ok(())).expect("train");
    let near = Tolerance { rel: tolerance("adamw_rel"), abs: 1e-4 };
    near.check_all("adamw weight", &f64s(&probe.weight), &floats("best_weight"))?;
    near.check("adamw bias", probe.bias.into(), number(&expected["best_bias"]))?;
    one_row(test.0.len()).check("adamw accuracy", accuracy, number(&expected["best_test_accuracy"]))
}

fn check_top_k(
    case: &Case,
    rows: &impl Examples,
    (train, test): (&Draw, &Draw),
    k: usize,
    expected: &Value,
) -> Outcome {
    let tolerance = |key: &str| case.case["tolerance"][key].as_f64().unwrap_or_else(|| panic!("{key}"));
    let found = top_k::fit(rows, train, k);
    let features: Vec<usize> = expected["features"].as_array().expect("features").iter().map(count).collect();
    if found.columns != features {
        return Err(format!("features {:?}, expected {features:?}", found.columns));
    }
    let near = Tolerance { rel: tolerance("coef_rel"), abs: tolerance("coef_abs") };
    let coef: Vec<f64> = expected["coef"].as_array().expect("coef").iter().map(number).collect();
    near.check_all("coef", &found.probe.weights, &coef)?;
    near.check("intercept", found.probe.bias, number(&expected["intercept"]))?;
    one_row(test.0.len()).check("accuracy", found.accuracy(rows, test), number(&expected["test_accuracy"]))
}

fn one_row(rows: usize) -> Tolerance {
    Tolerance { rel: 0.0, abs: 1.001 / rows as f64 }
}

/// What the package drew, in its order.
struct Tape(VecDeque<Vec<u32>>);

impl Permutations for Tape {
    fn permutation(&mut self, n: usize) -> Vec<u32> {
        let next = self.0.pop_front().expect("a recorded permutation");
        assert_eq!(next.len(), n, "the next recorded permutation is of another length");
        next
    }
}

fn probes(tensors: &Tensors, count: usize) -> Vec<LinearProbe> {
    let probe = |at: usize| LinearProbe {
        weight: tensors.values(&format!("probe_w.{at}")),
        bias: tensors.values(&format!("probe_b.{at}"))[0],
    };
    (0..count).map(probe).collect()
}

fn check_effects(
    case: &Case,
    reader: &Reader,
    rows: &Rows,
    draws: &[Draw],
    probes: &[LinearProbe],
    effect: Effect,
) -> Outcome {
    let tolerance = |key: &str| case.case["tolerance"][key].as_f64().unwrap_or_else(|| panic!("{key}"));
    let near = Tolerance { rel: tolerance("effects_rel"), abs: tolerance("effects_abs") };
    let expected = Tensors::read(&case.files("inputs")[0]);
    let dots = DecoderDots::new(reader, probes, &mut || Ok(())).expect("decoder");
    for (at, draw) in draws.iter().enumerate() {
        let found = effects(&rows.latents[0], draw, &dots.stored[at], effect);
        near.check_all(&format!("effects.{at}"), &found, &f64s(&expected.values(&format!("effects.{at}"))))?;
    }
    Ok(())
}

pub fn tpp(case: &Case) -> Outcome {
    let [acts, sae] = &case.files("inputs")[..] else { panic!("activations and SAE") };
    let expected = json(&case.files("expected")[0]);
    let classes: Vec<String> =
        expected["classes"].as_array().expect("classes").iter().map(|c| text(c).into()).collect();
    let n_values: Vec<usize> = expected["n_values"].as_array().expect("n_values").iter().map(count).collect();
    let (reader, tensors) = (reader(case.folder, sae), Tensors::read(acts));
    let (rows, train, test) = summed(&reader, &tensors, classes.len(), Summary::Sum);
    let probes = probes(&tensors, classes.len());
    let draws = match expected["randperm_calls"].as_array() {
        Some(calls) => {
            let call = |call: &Value| call.as_array().expect("call").iter().map(|v| count(v) as u32).collect();
            let mut tape = Tape(calls.iter().map(call).collect());
            let draws = tpp_metric::Draws::new(&train, &test, n_values.len(), &mut tape);
            assert!(tape.0.is_empty(), "{} recorded permutations were not asked for", tape.0.len());
            draws
        }
        None => tpp_metric::Draws::new(&train, &test, n_values.len(), &mut Rng::named(1, "any")),
    };
    check_effects(case, &reader, &rows, &draws.effects, &probes, Effect::Signed)?;
    let found = tpp_metric::Accuracies::measure((&rows, 0), &reader, &probes, &draws, &n_values, &mut || Ok(()));
    let found = found.expect("accuracies");
    let near = one_row(2 * test[0].len());
    for (at, class) in classes.iter().enumerate() {
        near.check(&format!("clean {class}"), found.clean[at], number(&expected["clean_accuracies"][class]))?;
        for (level, n) in n_values.iter().enumerate() {
            for (other, evaluated) in classes.iter().enumerate() {
                let expected = number(&expected["ablated_accuracies"][class][n.to_string()][evaluated]);
                near.check(&format!("{class} {n} {evaluated}"), found.ablated[at][level][other], expected)?;
            }
        }
    }
    let result = found.result(&classes, &n_values);
    check_metrics(case, "overall", &result.figures, &expected["overall"])?;
    for (class, figures) in &result.classes {
        check_metrics(case, class, figures, &expected["per_class"][class])?;
    }
    Ok(())
}

fn check_metrics(case: &Case, what: &str, found: &[(String, f64)], expected: &Value) -> Outcome {
    let near = Tolerance { rel: 0.0, abs: case.case["tolerance"]["metrics_abs"].as_f64().expect("metrics_abs") };
    let expected = expected.as_object().expect(what);
    if found.len() != expected.len() {
        return Err(format!("{what}: {} figures, expected {}", found.len(), expected.len()));
    }
    found.iter().try_for_each(|(name, value)| {
        let expected = expected.get(name).ok_or_else(|| format!("{what}: {name} is not expected"))?;
        near.check(&format!("{what} {name}"), *value, number(expected))
    })
}

pub fn scr(case: &Case) -> Outcome {
    let [acts, sae] = &case.files("inputs")[..] else { panic!("activations and SAE") };
    let expected = json(&case.files("expected")[0]);
    let keys: Vec<&str> = expected["keys"].as_array().expect("keys").iter().map(text).collect();
    if keys != SCR_SETS {
        return Err(format!("sets {SCR_SETS:?}, expected {keys:?}"));
    }
    let n_values: Vec<usize> = expected["n_values"].as_array().expect("n_values").iter().map(count).collect();
    let (reader, tensors) = (reader(case.folder, sae), Tensors::read(acts));
    let (rows, train, test) = summed(&reader, &tensors, keys.len(), Summary::Sum);
    let probes = probes(&tensors, scr_metric::PROBES);
    let draws = scr_metric::Draws::new(&train, &test, &mut Rng::named(1, "any"));
    check_effects(case, &reader, &rows, &draws.train, &probes, Effect::Absolute)?;
    let found = scr_metric::Accuracies::measure((&rows, 0), &reader, &probes, &draws, &n_values, &mut || Ok(()));
    let found = found.expect("accuracies");
    let (near, names) = (one_row(2 * test[0].len()), [keys[0], keys[2], keys[4]]);
    let check = |what: &str, found: &scr_metric::Table, expected: &Value| -> Outcome {
        for (data, of_data) in found.iter().enumerate() {
            for (probe, accuracy) in of_data.iter().enumerate() {
                let name = match data == probe {
                    true => names[data].to_owned(),
                    false => format!("{} probe on {} data", names[probe], names[data]),
                };
                near.check(&format!("{what} {name}"), *accuracy, number(&expected[&name]))?;
            }
        }
        Ok(())
    };
    check("clean", &found.clean, &expected["clean_accuracies"])?;
    for (at, name) in names.iter().enumerate() {
        for (level, n) in n_values.iter().enumerate() {
            let expected = &expected["ablated_accuracies"][name][n.to_string()];
            check(&format!("{name} {n}:"), &found.ablated[at][level], expected)?;
        }
    }
    check_metrics(case, "scr", &found.result(&n_values).figures, &expected["metrics"])
}

/// A unit of a few made-up texts in `sets` sets a part.
fn unit(sets: usize) -> Unit {
    let texts: Vec<Vec<u32>> =
        (0..12 * sets as u32).map(|text| (0..5 + text % 4).map(|at| (7 * text + 3 * at) % 90).collect()).collect();
    let part = |part: usize| -> Vec<TextSet> {
        let set = |set: usize| TextSet {
            name: SCR_SETS[set].into(),
            rows: (0..texts.len())
                .filter(|row| row % sets == set && (row / sets).is_multiple_of(3) == (part == 1))
                .collect(),
        };
        (0..sets).map(set).collect()
    };
    Unit {
        dataset: "local".into(),
        name: "local".into(),
        kept: texts.iter().map(|text| vec![true; text.len()]).collect(),
        train: part(0),
        test: part(1),
        texts,
        train_size: 8,
        test_size: 4,
    }
}

/// Keys and nesting of the families' files.
pub fn schema(case: &Case) -> Outcome {
    let file = |family: &str| {
        let is = |file: &&std::path::PathBuf| file.parent().is_some_and(|folder| folder.ends_with(family));
        json(case.files("inputs").iter().find(is).unwrap_or_else(|| panic!("no {family} file among the layouts")))
    };
    let strings =
        |value: &Value| -> Vec<String> { value.as_array().expect("list").iter().map(|v| text(v).into()).collect() };
    let sizes = |train: &Value, test: &Value| Sizes { train: count(train), test: count(test), context: 8, seed: 42 };

    let expected = file("sparse_probing");
    let config = &expected["eval_config"];
    let family = SparseProbing {
        k_values: config["k_values"].as_array().expect("k_values").iter().map(count).collect(),
        datasets: strings(&config["dataset_names"]),
        sizes: sizes(&config["probe_train_set_size"], &config["probe_test_set_size"]),
    };
    assert!(family.k_values.iter().all(|k| K_VALUES.contains(k)));
    compare(case, family, unit(3), &expected)?;

    for name in ["tpp", "scr"] {
        let expected = file(name);
        let config = &expected["eval_config"];
        let datasets = strings(&config["dataset_names"]);
        let pairs = |name: &String| -> Vec<[String; 2]> {
            let pairs = config["column1_vals_lookup"][name].as_array().expect("pairs");
            pairs.iter().map(|pair| strings(pair).try_into().expect("two")).collect()
        };
        let ablations = Ablations {
            n_values: N_VALUES.to_vec(),
            pairs: datasets.iter().map(pairs).collect(),
            datasets,
            sizes: sizes(&config["train_set_size"], &config["test_set_size"]),
        };
        match name {
            "tpp" => compare(case, Tpp(ablations), unit(3), &expected)?,
            _ => compare(case, Scr(ablations), unit(6), &expected)?,
        }
    }
    Ok(())
}

fn compare<F: TextMetric + Layout>(case: &Case, family: F, unit: Unit, expected: &Value) -> Outcome {
    let reader = reader(case.folder, &case.folder.join("saes/standard_resid"));
    let mut run = TextsRun::new(family, vec![reader.clone()], vec![unit], 8, 0).expect("run");
    while run.step(&mut || Ok(())).expect("step") {}
    let results = run.finish().expect("finish");
    let identity = Identity {
        release: "tiny".into(),
        sae_id: "custom_sae".into(),
        model_name: "tiny-gpt2".into(),
        sae_config: sae_cfg_dict(&reader.sae, reader.hook, "tiny-gpt2"),
    };
    let file = result_file(&run, 0, results, &identity, &RunStamp::now());
    let found = serde_json::to_value(&file).expect("JSON");
    for own in ["eval_type_id", "sae_cfg_dict", "sae_lens_id"] {
        if found[own] != expected[own] {
            return Err(format!("{own}: {}, expected {}", found[own], expected[own]));
        }
    }
    same_shape("", &found, expected, None).map_err(|what| format!("{}: {what}", run.family().name()))
}
