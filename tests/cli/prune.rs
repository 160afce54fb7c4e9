//! `prunelens prune`: what it writes, read back.

use std::{collections::BTreeMap, fs, path::Path};

use candle_core::{DType, Device, Tensor};
use half::bf16;
use prunelens_core::{
    error::Result,
    model::{Model, Opened, Part},
    progress::Progress,
    sae::formats,
    session::{Models, SessionSpec, Source, silent},
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::support::{GPT2, LLAMA, Place, Tensors, demo_spec, edit_json, fixture};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn load(dir: &Path) -> Model {
    Model::load(dir, &Device::Cpu, DType::F32, &mut quiet).unwrap()
}

fn quiet(progress: Progress) -> Result<()> {
    silent(progress)
}

fn spec(model: &Path, compress: &str) -> SessionSpec {
    let model = Source::Path(model.to_path_buf());
    SessionSpec { model, compress: compress.parse().unwrap(), sae: None, trained_sae: None, ..demo_spec() }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Logits of a few tokens, each row less its mean: what the model predicts.
fn predictions(model: &Model) -> Vec<f32> {
    let tokens = Tensor::new(&[[3u32, 17, 4, 101, 55, 8, 9, 250]], &Device::Cpu).unwrap();
    let hook = "blocks.1.hook_resid_post".parse().unwrap();
    let captured = model.capture(&tokens, hook, &mut || Ok(())).unwrap();
    let logits = model.logits(&model.finish(&captured, &mut || Ok(())).unwrap()).unwrap();
    let mean = logits.mean_keepdim(candle_core::D::Minus1).unwrap();
    values(&logits.broadcast_sub(&mean).unwrap())
}

#[test]
fn a_pruned_model_is_the_one_in_memory() {
    for (folder, compress) in [(GPT2, "wanda:0.5"), (GPT2, "magnitude:0.3"), (LLAMA, "wanda:2:4"), (LLAMA, "wanda:0.7")]
    {
        let (place, source) = (Place::new(), fixture(folder));
        let out = place.path("deep/out");
        place.run(["prune", "model", "--model", text(&source), "--compress", compress, "--out", text(&out)]).done();
        let expected = Models::load(&spec(&source, compress), &mut quiet).unwrap().pruned;
        let found = load(&out);
        for (layer, (a, b)) in expected.blocks.iter().zip(&found.blocks).enumerate() {
            for part in Part::ALL {
                assert_eq!(values(&a.linear(part).weight), values(&b.linear(part).weight), "{folder} {layer} {part:?}");
            }
        }
        assert_eq!(predictions(&expected), predictions(&found));
        for name in ["config.json", "tokenizer.json"] {
            assert_eq!(fs::read(source.join(name)).unwrap(), fs::read(out.join(name)).unwrap());
        }
    }
}

#[test]
fn the_papers_rule_survives_as_a_plain_checkpoint() {
    for folder in [GPT2, LLAMA] {
        let (place, source) = (Place::new(), fixture(folder));
        let out = place.path("out");
        let args =
            ["prune", "model", "--model", text(&source), "--compress", "paper:0.5", "--out", text(&out), "--json"];
        let report = place.run(args).done().json();
        let sparsity = |name: &str| {
            let matrices = report["matrices"].as_array().unwrap();
            matrices.iter().find(|m| m["name"].as_str().unwrap().ends_with(name)).unwrap()["sparsity"].as_f64().unwrap()
        };
        let (attention, mlp) = match folder {
            GPT2 => ("1.attn.c_attn.weight", "1.mlp.c_fc.weight"),
            _ => ("1.self_attn.q_proj.weight", "1.mlp.up_proj.weight"),
        };
        assert_eq!((sparsity(attention), sparsity(mlp)), (0.5, 0.0), "{folder}");
        let expected = predictions(&Models::load(&spec(&source, "paper:0.5"), &mut quiet).unwrap().pruned);
        let found = predictions(&load(&out));
        let worst = expected.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-4, "{folder}: predictions differ by {worst}");
    }
}

#[test]
fn types_shards_and_everything_else_stay() {
    let (place, source) = (Place::new(), fixture(LLAMA));
    let model = place.copy(LLAMA, "model");
    // The same model in bf16, in two shards.
    let tensors = Tensors::read(&source.join("model.safetensors"));
    let mut index = serde_json::Map::new();
    for shard in 0..2 {
        let name = format!("model-0000{}-of-00002.safetensors", shard + 1);
        let half: BTreeMap<&String, (Vec<usize>, Vec<u8>)> = tensors
            .0
            .iter()
            .enumerate()
            .filter(|(at, _)| at % 2 == shard)
            .map(|(_, (name, (shape, values)))| {
                let bytes = values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect();
                (name, (shape.clone(), bytes))
            })
            .collect();
        let views = half.iter().map(|(n, (s, b))| (*n, TensorView::new(Dtype::BF16, s.clone(), b).unwrap()));
        safetensors::serialize_to_file(views, None, &model.join(&name)).unwrap();
        index.extend(half.keys().map(|tensor| ((*tensor).clone(), name.clone().into())));
    }
    fs::remove_file(model.join("model.safetensors")).unwrap();
    let index = serde_json::json!({ "metadata": {}, "weight_map": index });
    fs::write(model.join("model.safetensors.index.json"), index.to_string()).unwrap();

    // A folder with an older single file, which would be read instead.
    let out = place.path("out");
    place.write("out/model.safetensors", "old");
    place.write("out/notes.txt", "mine");
    let args = ["prune", "model", "--model", text(&model), "--compress", "wanda:0.5", "--out", text(&out), "--force"];
    place.run(args).done();
    assert!(!out.join("model.safetensors").exists());
    assert_eq!(fs::read(out.join("notes.txt")).unwrap(), b"mine");

    let mut changed = Vec::new();
    for name in ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] {
        let (before, after) = (fs::read(model.join(name)).unwrap(), fs::read(out.join(name)).unwrap());
        let (before, after) = (SafeTensors::deserialize(&before).unwrap(), SafeTensors::deserialize(&after).unwrap());
        for (name, view) in before.tensors() {
            let other = after.tensor(&name).unwrap();
            assert_eq!((view.dtype(), view.shape()), (other.dtype(), other.shape()));
            let pairs = || view.data().chunks_exact(2).zip(other.data().chunks_exact(2));
            assert!(pairs().all(|(a, b)| a == b || b == [0, 0]), "{name}: a kept value changed");
            if pairs().any(|(a, b)| a != b) {
                changed.push(name);
            }
        }
    }
    assert_eq!(changed.len(), 7 * load(&model).config.n_layers, "{changed:?}");
    assert_eq!(load(&out).blocks.len(), load(&model).blocks.len());
}

