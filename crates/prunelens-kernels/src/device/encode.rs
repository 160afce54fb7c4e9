//! Activations to latents.

use std::ops::Range;

use candle_core::Tensor;
use half::bf16;

use super::{
    Backend, Buffer, Kernel, Mask, Matrix, Shape, Values, launch, launch_of,
    mask::{PAIRS, mask, mask_in_parts},
    memory::address,
};
use crate::error::{Error, Result};

/// Up to this many tokens a warp takes latents whole, and carries eight of them at a time.
const FEW: usize = 16;
const CARRIED: u64 = 8;
/// Warps of a block then, each of which takes two latents.
const WARPS: u64 = 8;
const LATENTS: u64 = 2 * WARPS;
/// From this many on the matrix product of the library is worth the writing of a masked copy; of weights in bfloat16, of which it
/// takes half as many, sooner.
const MANY: usize = 128;
const MANY_BF16: usize = 32;
/// Latents and tokens of a block in between.
const SIDE: u64 = 64;
/// Numbers of weights that are masked for the matrix product at a time.
const MASKED: usize = 1 << 26;
/// Products of these with all tokens.
const PRODUCTS: usize = 1 << 26;

/// An encoder on a GPU.
pub struct Encoder<'a> {
    /// `[d_sae, d_in]`.
    pub matrix: &'a Matrix,
    /// Pruning of the matrix; `None` keeps all of it.
    pub mask: Mask<'a>,
    /// One number a latent.
    pub bias: &'a Buffer<f32>,
    /// Factor on each pre-activation, bias included.
    pub scale: Option<&'a Buffer<f32>>,
    /// A latent fires above its floor and above zero.
    pub floors: Option<&'a Buffer<f32>>,
}

/// The ways to the same latents; which is the fastest depends on the number of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// A warp takes latents whole: runs at the speed of memory.
    Few,
    /// Squares of latents and tokens.
    Square,
    /// A masked copy, and the library's matrix product.
    Product,
}

impl Route {
    /// The fastest route for so many tokens.
    pub fn of(tokens: usize, matrix: &Matrix) -> Self {
        let many = if matches!(matrix.values, Values::Bf16(_)) { MANY_BF16 } else { MANY };
        if tokens <= FEW {
            Self::Few
        } else if tokens < many {
            Self::Square
        } else {
            Self::Product
        }
    }
}

/// Dense latents `[tokens, d_sae]` of activations `x [tokens, d_in]` (f32), zero where a latent does not fire; the choice of
/// the k largest is [`super::top_k`]'s. Twin: `kernels::encode::Encoder::encode`.
pub fn encode(backend: &dyn Backend, encoder: &Encoder, x: &Tensor, route: Route) -> Result<Buffer<f32>> {
    let (d_sae, d_in) = (encoder.matrix.rows, encoder.matrix.columns);
    let tokens = x.elem_count() / d_in.max(1);
    let x = x.reshape((tokens, d_in))?.to_device(backend.device())?.contiguous()?;
    encoder.bias.expect(d_sae, "the encoder's bias")?;
    for (buffer, what) in [(encoder.scale, "scales of latents"), (encoder.floors, "thresholds")] {
        buffer.map_or(Ok(()), |buffer| buffer.expect(d_sae, what))?;
    }
    let out = Buffer::new(backend, tokens * d_sae)?;
    if out.is_empty() {
        return Ok(out);
    }
    match route {
        Route::Few | Route::Square => fused(backend, encoder, &x, &out, route)?,
        Route::Product => product(backend, encoder, &x, &out)?,
    }
    Ok(out)
}

