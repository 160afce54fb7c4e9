//! Hugging Face directories to [`Model`].

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use prunelens_kernels::{matmul::transpose, ops};

use super::{
    Block, Linear, Model, Norm, NormKind, Opened, Part, Rotary,
    config::{Config, Keys, Rope},
    families::{self, Names},
    leftover,
    opened::gguf_file,
    weights::{Read, Weights, read_json},
};
use crate::{
    digest::TensorDigests,
    error::Result,
    progress::{Listener, Progress},
};

/// One matrix of the checkpoint: which part of which block, and which rows of it.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckpointMatrix {
    /// With the prefix under which the libraries name it, such as `transformer.h.0.attn.c_attn.weight`.
    pub name: String,
    /// Of the block.
    pub layer: usize,
    /// Of the block's matrices.
    pub part: Part,
    /// Which rows of the part's `[outputs, inputs]` matrix, in the checkpoint's order.
    pub rows: Vec<usize>,
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
    gguf: bool,
    known: TensorDigests,
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

    /// A tensor as it is stored.
    fn whole(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.stacked(&[(name.to_owned(), shape.to_vec())])
    }

    /// Tensors below each other as they are stored.
    fn stacked(&mut self, parts: &[(String, Vec<usize>)]) -> Result<Tensor> {
        let Read { tensor, content } = self.weights.stacked(parts, self.dtype, self.device)?;
        self.done += 4 * tensor.elem_count() as u64;
        self.known.extend(content.map(|content| (tensor.id(), content)));
        Ok(tensor)
    }

    fn plain(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.whole(&format!("{}{name}", self.prefix), shape)
    }

    fn norm(&mut self, name: &str, width: usize) -> Result<Norm> {
        let weight = (self.of_norm(&format!("{name}.weight"), width)? + f64::from(self.names.norm_offset))?;
        let bias = match self.config.norm {
            NormKind::LayerNorm => Some(self.of_norm(&format!("{name}.bias"), width)?),
            NormKind::RmsNorm => None,
        };
        Ok(Norm { kind: self.config.norm, eps: self.config.eps, weight: Some(weight), bias })
    }

    /// Rounded as transformers has it, which adds Gemma's 1 to the rounded number; llama.cpp rounds nothing of norms.
    fn of_norm(&mut self, name: &str, width: usize) -> Result<Tensor> {
        let name = format!("{}{name}", self.prefix);
        let rounded = if self.gguf { DType::F32 } else { self.dtype };
        let tensor = self.weights.tensor(&name, &[width], rounded, self.device)?;
        self.done += 4 * width as u64;
        Ok(tensor.to_dtype(Norm::dtype(self.dtype))?)
    }

    /// Matrices whose outputs follow each other, as one.
    fn linear(&mut self, layer: usize, part: Part) -> Result<Linear> {
        let inputs = inputs(self.config, part);
        let (mut weights, mut biases, mut total) = (Vec::new(), Vec::new(), 0);
        let all = matrices(self.names, self.config, part);
        let (prefix, conv1d) = (self.prefix, self.names.conv1d);
        let biased = self.config.biases.of(part);
        let block = self.names.block.replace("{}", &layer.to_string());
        let full = |name: &str| format!("{prefix}{block}{name}");
        let stored = |outputs: usize| if conv1d { [inputs, outputs] } else { [outputs, inputs] };
        for (name, rows) in &all {
            self.weights.expect(&format!("{}.weight", full(name)), &stored(rows.len()))?;
        }
        let as_stored = !conv1d && all.iter().all(|(_, rows)| rows.is_sorted());
        if as_stored {
            let part = |(name, rows): &(&str, Vec<usize>)| (format!("{}.weight", full(name)), vec![rows.len(), inputs]);
            weights.push(self.stacked(&all.iter().map(part).collect::<Vec<_>>())?);
        }
        for (name, rows) in &all {
            let (outputs, full) = (rows.len(), full(name));
            let weight = format!("{full}.weight");
            if !as_stored {
                let mut one = self.read(&weight, &stored(outputs))?;
                if conv1d {
                    one = transpose(&one, inputs, outputs);
                }
                if !rows.is_sorted() {
                    one = reorder(&one, inputs, rows, total);
                }
                weights.push(self.tensor(one, &[outputs, inputs])?);
            }
            if biased {
                let one = self.read(&format!("{full}.bias"), &[outputs])?;
                biases.extend(if rows.is_sorted() { one } else { reorder(&one, 1, rows, total) });
            }
            total += outputs;
        }
        let weight = if weights.len() == 1 { weights.remove(0) } else { Tensor::cat(&weights, 0)? };
        let bias = if biased { Some(self.tensor(biases, &[total])?) } else { None };
        Ok(Linear { weight, bias })
    }

    fn block(&mut self, layer: usize) -> Result<Block> {
        let total = self.weights.bytes();
        (self.progress)(Progress { what: "reading weights".into(), done: self.done.min(total), total, unit: "bytes" })?;
        let prefix = self.names.block.replace("{}", &layer.to_string());
        let d_model = self.config.d_model;
        let post = |load: &mut Self, name: Option<&str>| {
            name.map(|name| load.norm(&format!("{prefix}{name}"), d_model)).transpose()
        };
        Ok(Block {
            ln1: self.norm(&format!("{prefix}{}", self.names.ln1), d_model)?,
            ln2: self.norm(&format!("{prefix}{}", self.names.ln2), d_model)?,
            ln1_post: post(self, self.names.ln1_post)?,
            ln2_post: post(self, self.names.ln2_post)?,
            qk_norms: match self.names.qk_norms {
                Some([q, k]) => {
                    let d_head = self.config.d_head;
                    Some([self.norm(&format!("{prefix}{q}"), d_head)?, self.norm(&format!("{prefix}{k}"), d_head)?])
                }
                None => None,
            },
            qkv: self.linear(layer, Part::Qkv)?,
            o: self.linear(layer, Part::O)?,
            mlp_in: self.linear(layer, Part::MlpIn)?,
            mlp_out: self.linear(layer, Part::MlpOut)?,
        })
    }
}