#[test]
fn the_demo_can_be_written_and_read() {
    let place = Place::new();
    let (model, sae) = (place.path("model"), place.path("sae"));
    let report = place.run(["prune", "model", "--out", text(&model), "--json"]).done().json();
    assert_eq!(report["sparsity"], 0.5);
    assert_eq!(report["settings"]["compress"], "wanda:0.5");
    let table = place
        .run([
            "prune",
            "sae",
            "--pruned-model",
            text(&model),
            "--ratio",
            "0",
            "--criterion",
            "magnitude",
            "--out",
            text(&sae),
        ])
        .done()
        .out;
    assert!(table.contains("W_enc") && table.contains("0.00 %") && table.contains(text(&sae)), "{table}");
    assert!(formats::load(&sae).is_ok());
}

#[test]
fn refusals_come_before_the_work_and_change_nothing() {
    let place = Place::new();
    let model = place.copy(GPT2, "model");
    let before = fs::read(model.join("model.safetensors")).unwrap();
    let prune = |args: &[&str]| place.run(["prune", "model", "--model", text(&model)].iter().chain(args));

    prune(&["--out", text(&model), "--force"]).refused(1, &["is the folder that is read", "--out"]);
    prune(&["--out", text(&model)]).refused(1, &["is the folder that is read"]);
    place.write("full/file", "mine");
    prune(&["--out", "full"]).refused(1, &["full: the folder holds files already", "--force"]);
    prune(&["--out", "full/file"]).refused(1, &["full/file: is a file"]);
    prune(&["--out", "full/file/below"]).refused(1, &["full/file/below: cannot be written"]);
    prune(&["--out", "x", "--pruned-model", text(&model)]).refused(2, &["--pruned-model"]);
    place.run(["prune", "sae", "--model", text(&model), "--out", "x"]).refused(2, &["--sae"]);
    assert!(!place.path("x").exists());
    assert_eq!(fs::read(model.join("model.safetensors")).unwrap(), before);
    assert_eq!(fs::read(place.path("full/file")).unwrap(), b"mine");
}

