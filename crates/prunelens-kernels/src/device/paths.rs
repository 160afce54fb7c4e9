//! Latents as a function of the ratio.

use candle_core::Tensor;

use super::{Backend, Buffer, DeviceRanks, Kernel, Matrix, Shape, kth, launch, launch_of, memory::address};
use crate::{
    Latents,
    encode::STEPS,
    error::{Error, Result},
    select::Candidate,
};

/// Threads of a block: one for each step, in whole warps.
const THREADS: u32 = 128;
/// Blocks that take pairs, or latents, in turn.
const BLOCKS: u64 = 1 << 16;
/// Lanes of a warp, each of which takes a token where all latents are asked for.
const WARP: usize = 32;
/// Activations of all latents at all steps that exist at a time: a gigabyte.
const DENSE: usize = 1 << 28;

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

/// An encoder of whose weights each step of the grid keeps fewer.
#[derive(Clone, Copy)]
pub struct Steps<'a> {
    /// `[d_sae, d_in]`.
    pub matrix: &'a Matrix,
    /// In which order its weights go.
    pub ranks: &'a DeviceRanks,
    /// One number a latent.
    pub bias: &'a Buffer<f32>,
    /// The cut of each step, from 0 up.
    pub cuts: &'a [u32; STEPS],
    /// `[STEPS, d_sae]`, where pre-activations are rescaled.
    pub scales: Option<&'a Buffer<f32>>,
}

impl Steps<'_> {
    fn check(&self) -> Result<()> {
        let d_sae = self.matrix.rows;
        self.bias.expect(d_sae, "the encoder's bias")?;
        self.scales.map_or(Ok(()), |scales| scales.expect(STEPS * d_sae, "scales of latents at all ratios"))?;
        let (expected, found) = (self.matrix.values.len(), self.ranks.len());
        if found != expected {
            return Err(Error::invalid(format!("{expected} weights need as many ranks, found {found}")));
        }
        Ok(())
    }

    /// The last step that keeps a weight, by its rank; ranks beyond the last cut are kept by all.
    fn of_ranks(&self, backend: &dyn Backend) -> Result<Buffer<u8>> {
        let of = |rank| self.cuts.partition_point(|cut| *cut <= rank) as u8 - 1;
        Buffer::from_slice(backend, &(0..=self.cuts[STEPS - 1]).map(of).collect::<Vec<u8>>())
    }

    fn kernel(&self, name: &'static str) -> Kernel {
        Kernel { file: "paths", name, of: [self.matrix.values.name(), self.ranks.name()] }
    }
}

/// Pre-activations `[pairs, STEPS]` of latents at all ratios of the grid, in one pass over weights and ranks.
/// Twin: `kernels::encode::Encoder::grid`.
pub fn paths(backend: &dyn Backend, steps: &Steps, x: &Buffer<f32>, pairs: &Pairs) -> Result<Buffer<f32>> {
    steps.check()?;
    let out = Buffer::new(backend, pairs.len() * STEPS)?;
    if pairs.is_empty() {
        return Ok(out);
    }
    let of_ranks = steps.of_ranks(backend)?;
    let arguments = [
        x.address(),
        steps.matrix.values.address(),
        steps.ranks.address(),
        of_ranks.address(),
        u64::from(steps.cuts[STEPS - 1]),
        pairs.tokens.address(),
        pairs.latents.address(),
        steps.bias.address(),
        address(steps.scales),
        pairs.len() as u64,
        steps.matrix.columns as u64,
        steps.matrix.rows as u64,
        out.address(),
    ];
    let shape = Shape::grid((pairs.len() as u64).min(BLOCKS), 1, THREADS)?;
    // Pairs name tokens and latents of these matrices.
    launch_of(backend, steps.kernel("paths"), shape, &arguments)?;
    Ok(out)
}

/// Who is the last of the `k` largest latents of each token of `x [tokens, d_in]` (f32) at each step, none where fewer than `k`
/// fire: all latents at all steps in one pass over weights and ranks, some tokens at a time. Values are those of [`paths`], to
/// the bit. Twin: `kernels::encode::Encoder::grid`.
pub fn last_of_steps(
    backend: &dyn Backend,
    steps: &Steps,
    x: &Tensor,
    k: usize,
) -> Result<Vec<[Option<Candidate>; STEPS]>> {
    steps.check()?;
    let (d_sae, d_in) = (steps.matrix.rows, steps.matrix.columns);
    let tokens = x.dim(0)?;
    let mut last = Vec::with_capacity(tokens);
    let of_ranks = steps.of_ranks(backend)?;
    let at_once = (DENSE / (STEPS * d_sae).max(1)).clamp(1, WARP);
    for start in (0..tokens).step_by(at_once) {
        let len = at_once.min(tokens - start);
        let columns = x.narrow(0, start, len)?.pad_with_zeros(0, 0, WARP - len)?.t()?.contiguous()?;
        let columns = Buffer::<f32>::of(backend, &columns)?;
        let dense = Buffer::<f32>::new(backend, len * STEPS * d_sae)?;
        let arguments = [
            columns.address(),
            steps.matrix.values.address(),
            steps.ranks.address(),
            of_ranks.address(),
            u64::from(steps.cuts[STEPS - 1]),
            steps.bias.address(),
            address(steps.scales),
            len as u64,
            d_in as u64,
            d_sae as u64,
            dense.address(),
        ];
        let shape = Shape::grid((d_sae as u64).clamp(1, BLOCKS), 1, WARP as u32)?;
        // A column for each lane, and room for each token, step and latent.
        launch_of(backend, steps.kernel("all_paths"), shape, &arguments)?;
        let found = kth(backend, &dense, d_sae, k)?;
        last.extend(found.chunks(STEPS).map(|found| std::array::from_fn(|step| found[step])));
    }
    Ok(last)
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
    launch(backend, "paths", "survivors", Shape::rows(STEPS, super::THREADS)?, &arguments)?;
    let alive = alive.to_vec(backend)?;
    Ok(std::array::from_fn(|step| alive[step]))
}
