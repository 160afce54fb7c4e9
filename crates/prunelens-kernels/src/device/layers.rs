//! What stands between a transformer's matrix products.

use candle_core::{DType, Tensor};

use super::{Backend, Buffer, Kernel, Shape, Values, bits, launch_of, memory::address};
use crate::{
    Act,
    attention::Heads,
    error::{Error, Result},
    layers::Norm,
};

impl Norm<'_> {
    /// The factors, for `width` columns.
    pub(super) fn weight(&self, backend: &dyn Backend, width: usize) -> Result<Option<Values>> {
        parameter(backend, self.weight, width)
    }

    fn bias(&self, backend: &dyn Backend, width: usize) -> Result<Option<Values>> {
        parameter(backend, self.bias, width)
    }
}

/// A vector of `width` numbers in f32.
fn parameter(backend: &dyn Backend, tensor: Option<&Tensor>, width: usize) -> Result<Option<Values>> {
    let Some(tensor) = tensor else { return Ok(None) };
    if tensor.elem_count() != width {
        let found = tensor.elem_count();
        return Err(Error::invalid(format!("a norm over {width} numbers needs as many weights, found {found}")));
    }
    Values::of(backend, &tensor.to_dtype(DType::F32)?).map(Some)
}

fn of(values: Option<&Values>) -> u64 {
    values.map_or(0, Values::address)
}

/// Norms over the last dimension. Twins: `kernels::pointwise::{layer_norm, rms_norm}`.
pub fn norm(backend: &dyn Backend, x: &Tensor, norm: Norm) -> Result<Tensor> {
    let width = x.dims().last().copied().unwrap_or(0);
    let input = Values::of(backend, x)?;
    let out = input.like(backend, input.len())?;
    let (weight, bias) = (norm.weight(backend, width)?, norm.bias(backend, width)?);
    if !input.is_empty() {
        let arguments = [
            input.address(),
            of(weight.as_ref()),
            of(bias.as_ref()),
            width as u64,
            u64::from((norm.eps as f32).to_bits()),
            u64::from(norm.centred),
            out.address(),
        ];
        let kernel = Kernel { file: "layers", name: "norm", of: [input.name(), ""] };
        // Rows are as wide as weight and bias.
        launch_of(backend, kernel, Shape::long_rows(input.len() / width, width)?, &arguments)?;
    }
    out.into_tensor(backend, x.dims())
}

/// `x + delta`, `delta` normed first if `post` is given, and the norm of the sum if `next` is: `[n, width]` each, in one launch
/// and to the bits of one for each. Twins: those of [`norm`], and candle's sum.
pub fn add_norm(
    backend: &dyn Backend,
    x: &Tensor,
    delta: &Tensor,
    post: Option<Norm>,
    next: Option<Norm>,
) -> Result<(Tensor, Option<Tensor>)> {
    let width = x.dims().last().copied().unwrap_or(0);
    if (x.dims(), x.dtype()) != (delta.dims(), delta.dtype()) {
        let (found, dtype) = (delta.dims(), delta.dtype());
        return Err(Error::invalid(format!("a sum of {:?} of {:?} and {found:?} of {dtype:?}", x.dims(), x.dtype())));
    }
    let (left, right) = (Values::of(backend, x)?, Values::of(backend, delta)?);
    let sum = left.like(backend, left.len())?;
    let out = next.map(|_| left.like(backend, left.len())).transpose()?;
    // Addresses of weight and bias, and what else a norm is.
    let told = |norm: Option<Norm>| -> Result<_> {
        let weight = norm.map_or(Ok(None), |norm| norm.weight(backend, width))?;
        let bias = norm.map_or(Ok(None), |norm| norm.bias(backend, width))?;
        let words = norm.map_or([0; 2], |norm| [bits(norm.eps as f32), u64::from(norm.centred)]);
        Ok(([of(weight.as_ref()), of(bias.as_ref()), words[0], words[1]], weight, bias))
    };
    let (post_words, _post_weight, _post_bias) = told(post)?;
    let (next_words, _weight, _bias) = told(next)?;
    if !left.is_empty() {
        let mut arguments = vec![left.address(), right.address(), u64::from(post.is_some())];
        arguments.extend(post_words);
        arguments.extend(next_words);
        arguments.extend([width as u64, sum.address(), of(out.as_ref())]);
        let shape = Shape::long_rows(left.len() / width, width)?;
        launch_of(backend, Kernel { file: "layers", name: "add_norm", of: [left.name(), ""] }, shape, &arguments)?;
    }
    let out = out.map(|out| out.into_tensor(backend, x.dims())).transpose()?;
    Ok((sum.into_tensor(backend, x.dims())?, out))
}

