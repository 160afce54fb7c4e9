//! Pruning a language model: canonical Wanda (arXiv 2306.11695), magnitude, and what the released code of
//! arXiv 2507.15977 does.

use candle_core::Tensor;
use prunelens_kernels::{
    device::{self, Backend},
    with_f32,
};
use rayon::prelude::*;

use super::{Sparsity, cut, norms::InputNorm};
use crate::{
    error::{Error, Result},
    model::{Model, Part},
    progress::{Listener, Progress},
};

/// Positions that go through a block at a time; a card wants more at once.
const BATCH_TOKENS: usize = 1024;
const DEVICE_BATCH_TOKENS: usize = 4096;

/// Zero the weights of lowest score in each group of each row of `w [rows, cols]`; the score is |w| times the column's norm.
fn prune_rows(w: &[f32], norm: Option<&[f32]>, cols: usize, sparsity: Sparsity) -> Vec<f32> {
    let mut out = w.to_vec();
    out.par_chunks_mut(cols).for_each_init(Vec::new, |order: &mut Vec<u64>, row| {
        let (group, n) = match sparsity {
            Sparsity::Ratio(ratio) => (cols, cut(cols, ratio) as usize),
            Sparsity::NM(n, m) => (m, n),
        };
        for (start, chunk) in row.chunks_mut(group).enumerate() {
            order.clear();
            order.extend(chunk.iter().enumerate().map(|(at, w)| {
                let score = w.abs() * norm.map_or(1.0, |norm| norm[start * group + at]);
                u64::from(score.to_bits()) << 32 | at as u64
            }));
            let n = n.min(order.len());
            if n > 0 {
                order.select_nth_unstable(n - 1);
                order[..n].iter().for_each(|key| chunk[*key as u32 as usize] = 0.0);
            }
        }
    });
    out
}

/// A copy of weights `[rows, cols]` without those of lowest score, where they are.
pub fn pruned(w: &Tensor, norm: Option<&[f32]>, sparsity: Sparsity, backend: Option<&dyn Backend>) -> Result<Tensor> {
    let (cols, dtype) = (w.dim(1)?, w.dtype());
    if let Sparsity::NM(_, m) = sparsity
        && !cols.is_multiple_of(m)
    {
        return Err(Error::invalid(format!("{m} does not divide {cols} inputs; choose another n:m")));
    }
    if let Some(backend) = backend {
        return device::prune(backend, w, norm, sparsity);
    }
    let wide = w.to_dtype(candle_core::DType::F32)?.contiguous()?;
    let values = with_f32(&wide, |w| prune_rows(w, norm, cols, sparsity))?;
    Ok(Tensor::from_vec(values, w.shape(), w.device())?.to_dtype(dtype)?)
}

fn report(progress: Listener, what: &str, layer: usize, model: &Model) -> Result<()> {
    let total = model.config.n_layers as u64;
    progress(Progress { what: what.into(), done: layer as u64, total, unit: "layers" })
}

impl Model {
    /// Canonical Wanda. Block by block: norms of the inputs of all its matrices are taken while it is dense and all blocks
    /// before it are pruned; then its matrices are pruned and it is run again. `batches` are calibration tokens, rows of
    /// equal length in each.
    pub fn wanda(&self, batches: &[Vec<Vec<u32>>], sparsity: Sparsity, progress: Listener) -> Result<Self> {
        let mut model = self.clone();
        let at_once = if self.device.is_cpu() { BATCH_TOKENS } else { DEVICE_BATCH_TOKENS };
        // Residual streams, and the rows in each.
        let mut streams = Vec::new();
        for rows in batches {
            let time = rows.first().map_or(0, Vec::len);
            if time == 0 || rows.iter().any(|r| r.len() != time) {
                return Err(Error::invalid("calibration needs rows of tokens, of equal length in each batch"));
            }
            for rows in rows.chunks((at_once / time).max(1)) {
                let tokens = Tensor::from_vec(rows.concat(), (rows.len(), time), &self.device)?;
                streams.push((self.embed(&tokens)?, rows.len()));
            }
        }
        if streams.is_empty() {
            return Err(Error::invalid("calibration needs at least one row of tokens"));
        }
        for layer in 0..self.config.n_layers {
            let mut norms: Vec<InputNorm> = Part::ALL
                .iter()
                .map(|part| Ok(InputNorm::new(model.blocks[layer].linear(*part).weight.dim(1)?)))
                .collect::<Result<_>>()?;
            for (stream, batch) in &streams {
                report(progress, "pruning the model (wanda)", layer, self)?;
                let (batch, time) = (*batch, stream.dim(0)? / batch);
                let shape = self.shape(layer, batch, time);
                model.blocks[layer].forward(stream, shape, &mut |part, x| {
                    norms[part as usize].add_squares(&column_squares(x, shape.backend)?, shape.batch);
                    Ok(())
                })?;
            }
            for part in Part::ALL {
                let linear = model.blocks[layer].linear_mut(part);
                linear.weight =
                    pruned(&linear.weight, Some(&norms[part as usize].value()), sparsity, self.backend.as_deref())?;
            }
            if layer + 1 < self.config.n_layers {
                for (stream, batch) in &mut streams {
                    report(progress, "pruning the model (wanda)", layer, self)?;
                    *stream = model.run(stream.clone(), layer..layer + 1, *batch, &mut || Ok(()))?;
                }
            }
        }
        report(progress, "pruning the model (wanda)", self.config.n_layers, self)?;
        Ok(model)
    }

