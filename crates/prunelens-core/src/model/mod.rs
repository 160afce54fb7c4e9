//! Language models with hooks.
//!
//! Every family is the same structure (norm, attention, mlp, block); what tells them apart is [`Config`], read from
//! `config.json`, and the names of their tensors.

pub mod block;
mod chunk;
pub mod config;
pub mod contents;
pub mod families;
mod gguf;
pub mod hooks;
pub mod known;
pub mod layers;
mod leftover;
pub mod load;
mod mark;
pub mod opened;
pub mod pass;
pub mod processing;
pub mod ragged;
mod state_dict;
mod to_device;
pub mod tokenizer;
pub mod weights;

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use prunelens_kernels::ops::Ops;

pub use block::{Block, Layer, Part, Pass, Step};
pub use chunk::tokens_at_once;
pub use config::{Config, NormKind};
pub use hooks::{HookPoint, Site};
pub use layers::{Linear, Norm, Rotary};
pub use opened::Opened;
pub use pass::{Captured, Rows};
pub use processing::Space;
pub use prunelens_kernels::Act;
pub use to_device::ToDevice;
pub use tokenizer::Tokenizer;

use crate::{
    digest::TensorDigests,
    error::{Error, Result},
};

/// A transformer language model. Cloning shares the tensors.
#[derive(Clone, Debug)]
pub struct Model {
    /// As users know it.
    pub name: String,
    /// What its config says.
    pub config: Config,
    /// Where its tensors are.
    pub device: Device,
    /// What works there.
    pub ops: Arc<dyn Ops>,
    /// Of its weights.
    pub dtype: DType,
    /// `[d_vocab, d_model]`.
    pub embed: Tensor,
    /// Learned positions `[n_ctx, d_model]`.
    pub positions: Option<Tensor>,
    /// Of layers without a window, or of all.
    pub rotary: Option<Rotary>,
    /// Of layers with a window, where they have their own.
    pub rotary_local: Option<Rotary>,
    /// One after the other.
    pub blocks: Vec<Block>,
    /// Before the output matrix.
    pub ln_final: Norm,
    /// From the residual stream to logits.
    pub unembed: Linear,
    /// TransformerLens' default weight processing has been applied to the weights themselves.
    pub processed: bool,
    /// Of tensors that went to a GPU by way of the processor: they need not come back for a digest.
    pub known: Arc<TensorDigests>,
    /// What of its files was not read, in words.
    pub warnings: Vec<String>,
}

impl Model {
    /// Width of the activation at a site.
    pub fn d_in(&self, site: Site) -> usize {
        match site {
            Site::Z => self.config.n_heads * self.config.d_head,
            _ => self.config.d_model,
        }
    }

    /// Refuse a hook that this model does not have.
    pub fn check_hook(&self, hook: HookPoint) -> Result<()> {
        if hook.site == Site::ResidMid && self.config.parallel {
            return Err(Error::invalid(format!(
                "hook point {hook} does not exist: attention and MLP of {} run side by side",
                self.name
            )));
        }
        if hook.layer < self.config.n_layers {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "hook point {hook} does not exist: {} has layers 0 to {}",
            self.name,
            self.config.n_layers - 1
        )))
    }

    /// Whether the output of a Hugging Face module is what the hook of its place shows; else why not, in words.
    pub fn check_module(&self, module: &str) -> std::result::Result<(), String> {
        let block = self.blocks.first();
        let normed = |has: fn(&Block) -> bool| block.is_some_and(has);
        match module.rsplit('.').find(|part| !matches!(*part, "output" | "input")).unwrap_or_default() {
            "mlp" if normed(|block| block.ln2_post.is_some()) => {
                Err("in this model a norm follows that module; no hook shows its output".into())
            }
            "self_attn" | "attention" | "attn" if normed(|block| block.ln1_post.is_some()) => {
                Err("in this model a norm follows that module; no hook shows its output".into())
            }
            // Gemma 2 scales behind the module, Gemma 3 inside it.
            "embed_tokens" if self.config.embed_scale != 1.0 && self.config.family == "gemma2" => {
                Err("in this model its output is scaled afterwards; no hook shows it".into())
            }
            _ => Ok(()),
        }
    }

    /// Number of weights; a tied output matrix counts once.
    pub fn parameters(&self) -> u64 {
        self.tensors().iter().map(|t| t.elem_count() as u64).sum()
    }

    /// Bytes of tensors that `other` does not share.
    pub fn bytes_beside(&self, other: Option<&Self>) -> u64 {
        let shared: Vec<_> = other.map(|m| m.tensors().iter().map(|t| t.id()).collect()).unwrap_or_default();
        let own = self.tensors().into_iter().filter(|t| !shared.contains(&t.id()));
        own.map(|t| (t.elem_count() * t.dtype().size_in_bytes()) as u64).sum()
    }

    /// Every distinct weight tensor.
    pub fn tensors(&self) -> Vec<&Tensor> {
        let mut all = vec![&self.embed];
        all.extend(&self.positions);
        for block in &self.blocks {
            all.extend(block.norms().flat_map(Norm::tensors));
            all.extend(Part::ALL.iter().flat_map(|part| block.linear(*part).tensors()));
        }
        all.extend(self.ln_final.tensors());
        all.extend(self.unembed.tensors());
        let mut seen = std::collections::HashSet::new();
        all.retain(|t| seen.insert(t.id()));
        all
    }
}