/// Inputs of a part's matrix.
pub(super) fn inputs(config: &Config, part: Part) -> usize {
    match part {
        Part::Qkv | Part::MlpIn => config.d_model,
        Part::O => config.n_heads * config.d_head,
        Part::MlpOut => config.d_mlp,
    }
}

/// Names of the checkpoint's matrices that make up a part, and the places of their rows in it.
pub(super) fn matrices(names: &Names, config: &Config, part: Part) -> Vec<(&'static str, Vec<usize>)> {
    let (q, kv) = (config.n_heads * config.d_head, config.n_kv_heads * config.d_head);
    let sizes: Vec<(&str, usize)> = match (part, names.qkv) {
        (Part::Qkv, [fused]) if names.qkv_by_head => {
            // (head, q/k/v, d_head) to (q/k/v, head, d_head).
            let place = |row: usize| {
                let (head, which, at) = (row / (3 * config.d_head), row / config.d_head % 3, row % config.d_head);
                which * q + head * config.d_head + at
            };
            return vec![(fused, (0..3 * q).map(place).collect())];
        }
        (Part::Qkv, [q_name, k_name, v_name]) if names.rotary_pairs => {
            // (head, pair, side) to (head, side, pair).
            let half = config.d_head / 2;
            let place = |row: usize| {
                let (head, at) = (row / config.d_head, row % config.d_head);
                head * config.d_head + at % 2 * half + at / 2
            };
            let v = (q + kv..q + 2 * kv).collect();
            return vec![
                (q_name, (0..q).map(place).collect()),
                (k_name, (0..kv).map(|row| q + place(row)).collect()),
                (v_name, v),
            ];
        }
        (Part::Qkv, [fused]) => vec![(fused, q + 2 * kv)],
        (Part::Qkv, all) => all.iter().copied().zip([q, kv, kv]).collect(),
        (Part::O, _) => vec![(names.o, config.d_model)],
        (Part::MlpIn, _) => names.mlp_in.iter().map(|name| (*name, config.d_mlp)).collect(),
        (Part::MlpOut, _) => vec![(names.mlp_out, config.d_model)],
    };
    let starts = sizes.iter().scan(0, |end, (_, n)| Some(std::mem::replace(end, *end + n)));
    let starts: Vec<usize> = starts.collect();
    sizes.iter().zip(starts).map(|((name, n), start)| (*name, (start..start + n).collect())).collect()
}

/// Rows of `width` values, each put at its place (less `base`).
pub(super) fn reorder(values: &[f32], width: usize, places: &[usize], base: usize) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    for (row, place) in values.chunks(width).zip(places) {
        out[(place - base) * width..][..width].copy_from_slice(row);
    }
    out
}