#[test]
fn a_quantised_model_is_written_as_plain_floats() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/compressed/models");
    for (name, changed) in [("gptq-w3-g32-asym-v1", "rtn:int8"), ("gguf-iq/model.gguf", "magnitude:0.5")] {
        let (place, source) = (Place::new(), models.join(name));
        let out = place.path("plain");
        let compress = |spec: &str, out: &Path| {
            let args = ["compress", "model", "--model", text(&source), "--compress", spec, "--out", text(out)];
            // What the files say of zero points is a warning.
            assert_eq!(place.run(args).code, Some(0));
        };
        compress("none", &out);
        let (packed, plain) = (Opened::open(&source).unwrap(), Opened::open(&out).unwrap());
        assert!(!packed.is_plain() && plain.is_plain());
        let (before, after) = (packed.parameters().unwrap(), plain.parameters().unwrap());
        assert_eq!(before.len(), after.len());
        for parameter in &before {
            let same = after.iter().find(|other| other.stored == parameter.published).unwrap();
            let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            let (before, after) = (packed.values(parameter).unwrap(), plain.values(same).unwrap());
            assert!(bits(before) == bits(after), "{name}: {}", parameter.published);
        }
        // What a rule makes of it is what the session makes of it.
        let out = place.path("changed");
        compress(changed, &out);
        let expected = Models::load(&spec(&source, changed), &mut quiet).unwrap().pruned;
        for (a, b) in expected.blocks.iter().zip(&load(&out).blocks) {
            Part::ALL
                .iter()
                .for_each(|part| assert_eq!(values(&a.linear(*part).weight), values(&b.linear(*part).weight)));
        }
        let ran = place.run(["inspect", "model", text(&source), "--json"]).json();
        assert!(ran["bits_per_weight"].as_f64().unwrap() < 5.0 && ran["matrices"].as_array().unwrap().len() > 7);
        place.run(["inspect", "model", text(&out)]).done();
    }
}

