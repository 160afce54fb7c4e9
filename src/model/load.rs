//! Hugging Face directories to [`Model`].

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde_json::Value;

use super::{
    Block, Linear, Model, Norm, NormKind, Part,
    config::{Config, Keys},
    families::{self, Names},
    weights::{Weights, read_json},
};
use crate::{
    error::{Error, Result},
    kernels::matmul::transpose,
    progress::{Listener, Progress},
};

/// One matrix of the checkpoint: which part of which block, and which rows of it.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckpointMatrix {
    /// With the prefix under which the libraries name it, such as `transformer.h.0.attn.c_attn.weight`.
    pub name: String,
    pub layer: usize,
    pub part: Part,
    /// Rows of the part's `[outputs, inputs]` matrix.
    pub rows: std::ops::Range<usize>,
    /// Stored `[inputs, outputs]` in the checkpoint.
    pub transposed: bool,
}

struct Loader<'a> {
    weights: &'a Weights,
    names: &'a Names,
    config: &'a Config,
    prefix: &'a str,
    device: &'a Device,
    dtype: DType,
    done: u64,
    progress: Listener<'a>,
}

impl Loader<'_> {
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let values = self.weights.f32(name, shape)?;
        self.done += 4 * values.len() as u64;
        Ok(values)
    }

    fn tensor(&self, values: Vec<f32>, shape: &[usize]) -> Result<Tensor> {
        // By value: on the CPU in f32 this takes the buffer over.
        let tensor = match shape {
            [a] => Tensor::from_vec(values, *a, self.device)?,
            [a, b] => Tensor::from_vec(values, (*a, *b), self.device)?,
            _ => Tensor::from_vec(values, shape, self.device)?,
        };
        Ok(tensor.to_dtype(self.dtype)?)
    }

    fn plain(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let values = self.read(&format!("{}{name}", self.prefix), shape)?;
        self.tensor(values, shape)
    }

    fn norm(&mut self, name: &str) -> Result<Norm> {
        let d = self.config.d_model;
        let weight = self.plain(&format!("{name}.weight"), &[d])?;
        let bias = match self.config.norm {
            NormKind::LayerNorm => Some(self.plain(&format!("{name}.bias"), &[d])?),
            NormKind::RmsNorm => None,
        };
        Ok(Norm { kind: self.config.norm, eps: self.config.eps, weight: Some(weight), bias })
    }

    /// Matrices whose outputs follow each other, as one.
    fn linear(&mut self, layer: usize, part: Part) -> Result<Linear> {
        let inputs = inputs(self.config, part);
        let (mut values, mut biases, mut total) = (Vec::new(), Vec::new(), 0);
        for (name, outputs) in matrices(self.names, self.config, part) {
            let full = format!("{}{}{name}", self.prefix, self.names.block.replace("{}", &layer.to_string()));
            let one = if self.names.conv1d {
                transpose(&self.read(&format!("{full}.weight"), &[inputs, outputs])?, inputs, outputs)
            } else {
                self.read(&format!("{full}.weight"), &[outputs, inputs])?
            };
            if values.is_empty() {
                values = one
            } else {
                values.extend(one)
            }
            let bias = format!("{full}.bias");
            if self.weights.shape(&bias).is_some() {
                biases.resize(total, 0.0);
                biases.extend(self.read(&bias, &[outputs])?);
            }
            total += outputs;
        }
        let bias = if biases.is_empty() {
            None
        } else {
            biases.resize(total, 0.0);
            Some(self.tensor(biases, &[total])?)
        };
        Ok(Linear { weight: self.tensor(values, &[total, inputs])?, bias })
    }

    fn block(&mut self, layer: usize) -> Result<Block> {
        let total = self.weights.bytes();
        (self.progress)(Progress { what: "reading weights".into(), done: self.done.min(total), total, unit: "bytes" })?;
        let prefix = self.names.block.replace("{}", &layer.to_string());
        Ok(Block {
            ln1: self.norm(&format!("{prefix}{}", self.names.ln1))?,
            ln2: self.norm(&format!("{prefix}{}", self.names.ln2))?,
            qkv: self.linear(layer, Part::Qkv)?,
            o: self.linear(layer, Part::O)?,
            mlp_in: self.linear(layer, Part::MlpIn)?,
            mlp_out: self.linear(layer, Part::MlpOut)?,
        })
    }
}

/// Inputs of a part's matrix.
fn inputs(config: &Config, part: Part) -> usize {
    match part {
        Part::Qkv | Part::MlpIn => config.d_model,
        Part::O => config.n_heads * config.d_head,
        Part::MlpOut => config.d_mlp,
    }
}

