//! Compressed checkpoints as the libraries that write them read them, bit for bit; rules beside their reference; broken files.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use candle_core::{DType, Device};
use prunelens_core::{
    digest::sha256,
    model::{Model, Opened, contents::Contents, weights::Weights},
    prune::{CalibrationRows, Compress},
    session::silent,
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};

use crate::support::{edit_json, fixtures, read_json};

fn root() -> PathBuf {
    fixtures().join("compressed")
}

fn index() -> Value {
    read_json(&root().join("index.json"))
}

fn contents(path: &Path) -> Result<Contents, String> {
    Opened::open(path).and_then(|opened| opened.contents(&mut || Ok(()))).map_err(|e| e.to_string())
}

/// Cases of the index whose names begin so.
fn same_as_the_library(scheme: &str) {
    let mut seen = 0;
    for case in index()["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        if !name.starts_with(scheme) {
            continue;
        }
        let path = root().join(case["model"].as_str().unwrap());
        let opened = Opened::open(&path).unwrap();
        let parameters = opened.parameters().unwrap();
        let expected = case["weights"].as_object().unwrap();
        assert_eq!(parameters.len(), expected.len(), "{name}");
        for parameter in &parameters {
            let bytes: Vec<u8> = opened.values(parameter).unwrap().iter().flat_map(|v| v.to_le_bytes()).collect();
            assert_eq!(expected[&parameter.published], sha256(&bytes), "{name}: {}", parameter.published);
        }
        let found = contents(&path).unwrap();
        assert_eq!(found.matrices.iter().filter(|m| m.compressed).count() as u64, case["quantised"].as_u64().unwrap());
        assert!((found.bits_per_weight - case["bits_per_weight"].as_f64().unwrap()).abs() < 1e-3, "{name}");
        assert!((found.share_of_zeros - case["share_of_zeros"].as_f64().unwrap()).abs() < 1e-3, "{name}");
        // The model takes the same numbers, whichever way its matrices are put together.
        let model = Model::build(opened, &Device::Cpu, DType::BF16, &mut silent).unwrap();
        assert_eq!(model.dtype, DType::BF16);
        seen += 1;
    }
    assert!(seen > 0, "no case of {scheme}");
}