fn fused(backend: &dyn Backend, encoder: &Encoder, x: &Tensor, out: &Buffer<f32>, route: Route) -> Result<()> {
    let (tokens, d_in) = x.dims2()?;
    let (n, latents) = (tokens as u64, encoder.matrix.rows as u64);
    let (kernel, shape) = match route {
        Route::Few => {
            ("encode_few", Shape::grid(latents.div_ceil(LATENTS) * n.div_ceil(CARRIED), 1, WARPS as u32 * 32)?)
        }
        _ => ("encode_many", Shape::grid(n.div_ceil(SIDE), latents.div_ceil(SIDE), 256)?),
    };
    let masked = encoder.matrix.masked(encoder.mask)?;
    let x = Buffer::<f32>::of(backend, x)?;
    let arguments = [
        x.address(),
        encoder.matrix.values.address(),
        masked.ranks,
        masked.cut,
        encoder.bias.address(),
        address(encoder.scale),
        address(encoder.floors),
        n,
        d_in as u64,
        latents,
        out.address(),
    ];
    // Lengths were checked by the caller.
    launch_of(backend, Kernel { file: "encode", name: kernel, of: masked.of }, shape, &arguments)
}

/// Parts of an f32 in bfloat16 that have all of its bits.
const PARTS: usize = 3;

/// `x [tokens, d_in]` in parts, `[PARTS * tokens, d_in]`.
fn split(backend: &dyn Backend, x: &Tensor) -> Result<Tensor> {
    let (tokens, d_in) = x.dims2()?;
    let (x, parts) = (Buffer::<f32>::of(backend, x)?, Buffer::<bf16>::new(backend, PARTS * tokens * d_in)?);
    let arguments = [x.address(), x.len() as u64, parts.address()];
    launch(backend, "encode", "split", Shape::over(x.len() as u64)?, &arguments)?;
    parts.into_tensor(backend, &[PARTS * tokens, d_in])
}

/// What is multiplied: activations as parts in bfloat16, which the units made for it take several times faster than f32. Products of
/// two such numbers are exact in f32, in which they are added; how sums are rounded there is the unit's affair, so that routes need
/// not agree to the bit.
enum Factors {
    /// Weights that are bfloat16: each part by itself, `[PARTS * tokens, d_in]`.
    Whole(Tensor),
    /// Weights that need parts too: those of [`PAIRS`] in a row, `[tokens, 6 * d_in]`.
    Paired(Tensor),
}

impl Factors {
    fn new(backend: &dyn Backend, matrix: &Matrix, x: &Tensor) -> Result<Self> {
        let (parts, tokens) = (split(backend, x)?, x.dim(0)?);
        if matches!(matrix.values, Values::Bf16(_)) {
            return Ok(Self::Whole(parts));
        }
        let part = |&(part, _): &(usize, usize)| parts.narrow(0, part * tokens, tokens);
        let row = PAIRS.iter().map(part).collect::<candle_core::Result<Vec<_>>>()?;
        Ok(Self::Paired(Tensor::cat(&row, 1)?))
    }

    /// Numbers that stand for a row of the matrix.
    fn width(&self, d_in: usize) -> usize {
        match self {
            Self::Whole(_) => d_in,
            Self::Paired(_) => PAIRS.len() * d_in,
        }
    }

    /// Products of a token and a latent that are to be added.
    fn parts(&self) -> usize {
        match self {
            Self::Whole(_) => PARTS,
            Self::Paired(_) => 1,
        }
    }

    /// How many rows of a matrix are masked and multiplied at a time.
    fn rows_at_once(&self, tokens: usize, d_in: usize) -> usize {
        (MASKED / self.width(d_in)).min(PRODUCTS / (self.parts() * tokens)).max(1).next_multiple_of(128)
    }

    /// Products `[parts, tokens, rows]` with some rows of a masked matrix.
    fn products(&self, backend: &dyn Backend, matrix: &Matrix, pruning: Mask, rows: Range<usize>) -> Result<Tensor> {
        let columns = matrix.columns;
        match self {
            Self::Whole(x) => {
                let weight = mask(backend, matrix, pruning, rows.clone())?;
                backend.products(x, &weight.into_tensor(backend, &[rows.len(), columns])?)
            }
            Self::Paired(x) => {
                let weight = mask_in_parts(backend, matrix, pruning, rows.clone())?;
                let weight = weight.into_tensor(backend, &[rows.len(), PAIRS.len() * columns])?;
                backend.products(x, &weight)
            }
        }
    }
}