#[test]
fn codes_are_written_as_compressed_tensors_has_them() {
    let (place, source) = (Place::new(), fixture(LLAMA));
    let compress = |spec: &str, out: &str, format: &str| {
        let model = ["compress", "model", "--model", text(&source), "--compress", spec];
        place.run(model.iter().chain(&["--out", out, "--format", format]))
    };
    let cases = [
        ("rtn:int4:g8", "int4", 8.0..8.5),
        ("rtn:int8:asym", "int8", 8.0..12.0),
        ("rtn:fp8", "fp8", 8.0..10.0),
        ("gptq:int4:g8:actorder", "int4", 8.0..8.5),
        ("sparsegpt:2:4+rtn:int4:g8", "int4", 8.0..8.5),
        ("wanda:2:4", "2:4", 16.0..18.0),
    ];
    for (at, (spec, scheme, bits)) in cases.into_iter().enumerate() {
        let [packed, plain] = ["packed", "plain"].map(|name| format!("{name}{at}"));
        compress(spec, &packed, "compressed-tensors").done();
        compress(spec, &plain, "plain").done();
        let report = place.run(["inspect", "model", &packed, "--json"]).json();
        let own = report["matrices"].as_array().unwrap();
        let own: Vec<_> = own.iter().filter(|m| m["compressed"] == true).collect();
        let model = load(&place.path(&packed));
        assert_eq!(own.len(), model.checkpoint_matrices().unwrap().len(), "{spec}");
        assert!(own.iter().all(|m| m["scheme"].as_str().unwrap().contains(scheme)), "{spec}: {}", own[0]);
        assert!(bits.contains(&report["bits_per_weight"].as_f64().unwrap()), "{spec}: {}", report["bits_per_weight"]);
        // Read back, it is what the rule made, to the bit.
        for (a, b) in model.blocks.iter().zip(&load(&place.path(&plain)).blocks) {
            for part in Part::ALL {
                let bits =
                    |weight: &Tensor| values(weight).into_iter().map(|v| (v + 0.0).to_bits()).collect::<Vec<_>>();
                assert!(bits(&a.linear(part).weight) == bits(&b.linear(part).weight), "{spec}: {part:?}");
            }
        }
    }
    for spec in ["svd:0.5", "rtn:int3", "wanda:0.5", "rtn:int8+wanda:0.5", "awq:int4:g8"] {
        compress(spec, "refused", "compressed-tensors").refused(2, &[spec, "compressed-tensors", "--format plain"]);
    }
    let gpt2 = fixture(GPT2);
    let args = ["compress", "model", "--model", text(&gpt2), "--compress", "rtn:int8", "--out", "refused"];
    let format = ["--format", "compressed-tensors"];
    place.run(args.iter().chain(&format)).refused(1, &["Conv1D", "--format plain"]);
    assert!(!place.path("refused").exists());
}

#[test]
fn a_folder_in_16_bits_is_the_model_in_memory() {
    for (name, dtype, compress) in [
        ("gemma2", DType::BF16, "rtn:int8"),
        ("gemma2", DType::F16, "sparsegpt:0.5"),
        ("gemma3", DType::BF16, "sparsegpt:0.5"),
        ("llama", DType::BF16, "rtn:int8"),
    ] {
        let (place, source) = (Place::new(), fixture("models").join(name));
        let out = place.path("out");
        let args = ["compress", "model", "--model", text(&source), "--compress", compress, "--dtype", dtype.as_str()];
        place.run(args.iter().chain(&["--out", text(&out)])).done();
        let spec = SessionSpec { dtype: Some(dtype), ..spec(&source, compress) };
        let expected = Models::load(&spec, &mut quiet).unwrap().pruned;
        let found = Model::load(&out, &Device::Cpu, dtype, &mut quiet).unwrap();
        for (a, b) in expected.tensors().into_iter().zip(found.tensors()) {
            let wide = |tensor: &Tensor| values(&tensor.to_dtype(DType::F32).unwrap());
            assert!(wide(a) == wide(b), "{name} in {dtype:?} by {compress}: {:?}", a.dims());
        }
    }
}

#[test]
fn a_failure_midway_leaves_the_old_files() {
    let place = Place::new();
    let model = place.copy(GPT2, "model");
    place.write("out/model.safetensors", "old");
    // Found only once the weights are read.
    Tensors::edit(&model.join("model.safetensors"), |t| t.get("h.2.mlp.c_proj.weight").1[5] = f32::NAN);
    let args = ["prune", "model", "--model", text(&model), "--out", "out", "--force"];
    place.run(args).refused(1, &["model.safetensors", "h.2.mlp.c_proj.weight", "NaN"]);
    fs::copy(fixture(GPT2).join("model.safetensors"), model.join("model.safetensors")).unwrap();
    edit_json(&model.join("config.json"), |c| c["n_layer"] = 4.into());
    place.run(args).refused(1, &["model.safetensors", "h.3"]);
    let left: Vec<_> = fs::read_dir(place.path("out")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["model.safetensors"]);
    assert_eq!(fs::read(place.path("out/model.safetensors")).unwrap(), b"old");
    let around: Vec<_> = fs::read_dir(place.path("")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!around.iter().any(|name| name.to_str().unwrap().starts_with(".prunelens")), "{around:?}");
}