impl Model {
    /// From a Hugging Face directory (`config.json` and `model.safetensors`, or its shards) or a GGUF file.
    pub fn load(path: &Path, device: &Device, dtype: DType, progress: Listener) -> Result<Self> {
        Self::build(Opened::open(path)?, device, dtype, progress)
    }

    /// The configuration alone, without the weights.
    pub fn config(path: &Path) -> Result<Config> {
        if gguf_file(path)?.is_some() {
            return Ok(Opened::open(path)?.config);
        }
        let path = path.join("config.json");
        families::config(Keys { value: &read_json(&path)?, path: &path })
    }

    /// Whether the output matrix is the embedding's.
    pub fn is_tied(path: &Path) -> Result<bool> {
        if let Some(file) = gguf_file(path)? {
            return Ok(Weights::open(&file)?.shape("output.weight").is_none());
        }
        Ok(Self::config(path)?.tied)
    }

    /// From files that were opened.
    pub fn build(opened: Opened, device: &Device, dtype: DType, progress: Listener) -> Result<Self> {
        let prefix = opened.prefix();
        let Opened { name, config, weights, names, gguf, .. } = opened;
        let mut load = Loader {
            weights: &weights,
            names,
            config: &config,
            prefix,
            device,
            dtype,
            gguf,
            known: TensorDigests::default(),
            done: 0,
            progress,
        };
        let embed = load.plain(names.embed, &[config.d_vocab, config.d_model])?;
        let positions = match names.positions {
            Some(name) => Some(load.plain(name, &[config.n_ctx, config.d_model])?),
            None => None,
        };
        let blocks = (0..config.n_layers).map(|layer| load.block(layer)).collect::<Result<Vec<_>>>()?;
        let ln_final = load.norm(names.ln_final, config.d_model)?;
        let mut warnings = config.warnings.clone();
        warnings.extend(weights.notes.iter().cloned());
        let weight = match weights.shape(names.unembed) {
            Some(_) if config.tied => {
                let other = load.whole(names.unembed, &[config.d_vocab, config.d_model])?;
                if other.ne(&embed)?.flatten_all()?.to_dtype(DType::F32)?.max(0)?.to_scalar::<f32>()? > 0.0 {
                    warnings.push(format!(
                        "tensor {} differs from the embedding that the config ties it to: left out, as transformers 4 does",
                        names.unembed
                    ));
                }
                embed.clone()
            }
            Some(_) => load.whole(names.unembed, &[config.d_vocab, config.d_model])?,
            None => embed.clone(),
        };
        let known = load.known.into();
        // Quantisers write biases of zeros for matrices that have none.
        let unused = weights.left_over().into_iter().filter(|name| !weights.is_zero_bias(name));
        warnings.extend(leftover::look(names, unused));
        let rotary = |rope: &Option<Rope>| rope.as_ref().map(|rope| Rotary::new(rope, device));
        Ok(Self {
            name,
            device: device.clone(),
            ops: ops::of(device)?,
            dtype,
            embed,
            positions,
            rotary: rotary(&config.rope),
            rotary_local: rotary(&config.rope_local),
            blocks,
            ln_final,
            unembed: Linear { weight, bias: None },
            config,
            processed: false,
            known,
            warnings,
        })
    }

    /// Names of this model's tensors, and the prefix under which the reference libraries report them.
    fn names(&self) -> Result<(&'static Names, &'static str)> {
        let json = serde_json::json!({ "model_type": self.config.family });
        let names = &families::family(Keys { value: &json, path: Path::new("config.json") })?.names;
        Ok((names, names.prefixes[0]))
    }

    /// What the checkpoint's norm weights lack of the model's: 1 for Gemma.
    pub fn norm_offset(&self) -> Result<f32> {
        Ok(self.names()?.0.norm_offset)
    }

    /// The norms that read the residual stream inside the blocks, by the names that the reference libraries use, without `.weight` and `.bias`.
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
                all.extend(matrices(names, &self.config, part).into_iter().map(|(name, rows)| CheckpointMatrix {
                    name: format!("{prefix}{block}{name}.weight"),
                    layer,
                    part,
                    rows,
                    transposed: names.conv1d,
                }));
            }
        }
        Ok(all)
    }
}