macro_rules! schemes {
    ($($test:ident: $scheme:expr,)*) => {
        $(#[test] fn $test() { same_as_the_library($scheme); })*
    };
}

schemes! {
    gptq: "gptq-",
    awq: "awq-",
    compressed_tensors: "ct-",
    bitsandbytes: "bnb-",
    fp8: "fp8-",
    mlx: "mlx-",
    gguf_blocks: "gguf-",
}

/// The rule of a spec on the fixture's model, beside its reference.
fn same_as_the_reference(rule: &str) {
    let model =
        Arc::new(Model::load(&root().join("models/base-llama"), &Device::Cpu, DType::F32, &mut silent).unwrap());
    let (tokens, shape) =
        Weights::open(&root().join("calibration/llama.safetensors")).unwrap().integers("tokens").unwrap();
    let rows = tokens.chunks(shape[1]).map(|row| row.iter().map(|token| *token as u32).collect()).collect();
    let windows: Vec<Vec<Vec<u32>>> = vec![rows];
    let mut seen = 0;
    for case in index()["rules"].as_array().unwrap() {
        let spec = case["spec"].as_str().unwrap();
        if spec.split([':', '+']).next() != Some(rule) {
            continue;
        }
        let rows = CalibrationRows { windows: &windows, documents: &[] };
        let made = spec.parse::<Compress>().unwrap().apply(&model, rows, &mut silent).unwrap();
        let expected = Weights::open(&root().join(case["expected"].as_str().unwrap())).unwrap();
        let (mut equal, mut all, mut error, mut size) = (0, 0, 0.0, 0.0);
        let (mut zeros, mut weights) = (0, 0);
        for matrix in made.checkpoint_matrices().unwrap() {
            let weight = &made.blocks[matrix.layer].linear(matrix.part).weight;
            let values = weight.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let cols = weight.dim(1).unwrap();
            let own: Vec<f32> = matrix.rows.iter().flat_map(|row| values[row * cols..][..cols].to_vec()).collect();
            zeros += own.iter().filter(|w| **w == 0.0).count();
            weights += own.len();
            let Some(name) = matrix.name.strip_prefix("model.layers.0.") else { continue };
            let Some(shape) = expected.shape(name) else { continue };
            for (found, expected) in own.iter().zip(expected.f32(name, shape).unwrap()) {
                equal += usize::from((found - expected).abs() <= 1e-5 + 1e-4 * expected.abs());
                error += f64::from(found - expected).powi(2);
                size += f64::from(expected).powi(2);
                all += 1;
            }
        }
        let (share, judge) = (equal as f64 / f64::from(all), &case["judge"]);
        if let Some(least) = judge["entries_equal"].as_f64() {
            assert!(share >= least, "{spec}: {share} of {all} equal");
        } else {
            let found = f64::sqrt(error / size);
            assert!(found < judge["relative_frobenius"].as_f64().unwrap(), "{spec}: {found}");
        }
        let zeros = zeros as f64 / weights as f64;
        assert!((zeros - case["share_of_zeros"].as_f64().unwrap()).abs() < 0.003, "{spec}: {zeros} zeros");
        seen += 1;
    }
    assert!(seen > 0, "no case of {rule}");
}

macro_rules! rules {
    ($($test:ident: $rule:expr,)*) => {
        $(#[test] fn $test() { same_as_the_reference($rule); })*
    };
}

rules! {
    rule_rtn: "rtn",
    rule_awq: "awq",
    rule_gptq: "gptq",
    rule_sparsegpt: "sparsegpt",
    rule_svd: "svd",
    rule_asvd: "asvd",
    rule_svd_llm: "svd-llm",
    rule_wanda: "wanda",
    rule_magnitude: "magnitude",
    rule_iterative: "iterative",
    rule_shortgpt: "shortgpt",
}

/// Tensors of a file with their types: to be broken.
type Parts = HashMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// A copy of a folder, with its tensors and its config changed.
fn changed(folder: &str, tensors: impl FnOnce(&mut Parts), config: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(root().join(folder).join(file), place.path().join(file)).unwrap();
    }
    let file = place.path().join("model.safetensors");
    let bytes = fs::read(&file).unwrap();
    let mut parts: Parts = SafeTensors::deserialize(&bytes)
        .unwrap()
        .tensors()
        .into_iter()
        .map(|(name, view)| (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec())))
        .collect();
    tensors(&mut parts);
    let views =
        parts.iter().map(|(name, (dtype, shape, data))| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    safetensors::serialize_to_file(views, None, &file).unwrap();
    edit_json(&place.path().join("config.json"), |json| {
        let key = if json.get("quantization").is_some() { "quantization" } else { "quantization_config" };
        config(&mut json[key]);
    });
    place
}

/// A sound folder, changed, as far as it is read.
fn broken(scheme: &str, tensors: impl FnOnce(&mut Parts), config: impl FnOnce(&mut Value)) -> Result<Contents, String> {
    contents(changed(&format!("rejects/sound-{scheme}"), tensors, config).path())
}

const GATE: &str = "model.layers.0.mlp.gate_proj.";

/// One part of one matrix, changed.
fn part(name: &str, change: impl FnOnce(&mut (Dtype, Vec<usize>, Vec<u8>))) -> impl FnOnce(&mut Parts) {
    let name = format!("{GATE}{name}");
    move |parts| change(parts.get_mut(&name).unwrap())
}

#[test]
fn sound_folders_are_read_and_broken_ones_refused_by_name() {
    for scheme in ["gptq", "awq", "ct", "fp8", "bnb", "mlx"] {
        broken(scheme, |_| {}, |_| {}).unwrap();
    }
    let fewer_rows = |(_, shape, data): &mut (Dtype, Vec<usize>, Vec<u8>)| {
        let row = data.len() / shape[0];
        shape[0] -= 1;
        data.truncate(row * shape[0]);
    };
    let nan = |(_, _, data): &mut (Dtype, Vec<usize>, Vec<u8>)| data[..2].copy_from_slice(&[0xff, 0x7f]);
    let zero = |(_, _, data): &mut (Dtype, Vec<usize>, Vec<u8>)| data[..2].fill(0);
    let far = |(_, _, data): &mut (Dtype, Vec<usize>, Vec<u8>)| data[..4].copy_from_slice(&9_i32.to_le_bytes());
    let gone = |name: &str| {
        let name = format!("{GATE}{name}");
        move |parts: &mut Parts| drop(parts.remove(&name).unwrap())
    };
    let refused = |found: Result<Contents, String>, words: &[&str]| {
        let message = found.expect_err("it was read");
        words.iter().for_each(|word| assert!(message.contains(word), "{message:?} lacks {word:?}"));
    };
    let same = |_: &mut Value| {};
    refused(broken("gptq", part("qweight", fewer_rows), same), &["gate_proj", "expected", "found"]);
    refused(broken("gptq", part("scales", nan), same), &["gate_proj.scales", "NaN"]);
    refused(broken("gptq", part("scales", zero), same), &["gate_proj.scales", "is 0"]);
    refused(broken("gptq", part("g_idx", far), same), &["gate_proj.g_idx", "below 1, found 9"]);
    refused(broken("gptq", gone("g_idx"), |c| c["desc_act"] = json!(true)), &["g_idx", "missing", "desc_act"]);
    refused(broken("gptq", |_| {}, |c| c["checkpoint_format"] = json!("gptq_v2")), &["qzeros", "minus one"]);
    refused(broken("gptq", |_| {}, |c| c["checkpoint_format"] = json!("marlin")), &["marlin"]);
    refused(broken("gptq", |_| {}, |c| c["group_size"] = json!(0)), &["group_size", "found 0"]);
    let awq = json!({ "quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": true, "version": "gemm" });
    refused(broken("gptq", |_| {}, |c| *c = awq), &["AWQ", "qweight"]);
    refused(broken("gptq", |_| {}, |c| c["quant_method"] = json!("made_up")), &["made_up", "gptq, awq"]);
    refused(broken("gptq", |_| {}, |c| *c = Value::Null), &["GPTQ", "nothing says how"]);
    refused(broken("awq", part("qzeros", fewer_rows), same), &["gate_proj.qzeros", "expected shape"]);
    refused(broken("ct", gone("weight_scale"), same), &["gate_proj.weight_scale", "missing"]);
    refused(broken("ct", |_| {}, |c| c["ignore"] = json!(["re:.*gate_proj"])), &["gate_proj", "ignored"]);
    refused(broken("ct", |_| {}, |c| c["config_groups"]["group_0"]["targets"] = json!(["re:*["])), &["*["]);
    refused(broken("ct", |_| {}, |c| c["format"] = json!("marlin-24")), &["marlin-24", "pack-quantized"]);
    refused(broken("fp8", part("weight_scale_inv", fewer_rows), same), &["weight_scale_inv", "[2, 1], found [1, 1]"]);
    refused(broken("fp8", gone("weight_scale_inv"), same), &["gate_proj.weight_scale_inv", "missing"]);
    refused(broken("bnb", part("weight.quant_map", |p| (p.1[0], p.2) = (8, p.2[..32].to_vec())), same), &["quant_map"]);
    let state = "weight.quant_state.bitsandbytes__nf4";
    refused(broken("bnb", gone(state), same), &["gate_proj.weight", "quant_state"]);
    let blocks = |p: &mut (Dtype, Vec<usize>, Vec<u8>)| {
        let mut json: Value = serde_json::from_slice(&p.2).unwrap();
        json["shape"] = json!([1_u64 << 40, 1_u64 << 40]);
        p.2 = serde_json::to_vec(&json).unwrap();
        p.1 = vec![p.2.len()];
    };
    refused(broken("bnb", part(state, blocks), same), &["gate_proj.weight", "says shape"]);
    refused(broken("mlx", gone("biases"), same), &["gate_proj.biases", "missing"]);
    refused(broken("mlx", |_| {}, |c| c["bits"] = json!(7)), &["bits", "found 7"]);
}

/// A byte a code with scattered groups: columns the other way round, each with its own group, are the same matrix turned.
#[test]
fn int8_hears_which_group_a_column_is_of() {
    let weight = |place: &Path| {
        let opened = Opened::open(place).unwrap();
        let parameters = opened.parameters().unwrap();
        let gate = parameters.iter().find(|p| p.published == format!("{GATE}weight")).unwrap();
        (gate.shape[1], opened.values(gate).unwrap())
    };
    let folder = "models/ct-int8-group-asym";
    let (cols, plain) = weight(&root().join(folder));
    let turn = |parts: &mut Parts| {
        let (_, _, codes) = parts.get_mut(&format!("{GATE}weight")).unwrap();
        codes.chunks_mut(cols).for_each(<[u8]>::reverse);
        let groups = (0..cols).rev().flat_map(|col| (col as i32 / 32).to_le_bytes()).collect();
        parts.insert(format!("{GATE}weight_g_idx"), (Dtype::I32, vec![cols], groups));
    };
    let (_, turned) = weight(changed(folder, turn, |_| {}).path());
    let expected: Vec<f32> = plain.chunks(cols).flat_map(|row| row.iter().rev().copied()).collect();
    assert_eq!(turned, expected);
    let scattered = |config: &mut Value| config["config_groups"]["group_0"]["weights"]["actorder"] = json!("group");
    let missing = contents(changed(folder, |_| {}, scattered).path()).unwrap_err();
    assert!(missing.contains("weight_g_idx") && missing.contains("actorder"), "{missing}");
}
