//! Latents to reconstructions, and what these leave of activations.

use candle_core::{DType, Tensor};

use super::{Backend, Buffer, Kernel, Lists, Mask, Matrix, Shape, launch, launch_of, memory::address};
use crate::{
    Latents,
    error::{Error, Result},
};

/// Columns of a block.
const COLUMNS: u32 = 128;
/// Latents of a token that are gone through at a time on the way back.
const WARPS: u32 = 8;

/// `f W + bias` with only the active latents read: `[tokens, d_in]`; `divisors` divide out a rescaling.
/// Twin: `kernels::encode::decode`.
pub fn decode(
    backend: &dyn Backend,
    lists: &Lists,
    matrix: &Matrix,
    mask: Mask,
    bias: &Buffer<f32>,
    divisors: Option<&Buffer<f32>>,
) -> Result<Buffer<f32>> {
    let d_in = matrix.columns;
    let tokens = lists.rows();
    lists.expect(matrix.rows, "a decoder")?;
    bias.expect(d_in, "the decoder's bias")?;
    divisors.map_or(Ok(()), |divisors| divisors.expect(matrix.rows, "divisors of latents"))?;
    let out = Buffer::new(backend, tokens * d_in)?;
    if out.is_empty() {
        return Ok(out);
    }
    let masked = matrix.masked(mask)?;
    let arguments = [
        lists.spans(),
        lists.latents(),
        matrix.values.address(),
        masked.ranks,
        masked.cut,
        bias.address(),
        address(divisors),
        d_in as u64,
        out.address(),
    ];
    let shape = Shape::grid(tokens as u64, (d_in as u64).div_ceil(u64::from(COLUMNS)), COLUMNS)?;
    // Lists name latents of this many, and lengths were checked.
    launch_of(backend, Kernel { file: "decode", name: "decode", of: masked.of }, shape, &arguments)?;
    Ok(out)
}

/// The gradient by each latent, in the order of their values, from the one by the reconstruction, `g [tokens, d_in]`.
/// Twin: `Sae::decode_vjp`, but for what undoes a normalisation.
pub fn decode_vjp(
    backend: &dyn Backend,
    latents: &Latents,
    matrix: &Matrix,
    mask: Mask,
    divisors: Option<&Buffer<f32>>,
    g: &Tensor,
) -> Result<Vec<f32>> {
    let (tokens, d_in) = g.dims2()?;
    if tokens != latents.rows() || d_in != matrix.columns || latents.d_sae != matrix.rows {
        let (rows, of) = (latents.rows(), latents.d_sae);
        return Err(Error::invalid(format!(
            "a gradient {:?} by {rows} reconstructions of {} numbers from {of} latents, of which the matrix has {}",
            g.dims(),
            matrix.columns,
            matrix.rows
        )));
    }
    divisors.map_or(Ok(()), |divisors| divisors.expect(matrix.rows, "divisors of latents"))?;
    let out = Buffer::<f32>::new(backend, latents.values.len())?;
    if !out.is_empty() {
        let lists = Lists::from_latents(backend, latents)?;
        let g = Buffer::<f32>::of(backend, &g.to_dtype(DType::F32)?)?;
        let masked = matrix.masked(mask)?;
        let arguments = [
            lists.spans(),
            lists.latents(),
            matrix.values.address(),
            masked.ranks,
            masked.cut,
            address(divisors),
            g.address(),
            d_in as u64,
            out.address(),
        ];
        let kernel = Kernel { file: "decode", name: "decode_vjp", of: masked.of };
        launch_of(backend, kernel, Shape::rows(tokens, WARPS * 32)?, &arguments)?;
    }
    out.to_vec(backend)
}

/// Three sums for each row of `x [tokens, d_in]` and its reconstruction: `|x - y|^2`, `|y|^2` and `x . y`.
/// Twin: `kernels::TokenErrors::of`.
pub fn token_errors(backend: &dyn Backend, x: &Tensor, recon: &Tensor) -> Result<Buffer<f64>> {
    let (tokens, d_in) = x.dims2()?;
    if recon.dims() != x.dims() {
        return Err(Error::invalid(format!("reconstructions {:?} of activations {:?}", recon.dims(), x.dims())));
    }
    let out = Buffer::new(backend, 3 * tokens)?;
    if tokens > 0 {
        let of = |tensor: &Tensor| Buffer::<f32>::of(backend, &tensor.to_dtype(DType::F32)?);
        let (x, recon) = (of(x)?, of(recon)?);
        let arguments = [x.address(), recon.address(), d_in as u64, out.address()];
        launch(backend, "decode", "token_errors", Shape::many_rows(tokens, d_in)?, &arguments)?;
    }
    Ok(out)
}
