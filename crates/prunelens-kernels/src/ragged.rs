//! Attention over texts of any lengths side by side, each read on from the keys and values that it has, and its gradient: what
//! is kept of a text, and how the CPU does it. On a GPU [`device::ragged`](crate::device::ragged) does.

use candle_core::Tensor;

use crate::{
    attention::{self, Heads},
    error::{Error, Result},
    gradient,
    kv_cache::{KvView, Span, attend, attend_vjp, rotate},
    layers::{Norm, Tables},
    with_f32,
};

/// Keys and values of some tokens in one block, `[tokens, kv_heads * width]` each, where they are read.
#[derive(Clone, Debug, Default)]
pub enum Kv {
    /// Of no tokens.
    #[default]
    Empty,
    /// On the CPU.
    Here {
        /// Keys.
        k: Vec<f32>,
        /// Values.
        v: Vec<f32>,
    },
    /// On a GPU, in f32.
    OnDevice {
        /// Keys.
        k: Tensor,
        /// Values.
        v: Tensor,
    },
}

impl Kv {
    /// Memory that they take.
    pub fn bytes(&self) -> usize {
        let numbers = match self {
            Self::Empty => 0,
            Self::Here { k, v } => k.len() + v.len(),
            Self::OnDevice { k, v } => k.elem_count() + v.elem_count(),
        };
        numbers * size_of::<f32>()
    }

    fn seen(&self) -> Result<KvView<'_>> {
        match self {
            Self::Empty => Ok(KvView::default()),
            Self::Here { k, v } => Ok(KvView { k, v }),
            Self::OnDevice { .. } => Err(elsewhere()),
        }
    }

    fn push(&mut self, keys: &[f32], values: &[f32]) -> Result<()> {
        if let Self::Empty = self {
            *self = Self::Here { k: Vec::new(), v: Vec::new() };
        }
        let Self::Here { k, v } = self else { return Err(elsewhere()) };
        k.extend_from_slice(keys);
        v.extend_from_slice(values);
        Ok(())
    }
}

/// What a text left on one device cannot be read on with on another.
pub(crate) fn elsewhere() -> Error {
    Error::invalid("keys and values of a text are on another device than the model that reads on")
}

/// Tokens of one attention layer, text after text.
pub struct Tokens<'a> {
    /// Sizes of the layer.
    pub heads: Heads,
    /// Of each head's queries and keys, with the first one's epsilon.
    pub norms: Option<[Norm<'a>; 2]>,
    /// Of all positions.
    pub tables: Option<Tables<'a>>,
    /// How many tokens belong to each text.
    pub new: &'a [usize],
    /// Where each token stands in its text.
    pub positions: &'a [usize],
    /// What each text began with before its own tokens.
    pub past: &'a [Option<&'a Kv>],
}

/// What the CPU's attention leaves for its gradient.
#[derive(Debug)]
pub struct CpuTrace {
    /// Rows before their norms, if they have norms.
    raw: Option<Vec<f32>>,
    /// `[tokens, heads * width]`, rotated.
    q: Vec<f32>,
    /// One a text.
    own: Vec<Kv>,
}

impl Tokens<'_> {
    fn weights(&self) -> Result<Option<([Vec<f32>; 2], f32)>> {
        let Some([q, k]) = self.norms else { return Ok(None) };
        let values = |norm: Norm| norm.weight.map_or(Ok(Vec::new()), |weight| with_f32(weight, <[f32]>::to_vec));
        Ok(Some(([values(q)?, values(k)?], q.eps as f32)))
    }

    fn turn(&self, rows: &mut [f32], back: bool) -> Result<()> {
        let Some((cos, sin)) = self.tables else { return Ok(()) };
        let half = cos.dim(1)?;
        with_f32(cos, |cos| with_f32(sin, |sin| rotate(rows, self.positions, self.heads, (cos, sin), half, back)))?
    }

    /// One a text.
    fn spans<'s>(&'s self, q: &'s [f32], own: &'s [Kv]) -> Result<Vec<Span<'s>>> {
        let (queries, mut rest) = (self.heads.queries(), q);
        let span = |((past, own), new): ((&Option<&'s Kv>, &'s Kv), &usize)| -> Result<Span<'s>> {
            let (q, after) = rest.split_at(new * queries);
            rest = after;
            Ok(Span { past: past.map_or(Ok(KvView::default()), Kv::seen)?, own: own.seen()?, q })
        };
        self.past.iter().zip(own).zip(self.new).map(span).collect()
    }

    /// `hook_z` of rows of queries, keys and values, and the queries as they met the keys. `own` are keys and values that each
    /// text has in this block already; new ones are appended.
    fn attend(&self, mut rows: Vec<f32>, own: &mut [Kv]) -> Result<(Vec<f32>, Vec<f32>)> {
        let heads = self.heads;
        if let Some((weights, eps)) = self.weights()? {
            attention::normalise(&mut rows, heads, [&weights[0], &weights[1]], eps);
        }
        self.turn(&mut rows, false)?;
        let (queries, keys) = (heads.queries(), heads.kv_heads * heads.width);
        let mut q = Vec::with_capacity(self.positions.len() * queries);
        let mut read = rows.chunks(heads.row());
        for (own, &new) in own.iter_mut().zip(self.new) {
            for row in read.by_ref().take(new) {
                q.extend_from_slice(&row[..queries]);
                own.push(&row[queries..queries + keys], &row[queries + keys..])?;
            }
        }
        let z = attend(&self.spans(&q, own)?, heads);
        Ok((z, q))
    }
}

/// `z [tokens, heads * width]` of `qkv [tokens, row]`. `own` are keys and values that each text has in this block already; new
/// ones are appended.
pub fn read(tokens: &Tokens, qkv: &Tensor, own: &mut [Kv]) -> Result<Tensor> {
    let (z, _) = tokens.attend(with_f32(qkv, <[f32]>::to_vec)?, own)?;
    Ok(Tensor::from_vec(z, (tokens.positions.len(), tokens.heads.queries()), qkv.device())?)
}

/// The same of the first tokens after what texts share, with what the gradient needs.
pub fn trace(tokens: &Tokens, qkv: &Tensor) -> Result<(Tensor, CpuTrace)> {
    let mut own = vec![Kv::default(); tokens.new.len()];
    let rows = with_f32(qkv, <[f32]>::to_vec)?;
    let raw = tokens.norms.map(|_| rows.clone());
    let (z, q) = tokens.attend(rows, &mut own)?;
    let z = Tensor::from_vec(z, (tokens.positions.len(), tokens.heads.queries()), qkv.device())?;
    Ok((z, CpuTrace { raw, q, own }))
}

/// The gradient by `qkv` from the one by `z`.
pub fn vjp(tokens: &Tokens, traced: &CpuTrace, g: &Tensor) -> Result<Tensor> {
    let heads = tokens.heads;
    let spans = tokens.spans(&traced.q, &traced.own)?;
    let mut rows = with_f32(&g.contiguous()?, |g| attend_vjp(&spans, heads, g))?;
    tokens.turn(&mut rows, true)?;
    if let (Some(raw), Some((weights, eps))) = (&traced.raw, tokens.weights()?) {
        gradient::head_norms(raw, &mut rows, heads, [&weights[0], &weights[1]], eps);
    }
    Ok(Tensor::from_vec(rows, (tokens.positions.len(), heads.row()), g.device())?)
}
