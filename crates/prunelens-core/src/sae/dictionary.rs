//! What an SAE computes, wherever its weights lie.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, OnceLock},
};

use candle_core::{Device, Tensor};
use prunelens_kernels::{
    Firing, Group,
    device::{Backend, FiringCounts, Lists},
    encode::Grid,
    firing::Counts,
    ops::{Later, Ops},
};

use super::{DeviceSae, Latents, Order, Pruning, Ranked, Sae, TextSum, normalize::Undo, text_sums::by_lists};
use crate::{error::Result, progress::Tick};

/// Latents of some tokens, with what is needed to undo the input's normalisation.
#[derive(Debug)]
pub struct Encoded {
    found: Found,
    undo: Undo,
}

#[derive(Debug)]
enum Found {
    Here(Latents),
    There(There),
}

/// Latents on the GPU that found them. They never change, so that what was read of them stays theirs.
#[derive(Debug)]
struct There {
    backend: Arc<dyn Backend>,
    lists: Lists,
    read: OnceLock<Latents>,
}

impl Encoded {
    /// Latents, and how the input that they stand for was normalised.
    pub fn new(latents: Latents, undo: Undo) -> Self {
        Self { found: Found::Here(latents), undo }
    }

    /// The same of latents on a GPU, read back when somebody asks for them.
    pub(super) fn there(backend: Arc<dyn Backend>, lists: Lists, undo: Undo) -> Self {
        let there = There { backend, lists, read: OnceLock::new() };
        Self { found: Found::There(there), undo }
    }

    /// Number of tokens.
    pub fn rows(&self) -> usize {
        match &self.found {
            Found::Here(latents) => latents.rows(),
            Found::There(there) => there.lists.rows(),
        }
    }

    /// What fires on each token. The first to ask waits for a GPU.
    pub fn latents(&self) -> Result<&Latents> {
        match &self.found {
            Found::Here(latents) => Ok(latents),
            Found::There(there) => match there.read.get() {
                Some(latents) => Ok(latents),
                None => {
                    let latents = there.lists.to_latents(&*there.backend)?;
                    Ok(there.read.get_or_init(|| latents))
                }
            },
        }
    }

    /// What fires on each token, and nothing more.
    pub fn into_latents(self) -> Result<Latents> {
        self.latents()?;
        Ok(match self.found {
            Found::Here(latents) => latents,
            Found::There(there) => there.read.into_inner().unwrap_or_default(),
        })
    }

    /// How the input was normalised.
    pub fn undo(&self) -> &Undo {
        &self.undo
    }

    /// The latents on a GPU, if they are there.
    pub(super) fn lists_on(&self, backend: &Arc<dyn Backend>) -> Option<&Lists> {
        match &self.found {
            Found::There(there) if Arc::ptr_eq(&there.backend, backend) => Some(&there.lists),
            _ => None,
        }
    }
}

/// How often latents fire in `parts`, which are whole texts of `length` tokens, end to end; `kept` are the tokens that count.
/// Counted where the latents are.
pub fn firing(parts: &[Encoded], d_sae: usize, kept: &[bool], length: usize) -> Result<Later<Firing>> {
    if let Some(Encoded { found: Found::There(There { backend, .. }), .. }) = parts.first() {
        let lists: Option<Vec<&Lists>> = parts.iter().map(|part| part.lists_on(backend)).collect();
        if let Some(lists) = lists {
            let mut counts = FiringCounts::new(&**backend, d_sae, kept, length)?;
            lists.into_iter().try_for_each(|lists| counts.add(&**backend, lists))?;
            let backend = backend.clone();
            return Ok(Box::new(move || counts.to_firing(&*backend)));
        }
    }
    let mut counts = Counts::new(d_sae, kept, length);
    for part in parts {
        counts.add(part.latents()?);
    }
    let firing = counts.finish();
    Ok(Box::new(move || Ok(firing)))
}

/// One of an SAE's two matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `W_enc`.
    Enc,
    /// `W_dec`.
    Dec,
}

