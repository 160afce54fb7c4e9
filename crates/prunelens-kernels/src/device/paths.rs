//! Latents as a function of the ratio.

use super::{Backend, Buffer, DeviceRanks, Kernel, Matrix, Shape, memory::address};
use crate::{
    Latents,
    encode::STEPS,
    error::{Error, Result},
};

/// Threads of a block: one for each step, in whole warps.
const THREADS: u32 = 128;
/// Blocks that take pairs in turn.
const BLOCKS: u64 = 1 << 16;

/// For each active latent of each token, which token and which latent: what [`paths`] and [`survivors`] go through.
pub struct Pairs {
    tokens: Buffer<u32>,
    latents: Buffer<u32>,
}

impl Pairs {
    /// The (token, latent) pairs that fire, uploaded.
    pub fn new(backend: &dyn Backend, wanted: &Latents) -> Result<Self> {
        let of_row = |row: usize| std::iter::repeat_n(row as u32, wanted.row(row).0.len());
        let tokens: Vec<u32> = (0..wanted.rows()).flat_map(of_row).collect();
        Ok(Self {
            tokens: Buffer::from_slice(backend, &tokens)?,
            latents: Buffer::from_slice(backend, &wanted.indices)?,
        })
    }

    /// How many pairs.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}

/// Pre-activations `[pairs, STEPS]` of latents at all ratios of the grid, in one pass over weights and ranks. `cuts` are the
/// cuts of the steps; `scales`, where the pre-activations are rescaled, are `[STEPS, d_sae]`.
/// Twin: `kernels::encode::Encoder::grid`.
#[expect(clippy::too_many_arguments, reason = "the kernel's inputs, once each")]
pub fn paths(
    backend: &dyn Backend,
    matrix: &Matrix,
    ranks: &DeviceRanks,
    bias: &Buffer<f32>,
    x: &Buffer<f32>,
    pairs: &Pairs,
    cuts: &[u32; STEPS],
    scales: Option<&Buffer<f32>>,
) -> Result<Buffer<f32>> {
    let (d_sae, d_in) = (matrix.rows, matrix.columns);
    bias.expect(d_sae, "the encoder's bias")?;
    scales.map_or(Ok(()), |scales| scales.expect(STEPS * d_sae, "scales of latents at all ratios"))?;
    if ranks.len() != matrix.values.len() {
        let (expected, found) = (matrix.values.len(), ranks.len());
        return Err(Error::invalid(format!("{expected} weights need as many ranks, found {found}")));
    }
    let out = Buffer::new(backend, pairs.len() * STEPS)?;
    if pairs.is_empty() {
        return Ok(out);
    }
    // The last step that keeps a weight, by its rank; ranks beyond the last cut are kept by all.
    let steps_of: Vec<u8> =
        (0..=cuts[STEPS - 1]).map(|rank| cuts.partition_point(|cut| *cut <= rank) as u8 - 1).collect();
    let steps = Buffer::from_slice(backend, &steps_of)?;
    let arguments = [
        x.address(),
        matrix.values.address(),
        ranks.address(),
        steps.address(),
        u64::from(cuts[STEPS - 1]),
        pairs.tokens.address(),
        pairs.latents.address(),
        bias.address(),
        address(scales),
        pairs.len() as u64,
        d_in as u64,
        d_sae as u64,
        out.address(),
    ];
    let name = format!("paths_{}_{}", matrix.values.name(), ranks.name());
    let shape = Shape::grid((pairs.len() as u64).min(BLOCKS), 1, THREADS)?;
    // SAFETY: the kernel's arguments; pairs name tokens and latents of these matrices.
    unsafe { backend.launch(Kernel { file: "paths", name }, shape, &arguments)? };
    Ok(out)
}

/// How many pairs fire at each ratio of the grid, on tokens for which `counts` is set: those whose path is above the
/// latent's floor and above zero. Twin: `compare::path::PathGrid::paths`, for the SAEs without a choice among latents.
pub fn survivors(
    backend: &dyn Backend,
    paths: &Buffer<f32>,
    pairs: &Pairs,
    floors: Option<&Buffer<f32>>,
    counts: &[bool],
) -> Result<[u64; STEPS]> {
    paths.expect(pairs.len() * STEPS, "paths")?;
    let counts: Vec<u8> = counts.iter().map(|counts| u8::from(*counts)).collect();
    let counted = Buffer::from_slice(backend, &counts)?;
    let alive = Buffer::<u64>::zeros(backend, STEPS)?;
    let arguments = [
        paths.address(),
        pairs.tokens.address(),
        pairs.latents.address(),
        address(floors),
        counted.address(),
        pairs.len() as u64,
        alive.address(),
    ];
    let kernel = Kernel { file: "paths", name: "survivors".into() };
    // SAFETY: the kernel's arguments; one count a step.
    unsafe { backend.launch(kernel, Shape::rows(STEPS, super::THREADS)?, &arguments)? };
    let alive = alive.to_vec(backend)?;
    Ok(std::array::from_fn(|step| alive[step]))
}