/// `x [tokens, d_in]` times the transpose of a matrix, `[tokens, rows]`, both in f32 and to f32's digits, by the same units.
pub(super) fn products(backend: &dyn Backend, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let matrix = Matrix::of(backend, weight)?;
    let tokens = x.dim(0)?;
    let factors @ Factors::Paired(_) = Factors::new(backend, &matrix, x)? else {
        return Err(Error::invalid(format!("products in f32 need weights in f32, found {}", matrix.values.name())));
    };
    let step = factors.rows_at_once(tokens, matrix.columns);
    let rows = (0..matrix.rows).step_by(step).map(|first| first..(first + step).min(matrix.rows));
    let parts = rows.map(|rows| factors.products(backend, &matrix, None, rows)).collect::<Result<Vec<_>>>()?;
    Ok(Tensor::cat(&parts, 1)?)
}

/// Some latents at a time, so that the masked copy stays small whatever the dictionary.
fn product(backend: &dyn Backend, encoder: &Encoder, x: &Tensor, out: &Buffer<f32>) -> Result<()> {
    let (tokens, d_in) = x.dims2()?;
    let d_sae = encoder.matrix.rows;
    let factors = Factors::new(backend, encoder.matrix, x)?;
    let parts = factors.parts();
    let step = factors.rows_at_once(tokens, d_in);
    for first in (0..d_sae).step_by(step) {
        let rows = step.min(d_sae - first);
        let products =
            Buffer::<f32>::of(backend, &factors.products(backend, encoder.matrix, encoder.mask, first..first + rows)?)?;
        let arguments = [
            products.address(),
            parts as u64,
            encoder.bias.address(),
            address(encoder.scale),
            address(encoder.floors),
            tokens as u64,
            rows as u64,
            first as u64,
            d_sae as u64,
            out.address(),
        ];
        launch(backend, "encode", "fire", Shape::over((tokens * rows) as u64)?, &arguments)?;
    }
    Ok(())
}

/// Inputs `x [tokens, d_in]` (f32) normalised as SAELens' `layer_norm` (`centred`) or `constant_norm_rescale` do; and, here, the factor
/// and the shift of each that undo it, `[tokens, 2]`. Twin: `core::sae::Normalize::apply`.
pub fn normalize(backend: &dyn Backend, x: &Tensor, centred: bool) -> Result<[Tensor; 2]> {
    let (tokens, width) = x.dims2()?;
    let (out, undo) = (Buffer::<f32>::new(backend, tokens * width)?, Buffer::<f32>::zeros(backend, 2 * tokens)?);
    if !out.is_empty() {
        let x = Buffer::<f32>::of(backend, x)?;
        let arguments = [x.address(), width as u64, u64::from(centred), out.address(), undo.address()];
        launch(backend, "encode", "normalize", Shape::many_rows(tokens, width)?, &arguments)?;
    }
    Ok([out.into_tensor(backend, &[tokens, width])?, undo.into_tensor(backend, &[tokens, 2])?])
}

/// What a gate let through, `[tokens, d_sae]`, made into magnitudes in place, one number a latent of each. Twin:
/// `core::sae::Activation::value`.
pub fn magnitudes(
    backend: &dyn Backend,
    latents: &Buffer<f32>,
    gate_bias: &Buffer<f32>,
    factors: &Buffer<f32>,
    bias: &Buffer<f32>,
) -> Result<()> {
    let d_sae = gate_bias.len();
    factors.expect(d_sae, "factors of magnitudes")?;
    bias.expect(d_sae, "biases of magnitudes")?;
    latents.expect(latents.len() / d_sae.max(1) * d_sae, "latents")?;
    if latents.is_empty() {
        return Ok(());
    }
    let [gate_bias, factors, bias] = [gate_bias, factors, bias].map(Buffer::address);
    let arguments = [latents.address(), latents.len() as u64, d_sae as u64, gate_bias, factors, bias];
    launch(backend, "encode", "magnitudes", Shape::over(latents.len() as u64)?, &arguments)
}

/// `tanh` of latents, in place. Twin: `core::sae::Activation::value`.
pub fn squash(backend: &dyn Backend, latents: &Buffer<f32>) -> Result<()> {
    if latents.is_empty() {
        return Ok(());
    }
    let arguments = [latents.address(), latents.len() as u64];
    launch(backend, "encode", "squash", Shape::over(latents.len() as u64)?, &arguments)
}