/// Names and outputs of the checkpoint's matrices that make up a part.
fn matrices(names: &Names, config: &Config, part: Part) -> Vec<(&'static str, usize)> {
    let (q, kv) = (config.n_heads * config.d_head, config.n_kv_heads * config.d_head);
    match (part, names.qkv) {
        (Part::Qkv, [fused]) => vec![(fused, q + 2 * kv)],
        (Part::Qkv, all) => all.iter().copied().zip([q, kv, kv]).collect(),
        (Part::O, _) => vec![(names.o, config.d_model)],
        (Part::MlpIn, _) => names.mlp_in.iter().map(|name| (*name, config.d_mlp)).collect(),
        (Part::MlpOut, _) => vec![(names.mlp_out, config.d_model)],
    }
}

impl Model {
    /// From a Hugging Face directory: `config.json` and `model.safetensors`, or its shards.
    pub fn load(dir: &Path, device: &Device, dtype: DType, progress: Listener) -> Result<Self> {
        let config_path = dir.join("config.json");
        let json = read_json(&config_path)?;
        let name = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
        let name = name.file_name().map_or("model".into(), |n| crate::text::safe(&n.to_string_lossy()));
        Self::from_weights(name, &config_path, &json, &Weights::open_model(dir)?, device, dtype, progress)
    }

    /// From a parsed `config.json` (read at `config_path`) and its tensors.
    pub fn from_weights(
        name: String,
        config_path: &Path,
        json: &Value,
        weights: &Weights,
        device: &Device,
        dtype: DType,
        progress: Listener,
    ) -> Result<Self> {
        let keys = Keys { value: json, path: config_path };
        let family = families::family(keys)?;
        let config = (family.config)(keys)?;
        let names = &family.names;
        let has = |prefix: &&&str| weights.shape(&format!("{prefix}{}", names.embed)).is_some();
        let prefix = names.prefixes.iter().find(has).copied().unwrap_or(names.prefixes[0]);
        let mut load = Loader { weights, names, config: &config, prefix, device, dtype, done: 0, progress };
        let embed = load.plain(names.embed, &[config.d_vocab, config.d_model])?;
        let positions = match names.positions {
            Some(name) => Some(load.plain(name, &[config.n_ctx, config.d_model])?),
            None => None,
        };
        let blocks = (0..config.n_layers).map(|layer| load.block(layer)).collect::<Result<Vec<_>>>()?;
        let ln_final = load.norm(names.ln_final)?;
        let weight = if weights.shape(names.unembed).is_some() {
            let values = load.read(names.unembed, &[config.d_vocab, config.d_model])?;
            load.tensor(values, &[config.d_vocab, config.d_model])?
        } else if json.get("tie_word_embeddings").and_then(Value::as_bool) == Some(false) {
            return Err(Error::file(
                weights.path(),
                format!("tensor {:?} is missing, and config.json says that it is not tied", names.unembed),
            ));
        } else {
            embed.clone()
        };
        // Angles are read at any position up to the context, which for some families is long: tables are made for it all.
        let rotary = match &config.rope {
            Some(rope) => {
                let (cos, sin) = rope.tables(config.n_ctx, config.d_head);
                let shape = (config.n_ctx, config.d_head / 2);
                Some((Tensor::from_vec(cos, shape, device)?, Tensor::from_vec(sin, shape, device)?))
            }
            None => None,
        };
        Ok(Self {
            name,
            device: device.clone(),
            dtype,
            embed,
            positions,
            rotary,
            blocks,
            ln_final,
            unembed: Linear { weight, bias: None },
            config,
            processed: false,
        })
    }

    /// Names of this model's tensors, and the prefix under which the reference libraries report them.
    fn names(&self) -> Result<(&'static Names, &'static str)> {
        let json = serde_json::json!({ "model_type": self.config.family });
        let names = &families::family(Keys { value: &json, path: Path::new("config.json") })?.names;
        // The longer prefix is the one of the libraries' whole models; some files leave it out.
        Ok((names, names.prefixes.iter().max_by_key(|p| p.len()).copied().unwrap_or_default()))
    }

    /// The norms inside the blocks, by the names that the reference libraries use, without `.weight` and `.bias`.
    pub fn checkpoint_norms(&self) -> Result<Vec<String>> {
        let (names, prefix) = self.names()?;
        let block = |layer: usize| names.block.replace("{}", &layer.to_string());
        let both = |layer| [names.ln1, names.ln2].map(|norm| format!("{prefix}{}{norm}", block(layer)));
        Ok((0..self.config.n_layers).flat_map(both).collect())
    }

    /// The matrices inside the blocks, by the names that the reference libraries use.
    pub fn checkpoint_matrices(&self) -> Result<Vec<CheckpointMatrix>> {
        let (names, prefix) = self.names()?;
        let mut all = Vec::new();
        for layer in 0..self.config.n_layers {
            let block = names.block.replace("{}", &layer.to_string());
            for part in Part::ALL {
                let mut start = 0;
                for (name, outputs) in matrices(names, &self.config, part) {
                    all.push(CheckpointMatrix {
                        name: format!("{prefix}{block}{name}.weight"),
                        layer,
                        part,
                        rows: start..start + outputs,
                        transposed: names.conv1d,
                    });
                    start += outputs;
                }
            }
        }
        Ok(all)
    }
}
