//! Texts of any lengths side by side on a GPU, and gradients through a transformer's layers. Twins: [`crate::ragged`] and
//! [`crate::gradient`].

use candle_core::{D, DType, Tensor};

use super::{Backend, Buffer, Shape, Values, bits, launch, layers::number};
use crate::{
    Act,
    attention::Heads,
    error::{Error, Result},
    layers::Norm,
    ragged::{Kv, Tokens, elsewhere},
};

/// What attention leaves for its gradient, in f32.
#[derive(Debug)]
pub struct Traced {
    /// Rows before norms and positions.
    rows: Tensor,
    /// `[tokens, heads * width]`, rotated.
    q: Tensor,
    /// Keys and values of all texts, `[keys, kv_heads * width]`.
    k: Tensor,
    v: Tensor,
}

/// Weights of attention that exist at a time, in numbers.
const WEIGHTS: usize = 1 << 26;
/// Threads that go through a query's keys.
const THREADS: u32 = 128;

fn numbers(backend: &dyn Backend, tensor: &Tensor) -> Result<Buffer<f32>> {
    Buffer::of(backend, &tensor.to_dtype(DType::F32)?)
}

/// `z [tokens, heads * width]` of `qkv [tokens, row]`. `own` are keys and values that each text has in this block already; new
/// ones are appended.
pub fn read(backend: &dyn Backend, tokens: &Tokens, qkv: &Tensor, own: &mut [Kv]) -> Result<Tensor> {
    let rows = prepare(backend, tokens, &qkv.to_dtype(DType::F32)?)?;
    let (z, _) = attend(backend, tokens, &rows, own)?;
    Ok(z.to_dtype(qkv.dtype())?)
}

/// The same of the first tokens after what texts share, with what the gradient needs.
pub fn trace(backend: &dyn Backend, tokens: &Tokens, qkv: &Tensor) -> Result<(Tensor, Traced)> {
    let mut own = vec![Kv::default(); tokens.new.len()];
    let rows = qkv.to_dtype(DType::F32)?;
    let (z, [q, k, v]) = attend(backend, tokens, &prepare(backend, tokens, &rows)?, &mut own)?;
    Ok((z.to_dtype(qkv.dtype())?, Traced { rows, q, k, v }))
}

/// Queries and keys normed and rotated.
fn prepare(backend: &dyn Backend, tokens: &Tokens, rows: &Tensor) -> Result<Tensor> {
    let out = Buffer::<f32>::new(backend, rows.elem_count())?;
    let input = numbers(backend, rows)?;
    with_heads(backend, tokens, |arguments, shape| {
        let mut all = vec![input.address()];
        all.extend(arguments);
        all.push(out.address());
        launch(backend, "ragged", "prepare_rows", shape, &all)
    })?;
    out.into_tensor(backend, rows.dims())
}

/// What both kernels of rows are told of norms, positions and heads.
fn with_heads(backend: &dyn Backend, tokens: &Tokens, run: impl FnOnce(&[u64], Shape) -> Result<()>) -> Result<()> {
    let Heads { heads, kv_heads, width, .. } = tokens.heads;
    let [q_norm, k_norm] = tokens.norms.map_or([None, None], |norms| norms.map(Some));
    let weight = |norm: Option<Norm>| norm.map_or(Ok(None), |norm| norm.weight(backend, width));
    let weights = [weight(q_norm)?, weight(k_norm)?];
    let [q, k] = [0, 1].map(|at| weights[at].as_ref().map_or(0, Values::address));
    let eps = q_norm.map_or(0, |norm| bits(norm.eps as f32));
    let tables = match tokens.tables {
        Some((cos, sin)) => Some((numbers(backend, cos)?, numbers(backend, sin)?, cos.dim(1)?)),
        None => None,
    };
    let (cos, sin, half) = tables.as_ref().map_or((0, 0, 0), |(cos, sin, half)| (cos.address(), sin.address(), *half));
    let positions = Buffer::from_slice(backend, &narrow(tokens.positions)?)?;
    let count = tokens.positions.len() as u64;
    let arguments =
        [q, k, eps, cos, sin, half as u64, positions.address(), count, heads as u64, kv_heads as u64, width as u64];
    run(&arguments, Shape::warps(count * (heads + 2 * kv_heads) as u64, 1)?)
}

fn narrow(values: &[usize]) -> Result<Vec<u32>> {
    let narrow = |value: &usize| u32::try_from(*value);
    values
        .iter()
        .map(narrow)
        .collect::<std::result::Result<_, _>>()
        .map_err(|_| Error::invalid("a text is too long for a GPU"))
}

/// Where each token's text has its keys among those of all, how many of them the token sees, and where its text's tokens end.
struct Places {
    first: Buffer<u32>,
    keys: Buffer<u32>,
    ends: Buffer<u32>,
    /// Of each text: its first token, and the most keys that one of its tokens sees.
    texts: Vec<(usize, usize)>,
}

