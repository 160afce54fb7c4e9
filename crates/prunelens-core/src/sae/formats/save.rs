//! Writing an SAE as a SAELens 6 folder.

use std::path::Path;

use candle_core::DType;
use half::{bf16, f16};
use prunelens_kernels::{matmul::transpose, with_f32};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Map, Value, json};

use crate::{
    error::{Error, Result},
    files::write_together,
    model::{Site, Space},
    sae::{Activation, Sae},
};

/// The SAELens version whose layout is written; readers tell old and new configs apart by it.
const SAE_LENS_VERSION: &str = "6.54.12";

/// The last SAELens version that trained on TransformerLens' processed weights: says `tl` where nothing else does.
pub const PROCESSED_VERSION: &str = "3.19.1";

/// Write `cfg.json` and `sae_weights.safetensors` into `folder`, which must exist. `metadata` is added to what the SAE's
/// own config says.
pub fn save(sae: &Sae, folder: &Path, dtype: DType, metadata: Map<String, Value>) -> Result<()> {
    let config_path = folder.join("cfg.json");
    let config = config(sae, metadata).map_err(|what| Error::file(&config_path, what))?;
    let path = folder.join("sae_weights.safetensors");
    let tensors = tensors(sae)?;
    let mut encoded = Vec::new();
    for (name, shape, values) in tensors {
        let (dtype, bytes) =
            bytes(&values, dtype).map_err(|what| Error::file(&path, format!("tensor {name:?}: {what}")))?;
        encoded.push((name, dtype, shape, bytes));
    }
    let refused = |e: safetensors::SafeTensorError| Error::file(&path, format!("cannot be written: {e}"));
    let views = encoded.iter().map(|(name, dtype, shape, bytes)| {
        Ok((*name, TensorView::new(*dtype, shape.clone(), bytes).map_err(refused)?))
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    let weights = safetensors::serialize(views, None).map_err(refused)?;
    // The config comes last: a folder with one is whole.
    write_together(&[(&path, &weights), (&config_path, format!("{config:#}\n").as_bytes())])
}

/// The config of SAELens 6, or what it cannot say.
fn config(sae: &Sae, extra: Map<String, Value>) -> Result<Value, String> {
    let config = &sae.config;
    let mut out = Map::new();
    let mut set = |key: &str, value: Value| drop(out.insert(key.to_owned(), value));
    match sae.activation {
        Activation::TanhRelu => return Err("SAELens 6 has no tanh-relu activation; this SAE cannot be written".into()),
        Activation::TopK { k, rescale_by_decoder_norm } => {
            set("architecture", "topk".into());
            set("k", k.into());
            set("rescale_acts_by_decoder_norm", rescale_by_decoder_norm.into());
        }
        _ => set("architecture", config.architecture.into()),
    }
    set("d_in", config.d_in.into());
    set("d_sae", config.d_sae.into());
    // What it is to be computed in, however it is stored.
    set("dtype", "float32".into());
    set("device", "cpu".into());
    set("apply_b_dec_to_input", config.apply_b_dec_to_input.into());
    set("normalize_activations", config.normalize.name().into());
    set("reshape_activations", if config.hook.site == Site::Z { "hook_z" } else { "none" }.into());
    set("metadata", Value::Object(metadata(sae, extra)));
    Ok(Value::Object(out))
}

fn metadata(sae: &Sae, extra: Map<String, Value>) -> Map<String, Value> {
    let config = &sae.config;
    let source = &config.source;
    // Version 6 keeps all this under "metadata", older configs at the top.
    let old = |key: &str| source.get("metadata").and_then(|m| m.get(key)).or_else(|| source.get(key)).cloned();
    let mut out = source.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut set = |key: &str, value: Value| drop(out.insert(key.to_owned(), value));
    for (key, default) in [
        ("model_name", Value::Null),
        ("model_class_name", json!("HookedTransformer")),
        ("hook_head_index", Value::Null),
        ("context_size", Value::Null),
        ("dataset_path", Value::Null),
    ] {
        set(key, old(key).unwrap_or(default));
    }
    set("hook_name", config.hook.to_string().into());
    set("prepend_bos", config.prepend_bos.into());
    let kwargs = match config.space {
        Space::Centered => json!({"center_writing_weights": true}),
        Space::Raw => json!({"center_writing_weights": false}),
        Space::Tl => old("model_from_pretrained_kwargs").unwrap_or_else(|| json!({})),
    };
    set("model_from_pretrained_kwargs", kwargs);
    let trained_by = match config.space {
        Space::Tl => old("sae_lens_training_version").unwrap_or_else(|| json!(PROCESSED_VERSION)),
        Space::Raw | Space::Centered => json!(SAE_LENS_VERSION),
    };
    set("sae_lens_version", SAE_LENS_VERSION.into());
    set("sae_lens_training_version", trained_by);
    out.extend(extra);
    out
}

type Named = (&'static str, Vec<usize>, Vec<f32>);

/// Tensors in SAELens' orientation.
fn tensors(sae: &Sae) -> Result<Vec<Named>> {
    let (d_in, d_sae) = (sae.d_in(), sae.d_sae());
    let w_enc = with_f32(&sae.w_enc.contiguous()?, |w| transpose(w, d_sae, d_in))?;
    let mut w_dec = with_f32(&sae.w_dec.contiguous()?, <[f32]>::to_vec)?;
    // SAELens 6 has no such factor; as part of the decoder it does the same.
    for (row, scale) in w_dec.chunks_mut(d_in).zip(sae.decode_scale.iter().flatten()) {
        row.iter_mut().for_each(|w| *w *= scale);
    }
    let mut out = vec![
        ("W_enc", vec![d_in, d_sae], w_enc),
        ("W_dec", vec![d_sae, d_in], w_dec),
        ("b_dec", vec![d_in], sae.b_dec.clone()),
    ];
    let mut vector = |name, values: &[f32]| out.push((name, vec![d_sae], values.to_vec()));
    match &sae.activation {
        Activation::Gated { r_mag, b_mag } => {
            vector("b_gate", &sae.b_enc);
            vector("b_mag", b_mag);
            vector("r_mag", r_mag);
        }
        Activation::JumpRelu { threshold } => {
            vector("b_enc", &sae.b_enc);
            vector("threshold", threshold);
        }
        Activation::Relu | Activation::TanhRelu | Activation::TopK { .. } => vector("b_enc", &sae.b_enc),
    }
    Ok(out)
}

fn bytes(values: &[f32], dtype: DType) -> Result<(Dtype, Vec<u8>), String> {
    match dtype {
        DType::F32 => Ok((Dtype::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect())),
        DType::BF16 => Ok((Dtype::BF16, values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect())),
        DType::F16 => match values.iter().find(|v| f16::from_f32(**v).is_infinite()) {
            Some(v) => Err(format!("{v} is too large for f16; store it as bf16 or f32")),
            None => Ok((Dtype::F16, values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect())),
        },
        other => Err(format!("cannot be stored as {other:?}; expected f32, bf16 or f16")),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::sae::Normalize;
    use crate::sae::{SaeConfig, formats};

    fn sae(activation: Activation, architecture: &'static str, hook: &str, space: Space) -> Sae {
        let (d_in, d_sae) = (3, 5);
        let matrix = |phase: f32| {
            let values: Vec<f32> = (0..d_in * d_sae).map(|i| (i as f32 * 0.7 + phase).sin()).collect();
            Tensor::from_vec(values, (d_sae, d_in), &Device::Cpu).unwrap()
        };
        let config = SaeConfig {
            name: "tiny".into(),
            architecture,
            d_in,
            d_sae,
            hook: hook.parse().unwrap(),
            module: None,
            normalize: Normalize::LayerNorm,
            apply_b_dec_to_input: true,
            prepend_bos: true,
            space,
            source: Value::Null,
            folded: None,
            warnings: Vec::new(),
        };
        let (w_enc, w_dec) = (matrix(0.0), matrix(1.0));
        let (b_enc, b_dec) = (vec![0.1, -0.2, 0.3, 0.4, 0.5], vec![1.0, -1.0, 0.5]);
        Sae { config, w_enc, b_enc, w_dec, b_dec, activation, decode_scale: None }
    }

    fn round_trip(sae: &Sae, dtype: DType) -> (Value, Sae) {
        let folder = tempfile::tempdir().unwrap();
        save(sae, folder.path(), dtype, Map::from_iter([("figure".to_owned(), json!(0.5))])).unwrap();
        let config = serde_json::from_slice(&std::fs::read(folder.path().join("cfg.json")).unwrap()).unwrap();
        (config, formats::load(folder.path()).unwrap())
    }

    fn same(a: &Sae, b: &Sae) {
        let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values(&a.w_enc), values(&b.w_enc));
        assert_eq!(values(&a.w_dec), values(&b.w_dec));
        assert_eq!((&a.b_enc, &a.b_dec, &a.activation), (&b.b_enc, &b.b_dec, &b.activation));
        let (a, b) = (&a.config, &b.config);
        assert_eq!((a.hook, a.normalize, a.space, a.prepend_bos), (b.hook, b.normalize, b.space, b.prepend_bos));
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let top_k = Activation::TopK { k: 2, rescale_by_decoder_norm: false };
        let jump = Activation::JumpRelu { threshold: vec![0.1; 5] };
        let gated = Activation::Gated { r_mag: vec![0.2; 5], b_mag: vec![0.3; 5] };
        for (activation, architecture, hook, space) in [
            (top_k, "topk", "blocks.1.hook_resid_post", Space::Raw),
            (Activation::Relu, "standard", "blocks.0.attn.hook_z", Space::Centered),
            (jump, "jumprelu", "blocks.1.hook_mlp_out", Space::Tl),
            (gated, "gated", "blocks.1.hook_mlp_out", Space::Raw),
        ] {
            let sae = sae(activation, architecture, hook, space);
            let (config, read) = round_trip(&sae, DType::F32);
            same(&sae, &read);
            assert_eq!(config["metadata"]["figure"], 0.5);
            assert_eq!(config["reshape_activations"], if hook.ends_with("hook_z") { "hook_z" } else { "none" });
        }
    }

    #[test]
    fn sixteen_bits_keep_what_they_can() {
        let sae = sae(Activation::Relu, "standard", "blocks.0.hook_mlp_out", Space::Raw);
        for (dtype, tolerance) in [(DType::F16, 1e-3), (DType::BF16, 1e-2)] {
            let (config, read) = round_trip(&sae, dtype);
            assert_eq!(config["dtype"], "float32");
            assert!(read.b_enc.iter().zip(&sae.b_enc).all(|(a, b)| (a - b).abs() < tolerance));
        }
        let folder = tempfile::tempdir().unwrap();
        let large = Sae { b_dec: vec![1e5; 3], ..sae };
        let message = save(&large, folder.path(), DType::F16, Map::new()).unwrap_err().to_string();
        assert!(message.contains("b_dec") && message.contains("f16"), "{message}");
        assert!(!folder.path().join("cfg.json").exists());
    }

    #[test]
    fn what_saelens_6_cannot_say_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let sae = sae(Activation::TanhRelu, "standard", "blocks.0.hook_mlp_out", Space::Raw);
        assert!(save(&sae, folder.path(), DType::F32, Map::new()).unwrap_err().to_string().contains("tanh-relu"));
    }
}
