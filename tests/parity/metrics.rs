//! Metrics against values that SAEBench itself gave on the same model, SAEs and tokens.
//!
//! Walks `index.json` of the folder in `PRUNELENS_METRICS_FIXTURES` (default `tests/fixtures/metrics`), compares every
//! case of the families that exist here, and says what it left out.

mod absorption;
mod ravel;
mod sweep;
mod texts;

use std::{
    collections::{BTreeMap, HashSet},
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use candle_core::DType;
use prunelens_core::{
    compare::{Reader, Variant},
    data::read_tokens,
    model::Tokenizer,
    sae::formats,
};
use prunelens_metrics::{
    Measure,
    core::{
        CoreRun, CoreSpec, FIGURES,
        pass::{Plan, measure},
        report::result_file,
    },
    report::{Identity, RunStamp, sae_cfg_dict, write_results},
};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::support::{self, device::TestDevice};

type Outcome = Result<(), String>;

#[derive(Default)]
struct Family {
    passed: usize,
    failed: Vec<String>,
    skipped: Vec<String>,
}

#[test]
fn fixtures() {
    let folder =
        env::var_os("PRUNELENS_METRICS_FIXTURES").map_or_else(|| support::fixtures().join("metrics"), PathBuf::from);
    let index = json(&folder.join("index.json"));
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for case in index["cases"].as_array().expect("cases") {
        let case = Case { folder: &folder, index: &index, case };
        let family = families.entry(text(&case.case["family"]).to_owned()).or_default();
        match case.run() {
            Some(Ok(())) => family.passed += 1,
            Some(Err(what)) => family.failed.push(format!("{}: {what}", case.name())),
            None => family.skipped.push(case.name().to_owned()),
        }
    }
    report(&families);
    let skipped: Vec<_> = families.values().flat_map(|family| &family.skipped).collect();
    assert!(skipped.is_empty(), "cases of families that nothing here knows: {skipped:?}");
    if env::var_os("PRUNELENS_METRICS_FIXTURES").is_none() {
        let counts: Vec<_> = families.iter().map(|(name, family)| (name.as_str(), family.passed)).collect();
        let expected = [
            ("absorption", 4),
            ("core", 8),
            ("export", 1),
            ("loss_vs_sparsity", 1),
            ("ravel", 1),
            ("scr", 1),
            ("sparse_probing", 2),
            ("tpp", 2),
        ];
        assert_eq!(counts, expected);
    }
    assert!(families.get("core").is_some_and(|core| core.passed > 0), "no core case passed in {}", folder.display());
    assert!(families.values().all(|f| f.failed.is_empty()), "cases failed; see above");
}

/// Straight to stdout: shown for a passing run too.
fn report(families: &BTreeMap<String, Family>) {
    let mut out = std::io::stdout().lock();
    writeln!(out).unwrap();
    for (name, family) in families {
        let (passed, failed, skipped) = (family.passed, family.failed.len(), family.skipped.len());
        writeln!(out, "{name}: {passed} passed, {failed} failed, {skipped} skipped").unwrap();
        family.failed.iter().for_each(|what| writeln!(out, "  failed {what}").unwrap());
        if skipped > 0 {
            writeln!(out, "  skipped {}: this family is not implemented", family.skipped.join(", ")).unwrap();
        }
    }
}

struct Case<'a> {
    folder: &'a Path,
    index: &'a Value,
    case: &'a Value,
}

/// A fixture's model and SAE as one variant.
struct Loaded {
    reader: Reader,
    special: HashSet<u32>,
    rows: Vec<Vec<u32>>,
}