impl Places {
    /// Of texts that have so many keys in all.
    fn new(backend: &dyn Backend, new: &[usize], all: &[usize]) -> Result<Self> {
        let (mut first, mut keys, mut ends, mut texts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut start, mut token) = (0, 0);
        for (&new, &all) in new.iter().zip(all) {
            texts.push((token, all));
            first.extend(std::iter::repeat_n(start, new));
            keys.extend(all - new + 1..=all);
            ends.extend(std::iter::repeat_n(token + new, new));
            (start, token) = (start + all, token + new);
        }
        let upload = |values: &[usize]| Buffer::from_slice(backend, &narrow(values)?);
        Ok(Self { first: upload(&first)?, keys: upload(&keys)?, ends: upload(&ends)?, texts })
    }

    /// Tokens of whole texts whose weights fit in memory together, and the most keys that one of them sees.
    fn parts(&self, tokens: usize, heads: usize) -> Vec<(std::ops::Range<usize>, usize)> {
        let ends = self.texts.iter().skip(1).map(|(token, _)| *token).chain([tokens]);
        let mut parts: Vec<(std::ops::Range<usize>, usize)> = Vec::new();
        for (&(start, keys), end) in self.texts.iter().zip(ends) {
            match parts.last_mut() {
                Some((part, most)) if (end - part.start) * heads * keys.max(*most) <= WEIGHTS => {
                    (part.end, *most) = (end, keys.max(*most));
                }
                _ => parts.push((start..end, keys)),
            }
        }
        parts
    }
}

