//! Causal attention on a GPU. Twin: [`crate::attention::causal`].

use candle_core::{DType, Tensor};

use super::{Backend, Buffer, Kernel, Shape, Values, bits, launch, launch_of, layers::split_heads};
use crate::{
    attention::Heads,
    error::{Error, Result},
    layers::Norm,
};

/// Weights of attention that exist at a time, in f32.
const WEIGHTS: usize = 1 << 28;
/// Queries whose products with keys are taken together there: the fewer, the fewer of keys that come later are taken for nothing.
const QUERIES: usize = 512;
/// What the kernel of `attention.cu` is made for.
#[derive(Clone, Copy)]
struct Size {
    /// The widest head that it takes.
    width: usize,
    /// The kernel's name for it.
    name: &'static str,
    /// Queries of a block.
    queries: usize,
    /// Keys at a time.
    keys: usize,
}

const SIZES: [Size; 3] = [
    Size { width: 64, name: "64", queries: 128, keys: 64 },
    Size { width: 128, name: "128", queries: 128, keys: 32 },
    Size { width: 256, name: "256", queries: 64, keys: 32 },
];
/// Threads of its blocks.
const THREADS: u32 = 128;

/// What the kernel is made for that takes these heads in this type.
fn size(dtype: DType, width: usize) -> Option<Size> {
    let fits = matches!(dtype, DType::BF16 | DType::F16) && width.is_multiple_of(8);
    SIZES.into_iter().find(|size| fits && (1..=size.width).contains(&width))
}

/// Whether there is a way for heads of this width: in f32 for all, in 16 bits for those whose rows are read 16 bytes at a time.
pub fn takes(dtype: DType, width: usize) -> bool {
    dtype == DType::F32 || size(dtype, width).is_some()
}

/// `z [batch * time, heads * width]` of `qkv [batch * time, (heads + 2 kv_heads) * width]`, whose queries and keys are normed and
/// rotated first. In 16 bits weights stay in registers, and products go by tensor cores; in f32 by the library, with weights in
/// memory for some queries at a time.
pub fn causal(
    backend: &dyn Backend,
    qkv: &Tensor,
    (batch, time): (usize, usize),
    heads: Heads,
    norms: Option<[Norm; 2]>,
    tables: Option<(&Tensor, &Tensor)>,
) -> Result<Tensor> {
    match size(qkv.dtype(), heads.width) {
        Some(size) => {
            let parts = split_heads(backend, qkv, (batch, time), heads, norms, tables, (false, 1.0))?;
            fused(backend, parts, heads, size)
        }
        None => by_products(
            backend,
            split_heads(backend, qkv, (batch, time), heads, norms, tables, (true, heads.scale))?,
            heads,
        ),
    }
}

/// Of `[batch, heads, time, width]`, in one launch.
fn fused(backend: &dyn Backend, [q, k, v]: [Tensor; 3], heads: Heads, size: Size) -> Result<Tensor> {
    let (batch, n, time, width) = q.dims4()?;
    let (q, k, v) = (Values::of(backend, &q)?, Values::of(backend, &k)?, Values::of(backend, &v)?);
    let z = q.like(backend, q.len())?;
    if !z.is_empty() {
        let arguments = [
            q.address(),
            k.address(),
            v.address(),
            time as u64,
            n as u64,
            heads.kv_heads as u64,
            width as u64,
            bits(heads.scale),
            bits(heads.softcap.unwrap_or(0.0)),
            window(heads),
            z.address(),
        ];
        let mut shape = Shape::grid((batch * n) as u64, time.div_ceil(size.queries) as u64, THREADS)?;
        // Rows of queries, keys and values, with what keeps them in different banks.
        shape.shared = ((size.queries + 2 * size.keys) * (size.width + 8) * size_of::<u16>()) as u32;
        let kernel = Kernel { file: "attention", name: "attention", of: [size.name, z.name()] };
        launch_of(backend, kernel, shape, &arguments)?;
    }
    z.into_tensor(backend, &[batch * time, n * width])
}

/// The same in f32 of scaled queries, and of keys and values for each of them.
fn by_products(backend: &dyn Backend, [q, k, v]: [Tensor; 3], heads: Heads) -> Result<Tensor> {
    let (batch, n, time, width) = q.dims4()?;
    let all = batch * n;
    let [q, k, v] = [q, k, v].map(|x| x.reshape((all, time, width)));
    let (q, k, v) = (q?, k?, v?);
    // Some heads at a time: their weights grow with the square of the text.
    let step = (WEIGHTS / (time * QUERIES.min(time)).max(1)).clamp(1, all.max(1));
    let seen = heads.window.unwrap_or(time).max(1);
    let z = (0..all).step_by(step).map(|start| -> Result<Tensor> {
        let part =
            |x: &Tensor, from: usize, to: usize| x.narrow(0, start, step.min(all - start))?.narrow(1, from, to - from);
        let z = (0..time).step_by(QUERIES).map(|first| -> Result<Tensor> {
            // Keys after the last query are never seen, nor those before the first one's window.
            let (from, end) = ((first + 1).saturating_sub(seen), (first + QUERIES).min(time));
            let products = part(&q, first, end)?.matmul(&part(&k, from, end)?.transpose(1, 2)?)?;
            Ok(attend(backend, &products, heads)?.matmul(&part(&v, from, end)?)?)
        });
        Ok(Tensor::cat(&z.collect::<Result<Vec<_>>>()?, 1)?)
    });
    let z = Tensor::cat(&z.collect::<Result<Vec<_>>>()?, 0)?.reshape((batch, n, time, width))?;
    Ok(z.transpose(1, 2)?.reshape((batch * time, n * width))?)
}

/// Weights of causal attention from products of scaled queries and keys `[.., queries, keys]` in f32, where the queries are those of
/// the last keys. Twin: the softmax in `kernels::attention::causal`.
pub fn attend(backend: &dyn Backend, products: &Tensor, heads: Heads) -> Result<Tensor> {
    let [.., queries, keys] = *products.dims() else {
        return Err(Error::invalid(format!("products of queries and keys were expected, found {:?}", products.dims())));
    };
    let Some(before) = keys.checked_sub(queries) else {
        return Err(Error::invalid(format!("{queries} queries need as many keys, found {keys}")));
    };
    let input = Buffer::<f32>::of(backend, products)?;
    let out = Buffer::<f32>::new(backend, input.len())?;
    if !input.is_empty() {
        let rows = (input.len() / keys) as u64;
        let arguments = [
            input.address(),
            rows,
            queries as u64,
            keys as u64,
            before as u64,
            bits(heads.softcap.unwrap_or(0.0)),
            window(heads),
            out.address(),
        ];
        launch(backend, "layers", "attend", Shape::warps(rows, 1)?, &arguments)?;
    }
    out.into_tensor(backend, products.dims())
}

/// Keys that a query sees, as kernels are told.
fn window(heads: Heads) -> u64 {
    heads.window.and_then(|window| u32::try_from(window.max(1)).ok()).unwrap_or(u32::MAX).into()
}