impl Case<'_> {
    fn name(&self) -> &str {
        text(&self.case["case"])
    }

    /// `None` for families that do not exist here.
    fn run(&self) -> Option<Outcome> {
        match (text(&self.case["family"]), self.name()) {
            ("core", name) if name.ends_with(".per_token") => Some(self.per_token()),
            ("core", _) => Some(self.core()),
            ("sparse_probing", _) => Some(texts::sparse_probing(self)),
            ("tpp", _) => Some(texts::tpp(self)),
            ("scr", _) => Some(texts::scr(self)),
            ("absorption", _) => absorption::run(self),
            ("loss_vs_sparsity", _) => Some(sweep::run(self)),
            ("ravel", _) => Some(ravel::run(self)),
            ("export", "schema") => Some(self.schema()),
            _ => None,
        }
    }

    fn files(&self, key: &str) -> Vec<PathBuf> {
        self.case[key].as_array().expect(key).iter().map(|f| self.folder.join(text(&f["file"]))).collect()
    }

    fn tolerance(&self) -> Tolerance {
        let get = |key: &str| self.case["tolerance"][key].as_f64().unwrap_or(0.0);
        Tolerance { rel: get("rel"), abs: get("abs") }
    }

    fn load(&self) -> Loaded {
        let [model, sae, tokens] = &self.files("inputs")[..] else { panic!("{}: model, SAE and tokens", self.name()) };
        load(model, sae, tokens)
    }

    fn core(&self) -> Outcome {
        let loaded = self.load();
        let params = &self.case["params"];
        let ignored: HashSet<u32> =
            params["ignore_tokens"].as_array().expect("ignore_tokens").iter().map(|t| count(t) as u32).collect();
        if ignored != loaded.special {
            return Err(format!("special tokens {:?}, expected {ignored:?}", loaded.special));
        }
        let spec = CoreSpec {
            batch_size_prompts: count(&params["bs"]),
            n_eval_reconstruction_batches: count(&params["rec_batches"]),
            n_eval_sparsity_variance_batches: count(&params["var_batches"]),
            context_size: count(&params["ctx"]),
            exclude_special_tokens_from_reconstruction: params["exclude_special"].as_bool().expect("exclude_special"),
            dataset: "local tokens".into(),
        };
        let [raw, file] = &self.files("expected")[..] else { panic!("{}: two expected files", self.name()) };
        let (result, written) = run(spec, loaded, file);
        let expected = json(raw);
        let metrics = &expected["metrics"];
        let named: usize =
            metrics.as_object().expect("metrics").values().map(|c| c.as_object().map_or(0, |c| c.len())).sum();
        if named != FIGURES.len() {
            return Err(format!("{} figures, expected {named}", FIGURES.len()));
        }
        for figure in FIGURES {
            let expected = number(&metrics[figure.category][figure.name]);
            let tolerance = if figure.category == "token_stats" { Tolerance::EXACT } else { self.tolerance() };
            tolerance.check(figure.name, (figure.get)(&result), expected)?;
        }
        let latents = &expected["feature_metrics"];
        for (name, found) in [
            ("feature_density", &result.density.density),
            ("consistent_activation_heuristic", &result.density.consistent_activation_heuristic),
            ("encoder_bias", &result.weights.encoder_bias),
            ("encoder_norm", &result.weights.encoder_norm),
            ("encoder_decoder_cosine_sim", &result.weights.encoder_decoder_cosine_sim),
            ("max_encoder_cosine_sim", &result.weights.max_encoder_cosine_sim),
            ("max_decoder_cosine_sim", &result.weights.max_decoder_cosine_sim),
        ] {
            let expected: Vec<_> = latents[name].as_array().expect(name).iter().map(number).collect();
            self.tolerance().check_all(name, found, &expected)?;
        }
        same_shape("", &written, &json(file), Some(self.tolerance()))
    }

    fn per_token(&self) -> Outcome {
        let loaded = self.load();
        let (rows, length) = (count(&self.index["dims"]["bs"]), loaded.rows[0].len());
        let plan = Plan { downstream: true, activations: false, exclude_special: true };
        let measured =
            measure(&[&loaded.reader], &loaded.rows[..rows], &loaded.special, plan, &mut None, &mut || Ok(()));
        let losses = measured.expect("measure").losses.expect("losses");
        let bytes = fs::read(&self.files("expected")[0]).expect("expected values");
        let expected = SafeTensors::deserialize(&bytes).expect("safetensors");
        let (sae, ablation) = (&losses.sae[0], &losses.ablation);
        for (name, found) in [
            ("ce_loss_without_sae", &losses.clean),
            ("ce_loss_with_sae", &sae.ce),
            ("ce_loss_with_ablation", &ablation.ce),
            ("kl_div_with_sae", &sae.kl),
            ("kl_div_with_ablation", &ablation.kl),
        ] {
            let tensor = expected.tensor(name).expect(name);
            let expected: Vec<f64> =
                tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b).into()).collect();
            // Cross-entropy has no last position.
            let width = tensor.shape()[1];
            let found = found.iter().enumerate().filter(|(at, _)| at % length < width).map(|(_, &v)| v.into());
            self.tolerance().check_all(name, &found.collect::<Vec<_>>(), &expected)?;
        }
        Ok(())
    }

    /// Keys and nesting of the written files of every family.
    fn schema(&self) -> Outcome {
        self.core_schema()?;
        texts::schema(self)?;
        absorption::schema(self)?;
        ravel::schema(self)
    }

    fn core_schema(&self) -> Outcome {
        let Some(file) = self.files("inputs").into_iter().find(|f| f.parent().is_some_and(|p| p.ends_with("core")))
        else {
            return Err("no core file among the layouts".into());
        };
        let at = |path: &str| self.folder.join(path);
        let loaded = load(&at("model"), &at("saes/standard_resid"), &at("core/tokens.safetensors"));
        let spec = CoreSpec::over(loaded.rows.len(), loaded.rows[0].len(), 1, "local tokens");
        same_shape("", &run(spec, loaded, &file).1, &json(&file), None)
    }
}

