//! TransformerLens' `state_dict` of a `HookedTransformer` (`.pth`), such as the pruned models of arXiv 2507.15977.

use std::path::Path;

use candle_core::{DType, Tensor};
use prunelens_kernels::matmul::transpose;

use super::{Linear, Model, Norm, weights::Weights};
use crate::{
    error::{Error, Result},
    progress::{Listener, Progress},
};

struct Reader<'a> {
    weights: &'a Weights,
    model: &'a Model,
    dtype: DType,
}

impl Model {
    /// A copy of this model with the weights of a state dict. Norm weights that it lacks were folded: then it was made with
    /// TransformerLens' default processing, and so is the copy.
    pub fn with_state_dict(&self, path: &Path, progress: Listener) -> Result<Self> {
        let weights = Weights::open(path)?;
        let read = Reader { weights: &weights, model: self, dtype: self.dtype };
        let c = &self.config;
        let name = path.file_name().map_or("state_dict".into(), |n| crate::text::safe(&n.to_string_lossy()));
        if weights.shape("embed.W_E").is_none() {
            let some: Vec<_> = weights.names().take(4).map(|n| crate::text::shorten(n, 60)).collect();
            let what = format!("not a TransformerLens state dict: tensor \"embed.W_E\" is missing among {some:?} ...");
            return Err(Error::file(path, what));
        }
        let mut model = self.clone();
        model.name = name;
        model.embed = read.tensor("embed.W_E", &[c.d_vocab, c.d_model])?;
        // TransformerLens scales the embedding itself.
        model.config.embed_scale = 1.0;
        if self.positions.is_some() {
            model.positions = Some(read.tensor("pos_embed.W_pos", &[c.n_ctx, c.d_model])?);
        }
        for layer in 0..c.n_layers {
            let total = c.n_layers as u64;
            progress(Progress { what: "reading the pruned model".into(), done: layer as u64, total, unit: "layers" })?;
            read.block(&mut model, layer)?;
        }
        model.ln_final = read.norm("ln_final", &self.ln_final)?;
        let unembed = read.values("unembed.W_U", &[c.d_model, c.d_vocab])?;
        let weight = read.made(transpose(&unembed, c.d_model, c.d_vocab), &[c.d_vocab, c.d_model])?;
        model.unembed = Linear { weight, bias: read.bias(&["unembed.b_U"], &[c.d_vocab])? };
        model.processed = model.ln_final.weight.is_none();
        Ok(model)
    }
}