/// `z` of prepared rows, and queries, keys and values as they met: of all texts, the keys that were there first.
fn attend(backend: &dyn Backend, tokens: &Tokens, rows: &Tensor, own: &mut [Kv]) -> Result<(Tensor, [Tensor; 3])> {
    let Heads { heads, kv_heads, width, .. } = tokens.heads;
    let columns = |from: usize, len: usize| rows.narrow(1, from * width, len * width)?.contiguous();
    let (q, k, v) = (columns(0, heads)?, columns(heads, kv_heads)?, columns(heads + kv_heads, kv_heads)?);
    let (mut all_k, mut all_v, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    let mut start = 0;
    for ((own, &new), past) in own.iter_mut().zip(tokens.new).zip(tokens.past) {
        let (new_k, new_v) = (k.narrow(0, start, new)?, v.narrow(0, start, new)?);
        *own = match std::mem::take(own) {
            Kv::Empty => Kv::OnDevice { k: new_k, v: new_v },
            Kv::OnDevice { k, v } => Kv::OnDevice { k: Tensor::cat(&[k, new_k], 0)?, v: Tensor::cat(&[v, new_v], 0)? },
            Kv::Here { .. } => return Err(elsewhere()),
        };
        let mut count = 0;
        for kv in past.iter().copied().chain([&*own]) {
            match kv {
                Kv::Empty => {}
                Kv::Here { .. } => return Err(elsewhere()),
                Kv::OnDevice { k, v } => {
                    count += k.dim(0)?;
                    all_k.push(k.clone());
                    all_v.push(v.clone());
                }
            }
        }
        counts.push(count);
        start += new;
    }
    let (k, v) = (Tensor::cat(&all_k, 0)?, Tensor::cat(&all_v, 0)?);
    let places = Places::new(backend, tokens.new, &counts)?;
    let z = Buffer::<f32>::new(backend, q.elem_count())?;
    let [q_at, k_at, v_at] = [numbers(backend, &q)?, numbers(backend, &k)?, numbers(backend, &v)?];
    for (part, stride) in places.parts(start, heads) {
        // A text that is too long by itself goes some tokens at a time.
        let step = (WEIGHTS / (heads * stride).max(1)).max(1);
        for first in part.clone().step_by(step) {
            let count = step.min(part.end - first);
            weights(backend, tokens.heads, &places, [&q_at, &k_at, &v_at], first..first + count, stride, &z)?;
        }
    }
    Ok((z.into_tensor(backend, q.dims())?, [q, k, v]))
}

/// `z` of some tokens, and their weights of attention `[tokens, heads, stride]`.
fn weights(
    backend: &dyn Backend,
    heads: Heads,
    places: &Places,
    [q, k, v]: [&Buffer<f32>; 3],
    tokens: std::ops::Range<usize>,
    stride: usize,
    z: &Buffer<f32>,
) -> Result<Buffer<f32>> {
    let weights = Buffer::<f32>::new(backend, tokens.len() * heads.heads * stride)?;
    let window = heads.window.and_then(|window| u32::try_from(window.max(1)).ok()).unwrap_or(u32::MAX);
    let arguments = [
        q.address(),
        k.address(),
        v.address(),
        places.first.address(),
        places.keys.address(),
        tokens.start as u64,
        heads.heads as u64,
        heads.kv_heads as u64,
        heads.width as u64,
        bits(heads.scale),
        bits(heads.softcap.unwrap_or(0.0)),
        u64::from(window),
        stride as u64,
        weights.address(),
        z.address(),
    ];
    launch(
        backend,
        "ragged",
        "attend_ragged",
        Shape::grid(tokens.len() as u64, heads.heads as u64, THREADS)?,
        &arguments,
    )?;
    Ok(weights)
}

/// The gradient by `qkv` from the one by `z`, in f32.
pub fn vjp(backend: &dyn Backend, tokens: &Tokens, traced: &Traced, g: &Tensor) -> Result<Tensor> {
    let heads = tokens.heads;
    let counts = tokens.past.iter().zip(tokens.new).map(|(past, new)| {
        Ok(new
            + match past {
                Some(Kv::OnDevice { k, .. }) => k.dim(0)?,
                _ => 0,
            })
    });
    let places = Places::new(backend, tokens.new, &counts.collect::<Result<Vec<_>>>()?)?;
    let by_rows = Buffer::<f32>::new(backend, traced.rows.elem_count())?;
    let all = [&traced.q, &traced.k, &traced.v].map(|tensor| numbers(backend, tensor));
    let [q, k, v] = all;
    let (q, k, v, g) = (q?, k?, v?, numbers(backend, &g.contiguous()?)?);
    let scale = bits(heads.scale);
    let sizes = [heads.heads as u64, heads.kv_heads as u64, heads.width as u64, scale];
    for (part, stride) in places.parts(tokens.positions.len(), heads.heads) {
        let z = Buffer::<f32>::new(backend, traced.q.elem_count())?;
        let weights = weights(backend, heads, &places, [&q, &k, &v], part.clone(), stride, &z)?;
        let by_scores = Buffer::<f32>::new(backend, weights.len())?;
        let mut arguments = vec![q.address(), k.address(), v.address(), g.address()];
        arguments.extend([places.first.address(), places.keys.address(), part.start as u64]);
        arguments.extend(sizes);
        arguments.extend([bits(heads.softcap.unwrap_or(0.0)), stride as u64]);
        arguments.extend([weights.address(), by_scores.address(), by_rows.address()]);
        let shape = Shape::grid(part.len() as u64, heads.heads as u64, THREADS)?;
        launch(backend, "ragged", "attend_ragged_vjp", shape, &arguments)?;
        let mut arguments = vec![q.address(), g.address(), places.keys.address(), places.ends.address()];
        arguments.push(part.start as u64);
        arguments.extend(sizes);
        arguments.extend([stride as u64, weights.address(), by_scores.address(), by_rows.address()]);
        let shape = Shape::grid(part.len() as u64, heads.kv_heads as u64, THREADS)?;
        launch(backend, "ragged", "attend_ragged_vjp_keys", shape, &arguments)?;
    }
    let (raw, out) = (numbers(backend, &traced.rows)?, Buffer::<f32>::new(backend, by_rows.len())?);
    with_heads(backend, tokens, |arguments, shape| {
        let mut all = vec![raw.address(), by_rows.address()];
        all.extend(arguments);
        all.push(out.address());
        launch(backend, "ragged", "prepare_rows_vjp", shape, &all)
    })?;
    out.into_tensor(backend, traced.rows.dims())
}

/// The gradient by the input of a norm from the one by its output, in f32.
pub fn norm_vjp(backend: &dyn Backend, x: &Tensor, g: &Tensor, norm: Norm) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    let (input, by) = (numbers(backend, x)?, numbers(backend, g)?);
    let weight = norm.weight(backend, width)?;
    let out = Buffer::<f32>::new(backend, input.len())?;
    if !out.is_empty() {
        let arguments = [
            input.address(),
            by.address(),
            weight.as_ref().map_or(0, Values::address),
            width as u64,
            bits(norm.eps as f32),
            u64::from(norm.centred),
            out.address(),
        ];
        launch(backend, "ragged", "norm_vjp", Shape::long_rows(input.len() / width, width)?, &arguments)?;
    }
    out.into_tensor(backend, x.dims())
}

/// The same of an MLP's activation function, of `x [n, width]`, or gated of `[n, 2 width]`.
pub fn activate_vjp(backend: &dyn Backend, x: &Tensor, g: &Tensor, act: Act, gated: bool) -> Result<Tensor> {
    let (_, width) = g.dims2()?;
    let (input, by) = (numbers(backend, x)?, numbers(backend, g)?);
    let expected = by.len() * if gated { 2 } else { 1 };
    if input.len() != expected {
        let found = input.len();
        return Err(Error::invalid(format!(
            "a gradient by {} numbers needs {expected} before them, found {found}",
            by.len()
        )));
    }
    let out = Buffer::<f32>::new(backend, input.len())?;
    if !out.is_empty() {
        let len = by.len() as u64;
        let arguments =
            [input.address(), by.address(), len, width as u64, u64::from(gated), number(act), out.address()];
        launch(backend, "ragged", "activate_vjp", Shape::over(len)?, &arguments)?;
    }
    out.into_tensor(backend, x.dims())
}