fn load(model: &Path, sae: &Path, tokens: &Path) -> Loaded {
    let place = TestDevice::asked();
    let model = place.model(model, DType::F32).map(|m| (Tokenizer::load(model, &m.config), m));
    let (tokenizer, model) = model.expect("model");
    let tokenizer = tokenizer.expect("tokenizer");
    let sae = place.sae(formats::load(sae).expect("SAE"));
    let (hook, space) = (sae.config.hook, sae.config.space);
    let rows = read_tokens(tokens).expect("tokens").remove(0).rows;
    Loaded {
        reader: Reader::new(Variant::Original, Arc::new(model), sae, None, hook, space).expect("reader"),
        special: [tokenizer.bos, tokenizer.eos, tokenizer.pad].into_iter().flatten().collect(),
        rows,
    }
}

/// Run to the end and write the result file; `like` gives its name.
fn run(spec: CoreSpec, loaded: Loaded, like: &Path) -> (prunelens_metrics::core::CoreResult, Value) {
    let reader = loaded.reader.clone();
    let mut run = CoreRun::new(spec.clone(), vec![loaded.reader], loaded.rows, loaded.special).expect("run");
    while run.step(&mut || Ok(())).expect("step") {}
    let (_, result) = run.finish().expect("finish").remove(0);

    let name = like.file_name().expect("name").to_string_lossy().into_owned();
    let release = name.strip_suffix("_custom_sae_eval_results.json").expect("SAEBench's name").to_owned();
    let identity = Identity {
        release,
        sae_id: "custom_sae".into(),
        model_name: "tiny-gpt2".into(),
        sae_config: sae_cfg_dict(&reader.sae, reader.hook, "tiny-gpt2"),
    };
    let folder = tempfile::tempdir().expect("folder");
    let file = result_file(&spec, DType::F32, &identity, &RunStamp::now(), &result);
    let written = write_results(folder.path(), [(&identity, file)]).expect("written");
    assert_eq!(written, [folder.path().join("core").join(name)]);
    (result, json(&written[0]))
}

/// Same keys in the same order and, with a tolerance, the same values, but for those that differ from run to run.
fn same_shape(path: &str, found: &Value, expected: &Value, tolerance: Option<Tolerance>) -> Outcome {
    const OWN: [&str; 6] = [
        "/eval_id",
        "/datetime_epoch_millis",
        "/sae_bench_commit_hash",
        "/sae_lens_release_id",
        "/sae_lens_version",
        "/eval_result_unstructured",
    ];
    if OWN.contains(&path) {
        return Ok(());
    }
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            if !found.keys().eq(expected.keys()) {
                let keys = |o: &serde_json::Map<String, Value>| o.keys().cloned().collect::<Vec<_>>().join(" ");
                return Err(format!("{path}: keys {}, expected {}", keys(found), keys(expected)));
            }
            found
                .iter()
                .try_for_each(|(key, value)| same_shape(&format!("{path}/{key}"), value, &expected[key], tolerance))
        }
        (Value::Array(found), Value::Array(expected)) => {
            if found.len() != expected.len() {
                return Err(format!("{path}: {} entries, expected {}", found.len(), expected.len()));
            }
            let mut pairs = found.iter().zip(expected).enumerate();
            pairs.try_for_each(|(at, (f, e))| same_shape(&format!("{path}/{at}"), f, e, tolerance))
        }
        (Value::Number(_), Value::Number(_)) => match tolerance {
            Some(tolerance) => tolerance.check(path, number(found), number(expected)),
            None => Ok(()),
        },
        _ if found == expected || tolerance.is_none() => Ok(()),
        _ => Err(format!("{path}: {found}, expected {expected}")),
    }
}

#[derive(Clone, Copy)]
struct Tolerance {
    rel: f64,
    abs: f64,
}

impl Tolerance {
    const EXACT: Self = Self { rel: 0.0, abs: 0.0 };

    fn check(self, name: &str, found: f64, expected: f64) -> Outcome {
        let near = (found - expected).abs() <= self.abs + self.rel * expected.abs();
        if near || (found.is_nan() && expected.is_nan()) {
            return Ok(());
        }
        Err(format!("{name}: {found}, expected {expected}"))
    }

    fn check_all(self, name: &str, found: &[f64], expected: &[f64]) -> Outcome {
        if found.len() != expected.len() {
            return Err(format!("{name}: {} values, expected {}", found.len(), expected.len()));
        }
        let mut pairs = found.iter().zip(expected).enumerate();
        pairs.try_for_each(|(at, (f, e))| self.check(&format!("{name}[{at}]"), *f, *e))
    }
}

fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a string"))
}

fn count(value: &Value) -> usize {
    value.as_u64().unwrap_or_else(|| panic!("{value} is not a count")) as usize
}

/// Fixtures write what JSON cannot as words.
fn number(value: &Value) -> f64 {
    match value.as_str() {
        Some("nan") => f64::NAN,
        Some("inf") => f64::INFINITY,
        Some("-inf") => f64::NEG_INFINITY,
        Some(other) => panic!("{other:?} is not a number"),
        None => value.as_f64().unwrap_or_else(|| panic!("{value} is not a number")),
    }
}