/// Queries, keys and values `[batch, heads, time, width]` each, of rows `qkv [batch * time, (heads + 2 kv_heads) * width]`; keys
/// and values have `kv_heads`, or as many as queries if they are `spread` over those that share them. Queries are multiplied by
/// `factor`. `norms` are those of queries and keys, `tables` cosines and sines `[time, half]`.
/// Twins: `kernels::attention::{normalise, rotate}`.
pub fn split_heads(
    backend: &dyn Backend,
    qkv: &Tensor,
    (batch, time): (usize, usize),
    heads: Heads,
    norms: Option<[Norm; 2]>,
    tables: Option<(&Tensor, &Tensor)>,
    (spread, factor): (bool, f32),
) -> Result<[Tensor; 3]> {
    let Heads { heads: n, kv_heads, width, .. } = heads;
    let stored = if spread { n } else { kv_heads };
    let (rows, all_heads) = (batch * time, n + 2 * stored);
    if kv_heads == 0 || !n.is_multiple_of(kv_heads) || qkv.elem_count() != rows * (n + 2 * kv_heads) * width {
        let found = qkv.dims();
        return Err(Error::invalid(format!(
            "{rows} rows of {n} + 2 x {kv_heads} heads of {width} numbers are needed, found {found:?}"
        )));
    }
    let input = Values::of(backend, qkv)?;
    let out = input.like(backend, rows * all_heads * width)?;
    let [q_norm, k_norm] = norms.map_or([None, None], |norms| norms.map(Some));
    let weight = |norm: Option<Norm>| norm.map_or(Ok(None), |norm| norm.weight(backend, width));
    let (q_weight, k_weight) = (weight(q_norm)?, weight(k_norm)?);
    let eps = |norm: Option<Norm>| norm.map_or(0, |norm| u64::from((norm.eps as f32).to_bits()));
    let half = tables.map_or(Ok(0), |(cos, _)| cos.dim(1))?;
    if let Some((cos, sin)) = tables
        && ([cos.dims(), sin.dims()] != [[time, half]; 2] || 2 * half > width)
    {
        let (cos, sin) = (cos.dims(), sin.dims());
        return Err(Error::invalid(format!("tables of {time} positions are needed, found {cos:?} and {sin:?}")));
    }
    let table = |table: Option<&Tensor>| table.map(|table| Buffer::<f32>::of(backend, table)).transpose();
    let (cos, sin) = (table(tables.map(|(cos, _)| cos))?, table(tables.map(|(_, sin)| sin))?);
    if !out.is_empty() {
        let arguments = [
            input.address(),
            of(q_weight.as_ref()),
            of(k_weight.as_ref()),
            eps(q_norm),
            eps(k_norm),
            address(cos.as_ref()),
            address(sin.as_ref()),
            half as u64,
            rows as u64,
            time as u64,
            n as u64,
            kv_heads as u64,
            stored as u64,
            width as u64,
            bits(factor),
            out.address(),
        ];
        let kernel = Kernel { file: "layers", name: "split_heads", of: [input.name(), ""] };
        // Lengths were checked above.
        launch_of(backend, kernel, Shape::warps((rows * all_heads) as u64, 1)?, &arguments)?;
    }
    let all = out.into_tensor(backend, &[rows * all_heads * width])?;
    let part = |from: usize, heads: usize| {
        all.narrow(0, from * rows * width, heads * rows * width)?.reshape((batch, heads, time, width))
    };
    Ok([part(0, n)?, part(n, stored)?, part(n + stored, stored)?])
}

/// The activation function of an MLP; of `[n, 2 width]` if gated, gates first. Twins: those in `kernels::pointwise`.
pub fn activate(backend: &dyn Backend, x: &Tensor, act: Act, gated: bool) -> Result<Tensor> {
    let (n, wide) = x.dims2()?;
    let width = if gated { wide / 2 } else { wide };
    if gated && !wide.is_multiple_of(2) {
        return Err(Error::invalid(format!("gates and what they open need an even width, found {wide}")));
    }
    let input = Values::of(backend, x)?;
    let out = input.like(backend, n * width)?;
    if !out.is_empty() {
        let len = out.len() as u64;
        let arguments = [input.address(), len, width as u64, u64::from(gated), number(act), out.address()];
        let kernel = Kernel { file: "layers", name: "activate", of: [input.name(), ""] };
        // Lengths were checked above.
        launch_of(backend, kernel, Shape::over(len)?, &arguments)?;
    }
    out.into_tensor(backend, &[n, width])
}

/// As the kernels number them.
pub(super) fn number(act: Act) -> u64 {
    match act {
        Act::GeluTanh => 0,
        Act::Gelu => 1,
        Act::Silu => 2,
        Act::Relu => 3,
    }
}