    /// The smallest weights of each output row, by magnitude alone.
    pub fn magnitude(&self, ratio: f64, progress: Listener) -> Result<Self> {
        let mut model = self.clone();
        for (layer, block) in model.blocks.iter_mut().enumerate() {
            report(progress, "pruning the model (magnitude)", layer, self)?;
            for part in Part::ALL {
                let linear = block.linear_mut(part);
                linear.weight = pruned(&linear.weight, None, Sparsity::Ratio(ratio), self.backend.as_deref())?;
            }
        }
        Ok(model)
    }

    /// What the released code of arXiv 2507.15977 does: on the default-processed model, per head, the smallest |W| times
    /// *output* norm in every row of `W_Q`, `W_K`, `W_V` (`[d_model, d_head]`) and `W_O` (`[d_head, d_model]`); the MLP
    /// stays dense. Its mask is decided by the first document alone (later ones choose the same entries), so only that
    /// one is read: `document` are its tokens, BOS first.
    pub fn paper(&self, document: &[u32], ratio: f64, progress: Listener) -> Result<Self> {
        let mut model = self.process()?;
        let c = &self.config;
        let time = document.len();
        let tokens = Tensor::from_vec(document.to_vec(), (1, time), &self.device)?;
        let mut resid = model.embed(&tokens)?;
        for layer in 0..c.n_layers {
            report(progress, "pruning the model (paper)", layer, self)?;
            let shape = self.shape(layer, 1, time);
            // Outputs of the weights as they are: queries, keys and values before rotation, and the attention's output.
            let block = &model.blocks[layer];
            let qkv = block.qkv.forward(&block.ln1.forward(&resid, shape.backend)?)?;
            let z = block.z(&resid, shape, &mut |_, _| Ok(()))?;
            let attn_out = block.attn_out(&z, shape)?;
            let qkv_norm = column_norms(&qkv, shape.backend)?;
            let o_norm = column_norms(&attn_out, shape.backend)?;
            let block = &mut model.blocks[layer];
            block.qkv.weight = by_head(&block.qkv.weight, &qkv_norm, c.d_head, ratio, shape.backend)?;
            // W_O of a head is a block of columns of [d_model, heads * d_head]; its rows are those columns.
            let o = block.o.weight.t()?.contiguous()?;
            let o = pruned(&o, Some(&o_norm), Sparsity::Ratio(ratio), shape.backend)?;
            block.o.weight = o.t()?.contiguous()?;
            resid = model.run(resid, layer..layer + 1, 1, &mut || Ok(()))?;
        }
        Ok(model)
    }
}

/// Prune `[heads * d_head, d_model]` head by head: each input coordinate compares a head's outputs.
fn by_head(weight: &Tensor, norm: &[f32], d_head: usize, ratio: f64, backend: Option<&dyn Backend>) -> Result<Tensor> {
    let heads = (0..weight.dim(0)? / d_head)
        .map(|head| {
            let rows = weight.narrow(0, head * d_head, d_head)?.t()?.contiguous()?;
            let norm = &norm[head * d_head..(head + 1) * d_head];
            Ok(pruned(&rows, Some(norm), Sparsity::Ratio(ratio), backend)?.t()?.contiguous()?)
        })
        .collect::<Result<Vec<Tensor>>>()?;
    Ok(Tensor::cat(&heads, 0)?)
}

/// Sums of squares of the columns of `x [n, columns]`.
fn column_squares(x: &Tensor, backend: Option<&dyn Backend>) -> Result<Vec<f64>> {
    if let Some(backend) = backend {
        return device::column_squares(backend, x);
    }
    let mut squares = vec![0.0; x.dim(1)?];
    with_f32(&x.to_dtype(candle_core::DType::F32)?, |x| super::norms::add_squares(&mut squares, x))?;
    Ok(squares)
}

fn column_norms(x: &Tensor, backend: Option<&dyn Backend>) -> Result<Vec<f32>> {
    Ok(column_squares(x, backend)?.into_iter().map(|s| s.sqrt() as f32).collect())
}
