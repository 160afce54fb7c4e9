//! Models and SAEs of a given shape with random weights: time does not depend on the values.

use std::{path::Path, sync::Arc};

use candle_core::{DType, Device, Tensor};
use prunelens_core::{
    error::{Error, Result},
    model::{Block, Config, HookPoint, Linear, Model, Norm, NormKind, Part, Rotary, Space, config::Keys, families},
    sae::{Activation, Normalize, Sae, SaeConfig},
};
use prunelens_kernels::{ops, with_f32};
use rand::{Rng, SeedableRng, rngs::StdRng};
use rayon::prelude::*;
use serde_json::json;

/// The shapes that can be asked for.
pub const SHAPES: [&str; 2] = ["gpt2-small", "gemma-2-2b"];

/// The configuration of a shape, from the keys of its published `config.json`.
fn config(name: &str) -> Result<Config> {
    let json = match name {
        "gpt2-small" => json!({
            "model_type": "gpt2", "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024, "vocab_size": 50257,
            "bos_token_id": 0, "eos_token_id": 0,
        }),
        "gemma-2-2b" => json!({
            "model_type": "gemma2", "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
            "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 8192,
            "vocab_size": 256_000, "query_pre_attn_scalar": 256, "sliding_window": 4096,
            "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "bos_token_id": 0, "eos_token_id": 0,
        }),
        _ => {
            return Err(Error::Usage(format!(
                "--shape {name:?} does not exist; expected one of {}",
                SHAPES.join(", ")
            )));
        }
    };
    families::config(Keys { value: &json, path: Path::new(name) })
}

/// Uniform values of standard deviation `scale`, the same at every run.
pub(super) fn random(shape: (usize, usize), scale: f32, seed: u64) -> Result<Tensor> {
    let width = scale * 3.0_f32.sqrt();
    let mut values = vec![0.0; shape.0 * shape.1];
    values.par_chunks_mut(1 << 16).enumerate().for_each(|(chunk, values)| {
        let mut rng = StdRng::seed_from_u64(seed << 32 | chunk as u64);
        values.iter_mut().for_each(|v| *v = rng.random_range(-width..width));
    });
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

/// A model of a shape.
pub fn model(name: &str) -> Result<Model> {
    let config = config(name)?;
    let (d, heads) = (config.d_model, config.n_heads * config.d_head);
    let device = Device::Cpu;
    let posts = config.family == "gemma2";
    let norm = || -> Result<Norm> {
        let bias = config.norm == NormKind::LayerNorm;
        let bias = if bias { Some(Tensor::zeros(d, DType::F32, &device)?) } else { None };
        Ok(Norm { kind: config.norm, eps: config.eps, weight: Some(Tensor::ones(d, DType::F32, &device)?), bias })
    };
    let linear = |outputs: usize, inputs: usize, seed: u64| -> Result<Linear> {
        let bias = config.norm == NormKind::LayerNorm;
        let bias = if bias { Some(Tensor::zeros(outputs, DType::F32, &device)?) } else { None };
        Ok(Linear { weight: random((outputs, inputs), 0.02, seed)?, bias })
    };
    let blocks = (0..config.n_layers as u64)
        .map(|layer| {
            let seed = |part: Part| 16 + 4 * layer + part as u64;
            let qkv = heads + 2 * config.n_kv_heads * config.d_head;
            Ok(Block {
                ln1: norm()?,
                ln2: norm()?,
                ln1_post: if posts { Some(norm()?) } else { None },
                ln2_post: if posts { Some(norm()?) } else { None },
                qk_norms: None,
                qkv: linear(qkv, d, seed(Part::Qkv))?,
                o: linear(d, heads, seed(Part::O))?,
                mlp_in: linear(if config.gated { 2 } else { 1 } * config.d_mlp, d, seed(Part::MlpIn))?,
                mlp_out: linear(d, config.d_mlp, seed(Part::MlpOut))?,
            })
        })
        .collect::<Result<_>>()?;
    let embed = random((config.d_vocab, d), 0.02, 1)?;
    let rotary = config.rope.as_ref().map(|rope| Rotary::new(rope, &device));
    Ok(Model {
        name: name.into(),
        positions: if config.rope.is_none() { Some(random((config.n_ctx, d), 0.02, 2)?) } else { None },
        rotary,
        rotary_local: None,
        blocks,
        ln_final: norm()?,
        unembed: Linear { weight: embed.clone(), bias: None },
        embed,
        config,
        ops: ops::of(&device)?,
        device,
        dtype: DType::F32,
        processed: false,
        known: Arc::default(),
        warnings: Vec::new(),
    })
}

/// A copy with half of each matrix's weights gone: tensors of its own where it fits memory twice, else the same ones.
pub fn pruned(model: &Model) -> Result<Model> {
    if model.parameters() > 1_000_000_000 {
        return Ok(model.clone());
    }
    let mut copy = model.clone();
    for part in Part::ALL {
        for block in &mut copy.blocks {
            let linear = block.linear_mut(part);
            let shape = linear.weight.shape().clone();
            let mut values = with_f32(&linear.weight, <[f32]>::to_vec)?;
            // Half of a uniform distribution lies within half its width.
            let half = values.iter().fold(0.0_f32, |most, v| most.max(v.abs())) / 2.0;
            values.iter_mut().filter(|v| v.abs() < half).for_each(|v| *v = 0.0);
            linear.weight = Tensor::from_vec(values, shape, &Device::Cpu)?;
        }
    }
    Ok(copy)
}

/// A `standard` SAE with unit decoder rows and their transpose as encoder. Its bias lets about 32 latents a token of
/// `x [n, d_in]` fire.
pub fn sae(d_in: usize, d_sae: usize, hook: HookPoint, x: &Tensor, seed: u64) -> Result<Sae> {
    let mut values = with_f32(&random((d_sae, d_in), 1.0, seed)?, <[f32]>::to_vec)?;
    values.par_chunks_mut(d_in).for_each(|row| {
        let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt();
        row.iter_mut().for_each(|v| *v /= norm);
    });
    let rows = Tensor::from_vec(values, (d_sae, d_in), &Device::Cpu)?;
    let mut sae = Sae {
        config: SaeConfig {
            name: "random".into(),
            architecture: "standard",
            d_in,
            d_sae,
            hook,
            module: None,
            normalize: Normalize::None,
            apply_b_dec_to_input: true,
            prepend_bos: true,
            space: Space::Raw,
            source: serde_json::Value::Null,
            folded: None,
            warnings: Vec::new(),
        },
        w_enc: rows.clone(),
        b_enc: vec![0.0; d_sae],
        w_dec: rows,
        b_dec: vec![0.0; d_in],
        activation: Activation::Relu,
        decode_scale: None,
    };
    let pre = sae.pre_activations(&with_f32(x, <[f32]>::to_vec)?)?;
    let active = 32.min(d_sae - 1);
    let floors: Vec<f32> = pre
        .chunks(d_sae)
        .map(|row| {
            let mut row = row.to_vec();
            *row.select_nth_unstable_by(active, |a, b| b.total_cmp(a)).1
        })
        .collect();
    let floor = floors.iter().sum::<f32>() / floors.len().max(1) as f32;
    sae.b_enc.fill(-floor);
    Ok(sae)
}
