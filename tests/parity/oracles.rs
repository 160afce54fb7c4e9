//! Families as candle-transformers computes them: a second opinion beside the recorded ones, at any length of text.
//!
//! It has no GPT-2 and no GPT-NeoX. Where it is known to leave the published models, as the numbers of `transformers` show,
//! the config is one on which both must agree, and `families.rs` and `reference.rs` hold what is left out here.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{gemma2, gemma3, llama, mistral, qwen2, qwen3};
use prunelens_core::model::Model;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::support::{Place, edit_json, fixtures, floats, furthest, read_json};

/// Logits at the last of these tokens, nothing being kept from one call to the next.
type Last = Box<dyn FnMut(&Tensor) -> Result<Tensor>>;

struct Oracle {
    /// Among the fixtures.
    folder: &'static str,
    /// What both read in place of the fixture's config.
    config: Value,
    load: fn(Value, VarBuilder) -> Result<Last>,
}

/// A model that keeps what it has read.
macro_rules! cached {
    ($model:expr) => {{
        let mut model = $model?;
        Ok(Box::new(move |tokens: &Tensor| {
            model.clear_kv_cache();
            model.forward(tokens, 0)
        }) as Last)
    }};
}

fn oracles() -> [Oracle; 6] {
    [
        Oracle { folder: "parity/models/llama", config: json!({}), load: llama },
        Oracle {
            folder: "families/mistral",
            config: json!({}),
            load: |config, weights| cached!(mistral::Model::new(&read(narrower(config)), weights)),
        },
        // All its layers have a window, whatever the config says: one that is wider than the texts.
        Oracle {
            folder: "families/qwen2",
            config: json!({"use_sliding_window": false, "layer_types": null, "sliding_window": 48}),
            load: |config, weights| cached!(qwen2::ModelForCausalLM::new(&read(config), weights)),
        },
        Oracle {
            folder: "families/qwen3",
            config: json!({}),
            load: |config, weights| cached!(qwen3::ModelForCausalLM::new(&read(config), weights)),
        },
        // All its layers have a window, and it scales queries by the heads' width.
        Oracle {
            folder: "parity/models/gemma2",
            config: json!({"sliding_window": 40, "query_pre_attn_scalar": 10}),
            load: |config, weights| cached!(gemma2::Model::new(false, &read(config), weights)),
        },
        // It scales queries by the heads' width.
        Oracle {
            folder: "parity/models/gemma3",
            config: json!({"query_pre_attn_scalar": 18}),
            load: |config, weights| cached!(gemma3::Model::new(false, &read(narrower(config)), weights)),
        },
    ]
}

fn read<T: DeserializeOwned>(config: Value) -> T {
    serde_json::from_value(config).unwrap_or_else(|e| panic!("{e}"))
}

/// Its windows reach one token further back than those of `transformers`.
fn narrower(mut config: Value) -> Value {
    let window = config["sliding_window"].as_u64().expect("a window");
    config["sliding_window"] = json!(window - 1);
    config
}

fn llama(config: Value, weights: VarBuilder) -> Result<Last> {
    let config = read::<llama::LlamaConfig>(config).into_config(false);
    let model = llama::Llama::load(weights, &config)?;
    Ok(Box::new(move |tokens| {
        let mut cache = llama::Cache::new(false, DType::F32, &config, &Device::Cpu)?;
        model.forward(tokens, 0, &mut cache)
    }))
}

/// Our logits at the last token.
fn ours(model: &Model, tokens: &Tensor) -> Vec<f32> {
    let captured = model.capture(tokens, "blocks.0.hook_resid_post".parse().unwrap(), &mut || Ok(())).unwrap();
    let logits = model.logits(&model.finish(&captured, &mut || Ok(())).unwrap()).unwrap();
    let length = tokens.dim(1).unwrap();
    floats(&logits.narrow(1, length - 1, 1).unwrap())
}

#[test]
fn candle_transformers_agrees() {
    for Oracle { folder, config, load } in oracles() {
        let place = Place::new();
        let copy = place.copy_of(&fixtures().join(folder), "model");
        edit_json(&copy.join("config.json"), |json| {
            let keys = json.as_object_mut().unwrap();
            for (key, value) in config.as_object().unwrap() {
                keys.insert(key.clone(), value.clone());
            }
            keys.retain(|_, value| !value.is_null());
        });
        let json = read_json(&copy.join("config.json"));
        let tensors = candle_core::safetensors::load(copy.join("model.safetensors"), &Device::Cpu).unwrap();
        let weights = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        let mut theirs = load(json, weights).unwrap_or_else(|e| panic!("{folder}: {e}"));
        let model = Model::load(&copy, &Device::Cpu, DType::F32, &mut |_| Ok(())).unwrap();
        let vocabulary = model.config.d_vocab as u32;
        for length in [1_u32, 2, 5, 8, 13, 30] {
            let ids: Vec<u32> = (0..length).map(|i| (i * 37 + length) % vocabulary).collect();
            let tokens = Tensor::from_vec(ids, (1, length as usize), &Device::Cpu).unwrap();
            let want = floats(&theirs(&tokens).unwrap_or_else(|e| panic!("{folder}: {e}")));
            let far = furthest(&ours(&model, &tokens), &want);
            assert!(far < 2e-5, "{folder}, {length} tokens: logits differ by {far}");
        }
    }
}