impl Reader<'_> {
    fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.weights.f32(name, shape)
    }

    fn made(&self, values: Vec<f32>, shape: &[usize]) -> Result<Tensor> {
        Ok(Tensor::from_vec(values, shape, &self.model.device)?.to_dtype(self.dtype)?)
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.made(self.values(name, shape)?, shape)
    }

    /// Biases one after another, each of one of `shapes`; none if the file has none of them.
    fn bias(&self, names: &[&str], shape: &[usize]) -> Result<Option<Tensor>> {
        if names.iter().all(|name| self.weights.shape(name).is_none()) {
            return Ok(None);
        }
        let values = names.iter().map(|name| self.values(name, shape)).collect::<Result<Vec<_>>>()?.concat();
        let n = values.len();
        Ok(Some(self.made(values, &[n])?))
    }

    /// A norm whose weight may have been folded into what reads it.
    fn norm(&self, name: &str, like: &Norm) -> Result<Norm> {
        let read = |which: &str, of: &Option<Tensor>| match of {
            Some(tensor) if self.weights.shape(&format!("{name}.{which}")).is_some() => {
                self.of_norm(&format!("{name}.{which}"), tensor.dims()).map(Some)
            }
            _ => Ok(None),
        };
        Ok(Norm { kind: like.kind, eps: like.eps, weight: read("w", &like.weight)?, bias: read("b", &like.bias)? })
    }

    /// A norm's weight or bias, rounded to the model's type as those of its folder are: without the 1 that Gemma's weights have here.
    fn of_norm(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let own = Tensor::from_vec(self.values(name, shape)?, shape, &self.model.device)?;
        let wide = Norm::dtype(self.dtype);
        if self.dtype == wide {
            return Ok(own.to_dtype(wide)?);
        }
        let offset = if name.ends_with(".w") { f64::from(self.model.norm_offset()?) } else { 0.0 };
        Ok(((own - offset)?.to_dtype(self.dtype)?.to_dtype(wide)? + offset)?)
    }

    fn block(&self, model: &mut Model, layer: usize) -> Result<()> {
        let c = &self.model.config;
        let (d_model, d_head) = (c.d_model, c.d_head);
        let name = |part: &str| format!("blocks.{layer}.{part}");
        // With fewer key than query heads the stored matrices carry an underscore.
        let attn = |part: &str| {
            let grouped = name(&format!("attn._{part}"));
            if self.weights.shape(&grouped).is_some() { grouped } else { name(&format!("attn.{part}")) }
        };
        let block = &mut model.blocks[layer];
        // [heads, d_model, d_head] to rows of heads.
        let (mut qkv, mut bias, mut rows) = (Vec::new(), Vec::new(), 0);
        for (letter, heads) in [("Q", c.n_heads), ("K", c.n_kv_heads), ("V", c.n_kv_heads)] {
            let all = self.values(&attn(&format!("W_{letter}")), &[heads, d_model, d_head])?;
            for head in all.chunks(d_model * d_head) {
                qkv.extend(transpose(head, d_model, d_head));
            }
            bias.extend(match self.weights.shape(&attn(&format!("b_{letter}"))) {
                Some(_) => self.values(&attn(&format!("b_{letter}")), &[heads, d_head])?,
                None => vec![0.0; heads * d_head],
            });
            rows += heads * d_head;
        }
        let bias = if bias.iter().any(|b| *b != 0.0) || block.qkv.bias.is_some() {
            Some(self.made(bias, &[rows])?)
        } else {
            None
        };
        block.qkv = Linear { weight: self.made(qkv, &[rows, d_model])?, bias };
        let z = c.n_heads * d_head;
        let o = self.values(&name("attn.W_O"), &[c.n_heads, d_head, d_model])?;
        let o_bias = self.bias(&[&name("attn.b_O")], &[d_model])?;
        block.o = Linear { weight: self.made(transpose(&o, z, d_model), &[d_model, z])?, bias: o_bias };
        let mut mlp_in = Vec::new();
        let gate = name("mlp.W_gate");
        let inputs: Vec<String> = if c.gated { vec![gate, name("mlp.W_in")] } else { vec![name("mlp.W_in")] };
        for part in &inputs {
            mlp_in.extend(transpose(&self.values(part, &[d_model, c.d_mlp])?, d_model, c.d_mlp));
        }
        // The gate has no bias in any of the families.
        let in_bias = self.bias(&[&name("mlp.b_in")], &[c.d_mlp])?;
        let in_bias = match in_bias {
            Some(bias) if c.gated => {
                Some(Tensor::cat(&[Tensor::zeros(c.d_mlp, self.dtype, &self.model.device)?, bias], 0)?)
            }
            other => other,
        };
        let rows = inputs.len() * c.d_mlp;
        block.mlp_in = Linear { weight: self.made(mlp_in, &[rows, d_model])?, bias: in_bias };
        let out = self.values(&name("mlp.W_out"), &[c.d_mlp, d_model])?;
        let out_bias = self.bias(&[&name("mlp.b_out")], &[d_model])?;
        block.mlp_out =
            Linear { weight: self.made(transpose(&out, c.d_mlp, d_model), &[d_model, c.d_mlp])?, bias: out_bias };
        block.ln1 = self.norm(&name("ln1"), &block.ln1)?;
        block.ln2 = self.norm(&name("ln2"), &block.ln2)?;
        for (norm, part) in [(&mut block.ln1_post, "ln1_post"), (&mut block.ln2_post, "ln2_post")] {
            if let Some(norm) = norm {
                norm.weight = Some(self.of_norm(&name(&format!("{part}.w")), &[d_model])?);
            }
        }
        if let Some(norms) = &mut block.qk_norms {
            for (norm, part) in norms.iter_mut().zip(["q_norm", "k_norm"]) {
                norm.weight = Some(self.of_norm(&name(&format!("attn.{part}.w")), &[d_head])?);
            }
        }
        Ok(())
    }
}