/// An SAE at work: [`Sae`] itself on the CPU, [`DeviceSae`] on a GPU. Dereferences to the weights as they were read.
pub trait Dictionary: Send + Sync + fmt::Debug {
    /// The weights as they were read.
    fn sae(&self) -> &Sae;

    /// Where it works.
    fn device(&self) -> &Device;

    /// Bytes that it holds there beside [`sae`](Self::sae)'s own.
    fn bytes_on_device(&self) -> u64;

    /// Latents of activations `[n, d_in]`, with the SAE pruned if asked.
    fn encode(&self, x: &Tensor, pruning: Option<&Pruning>) -> Result<Encoded>;

    /// The same at each of these settings of the order's knob, from the untouched SAE on.
    fn encode_at(&self, x: &Tensor, order: &Arc<Order>, settings: &[f64]) -> Result<Vec<Latents>> {
        one_by_one(self, x, order, settings)
    }

    /// What fires in each text, with sums over its tokens: ascending latents. Of `x [tokens, d_in]`, where texts lie end to end.
    fn text_sums(
        &self,
        x: &Tensor,
        pruning: Option<&Pruning>,
        texts: &[TextSum],
        tick: Tick,
    ) -> Result<Vec<Vec<(u32, f32)>>> {
        by_lists(self, x, pruning, texts, tick)
    }

    /// Sum over positions of the square of each pre-activation, of activations `[n, d_in]`.
    fn pre_activation_squares(&self, x: &Tensor) -> Result<Vec<f64>>;

    /// Pre-activations of the `wanted` latents of `x` at every setting of a curve, and for TopK the last latent chosen at each.
    fn grid(&self, order: &Arc<Order>, x: &Tensor, wanted: &Latents) -> Result<Grid>;

    /// Reconstruction `[n, d_in]` in the units of the activations, where the SAE works.
    fn decode(&self, encoded: &Encoded, pruning: Option<&Pruning>) -> Result<Tensor>;

    /// `f W_dec + b_dec`, still normalised: SAELens' `hook_sae_recons`.
    fn decode_normalised(&self, encoded: &Encoded, pruning: Option<&Pruning>) -> Result<Vec<f32>>;

    /// The gradient by each active latent, in the order of its values, from the one by the reconstruction (`[n, d_in]`, as
    /// [`decode`](Self::decode) gives it). What undoes the input's normalisation counts as constant.
    fn decode_vjp(&self, encoded: &Encoded, pruning: Option<&Pruning>, g: &Tensor) -> Result<Vec<f32>>;

    /// The SAE with what a setting leaves of its weights written out: where it works and in the type that they have there, or in f32
    /// on the CPU for settings that it leaves to that. A latent that is gone has no bias either: nothing can make it fire.
    fn pruned(&self, pruning: Option<&Pruning>) -> Result<Sae>;

    /// Ranks of a matrix's weights by magnitude times the norm of whatever changes inside a group, or magnitude alone.
    fn rank(&self, side: Side, norm: Option<&[f32]>, group: Group) -> Result<Ranked>;
}

impl Deref for dyn Dictionary + '_ {
    type Target = Sae;

    fn deref(&self) -> &Sae {
        self.sae()
    }
}

/// An encoding at each setting, for knobs and machines that share nothing between them.
pub(super) fn one_by_one<D: Dictionary + ?Sized>(
    sae: &D,
    x: &Tensor,
    order: &Arc<Order>,
    settings: &[f64],
) -> Result<Vec<Latents>> {
    let at = |&at: &f64| sae.encode(x, Some(&Pruning { order: order.clone(), at }))?.into_latents();
    settings.iter().map(at).collect()
}

/// An SAE where a model works.
pub fn place(sae: Arc<Sae>, ops: &dyn Ops) -> Result<Arc<dyn Dictionary>> {
    Ok(match ops.backend() {
        Some(backend) => Arc::new(DeviceSae::new(backend.clone(), sae)?),
        None => sae,
    })
}
