//! Pruning a language model: canonical Wanda (arXiv 2306.11695), magnitude, and what the released code of
//! arXiv 2507.15977 does.

use candle_core::Tensor;
use prunelens_kernels::{columns::ColumnSquares, ops::Ops};

use super::{Sparsity, norms::InputNorm};
use crate::{
    error::Result,
    model::{Layer, Model, Part, Pass, Rows, Step},
    progress::{Listener, Progress},
};

/// A pass that sums the squares of what each matrix of a block multiplies.
struct Inputs<'a> {
    rows: Rows<'a>,
    /// One for each part, in their order.
    squares: &'a mut [ColumnSquares],
}

impl Pass for Inputs<'_> {
    fn attend(&mut self, layer: Layer, qkv: Tensor) -> Result<Tensor> {
        self.rows.attend(layer, qkv)
    }

    fn meet(&mut self, step: Step, x: &Tensor) -> Result<()> {
        let Step::Input(part) = step else { return Ok(()) };
        self.squares[part as usize].add(x)
    }

    fn tick(&mut self) -> Result<()> {
        self.rows.tick()
    }
}

pub(super) fn report(progress: Listener, what: &str, layer: usize, model: &Model) -> Result<()> {
    let total = model.config.n_layers as u64;
    progress(Progress { what: what.into(), done: layer as u64, total, unit: "layers" })
}

impl Model {
    /// Canonical Wanda. `batches` are calibration tokens, rows of equal length in each.
    pub fn wanda(&self, batches: &[Vec<Vec<u32>>], sparsity: Sparsity, progress: Listener) -> Result<Self> {
        self.by_input_norms(batches, "pruning the model (wanda)", progress, |model, layer, norms| {
            for (part, norm) in Part::ALL.into_iter().zip(norms) {
                let linear = model.blocks[layer].linear_mut(part);
                linear.weight = self.ops.prune(&linear.weight, Some(&norm), sparsity)?;
            }
            Ok(())
        })
    }

    /// Block by block, as Wanda goes: norms of the inputs of all its matrices, in the order of [`Part::ALL`], are taken while it
    /// is dense and all blocks before it are pruned; then it is pruned by them and run again.
    pub(super) fn by_input_norms(
        &self,
        batches: &[Vec<Vec<u32>>],
        what: &str,
        progress: Listener,
        mut prune: impl FnMut(&mut Self, usize, Vec<Vec<f32>>) -> Result<()>,
    ) -> Result<Self> {
        let mut model = self.clone();
        let mut streams = self.streams(batches)?.0;
        let sequences = streams.iter().map(|(_, rows)| rows).sum();
        for layer in 0..self.config.n_layers {
            let squares =
                |part: &Part| ColumnSquares::new(self.ops.backend(), model.blocks[layer].linear(*part).weight.dim(1)?);
            let mut squares: Vec<ColumnSquares> = Part::ALL.iter().map(squares).collect::<Result<_>>()?;
            for (stream, batch) in &streams {
                report(progress, what, layer, self)?;
                let (batch, time) = (*batch, stream.dim(0)? / batch);
                let rows = Rows { batch, time, tick: &mut || Ok(()) };
                model.layer(layer).inputs(stream, &mut Inputs { rows, squares: &mut squares })?;
                self.ops.await_previous()?;
            }
            let norm = |squares: ColumnSquares| Ok(InputNorm::of(squares.to_vec()?, sequences).value());
            let norms = squares.into_iter().map(norm).collect::<Result<_>>()?;
            prune(&mut model, layer, norms)?;
            if layer + 1 < self.config.n_layers {
                for (stream, batch) in &mut streams {
                    report(progress, what, layer, self)?;
                    let (batch, time) = (*batch, stream.dim(0)? / *batch);
                    let rows = &mut Rows { batch, time, tick: &mut || Ok(()) };
                    *stream = model.run(stream.clone(), layer..layer + 1, rows)?;
                }
            }
        }
        report(progress, what, self.config.n_layers, self)?;
        Ok(model)
    }

    /// The smallest weights of each output row, by magnitude alone.
    pub fn magnitude(&self, ratio: f64, progress: Listener) -> Result<Self> {
        let mut model = self.clone();
        for (layer, block) in model.blocks.iter_mut().enumerate() {
            report(progress, "pruning the model (magnitude)", layer, self)?;
            for part in Part::ALL {
                let linear = block.linear_mut(part);
                linear.weight = self.ops.prune(&linear.weight, None, Sparsity::Ratio(ratio))?;
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
            let rows = &mut Rows { batch: 1, time, tick: &mut || Ok(()) };
            // Outputs of the weights as they are: queries, keys and values before rotation, and the attention's output.
            let (dense, ops) = (model.layer(layer), &*self.ops);
            let qkv = dense.block.qkv.forward(&dense.block.ln1.forward(&resid, ops)?)?;
            let z = dense.z(&resid, rows)?;
            let attn_out = dense.attn_out(&z, rows)?;
            let (qkv_norm, o_norm) = (column_norms(&qkv, ops)?, column_norms(&attn_out, ops)?);
            let block = &mut model.blocks[layer];
            block.qkv.weight = by_head(&block.qkv.weight, &qkv_norm, c.d_head, ratio, ops)?;
            // W_O of a head is a block of columns of [d_model, heads * d_head]; its rows are those columns.
            let o = block.o.weight.t()?.contiguous()?;
            let o = ops.prune(&o, Some(&o_norm), Sparsity::Ratio(ratio))?;
            block.o.weight = o.t()?.contiguous()?;
            resid = model.run(resid, layer..layer + 1, rows)?;
        }
        Ok(model)
    }
}

/// Prune `[heads * d_head, d_model]` head by head: each input coordinate compares a head's outputs.
fn by_head(weight: &Tensor, norm: &[f32], d_head: usize, ratio: f64, ops: &dyn Ops) -> Result<Tensor> {
    let heads = (0..weight.dim(0)? / d_head)
        .map(|head| {
            let rows = weight.narrow(0, head * d_head, d_head)?.t()?.contiguous()?;
            let norm = &norm[head * d_head..(head + 1) * d_head];
            Ok(ops.prune(&rows, Some(norm), Sparsity::Ratio(ratio))?.t()?.contiguous()?)
        })
        .collect::<Result<Vec<Tensor>>>()?;
    Ok(Tensor::cat(&heads, 0)?)
}

fn column_norms(x: &Tensor, ops: &dyn Ops) -> Result<Vec<f32>> {
    let mut squares = ColumnSquares::new(ops.backend(), x.dim(1)?)?;
    squares.add(x)?;
    Ok(squares.to_vec()?.into_iter().map(|s| s.sqrt() as f32).collect())
}
