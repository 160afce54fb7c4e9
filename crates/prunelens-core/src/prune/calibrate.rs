//! What the matrices of a block multiply, on calibration rows: measured while the block is dense.

use candle_core::{DType, Device, Tensor};

use super::matrices::f32s;
use crate::{
    error::{Error, Result},
    model::{Layer, Model, Part, Pass, Rows, Step},
    progress::{Listener, Progress},
};

/// Positions that go through a block at a time; a GPU wants more at once.
const BATCH_TOKENS: usize = 1024;
const DEVICE_BATCH_TOKENS: usize = 4096;

/// What is measured of the inputs of one part's matrices, over all tokens alike.
#[derive(Default)]
pub struct InputMoments {
    /// Sum of `x x^T`, `[inputs, inputs]` in f64, row by row; only where it is asked for.
    pub second: Vec<f64>,
    /// Sum of `|x|`.
    absolute: Vec<f64>,
    tokens: usize,
}

impl InputMoments {
    /// Mean of `|x|` for each input.
    pub fn mean_abs(&self) -> Vec<f32> {
        self.absolute.iter().map(|sum| (sum / self.tokens.max(1) as f64) as f32).collect()
    }

    fn add(&mut self, x: &Tensor, second: bool) -> Result<()> {
        let x = x.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
        let absolute = x.abs()?.sum(0)?.to_vec1::<f64>()?;
        add(&mut self.absolute, absolute);
        self.tokens += x.dim(0)?;
        if second {
            add(&mut self.second, x.t()?.contiguous()?.matmul(&x.contiguous()?)?.flatten_all()?.to_vec1()?);
        }
        Ok(())
    }
}

fn add(sum: &mut Vec<f64>, more: Vec<f64>) {
    if sum.is_empty() {
        *sum = more;
    } else {
        sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
    }
}

/// Residual streams on their way through the blocks, and the rows in each.
pub struct Streams(pub Vec<(Tensor, usize)>);

/// Which model the rows run through on their way to a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// The blocks before it as they were.
    Dense,
    /// The same, compressed already.
    Compressed,
}

/// A pass that measures, and keeps what it meets.
struct Measure<'a> {
    rows: Rows<'a>,
    seen: &'a mut [InputMoments],
    second: bool,
}

impl Pass for Measure<'_> {
    fn attend(&mut self, layer: Layer, qkv: Tensor) -> Result<Tensor> {
        self.rows.attend(layer, qkv)
    }

    fn meet(&mut self, step: Step, x: &Tensor) -> Result<()> {
        let Step::Input(part) = step else { return Ok(()) };
        self.seen[part as usize].add(x, self.second)
    }

    fn tick(&mut self) -> Result<()> {
        self.rows.tick()
    }
}

/// What a rule does to a block.
pub struct Work<'a> {
    /// "pruning the model (sparsegpt)".
    pub what: &'a str,
    pub before: Before,
    /// Whether sums of `x x^T` are needed.
    pub second: bool,
}

impl Model {
    /// Block by block: measure what its matrices multiply, and change them. `change` is given the model as it is by then, the
    /// block's number, what was seen of each part, and the rows before the block.
    pub(super) fn calibrated(
        &self,
        batches: &[Vec<Vec<u32>>],
        work: Work,
        progress: Listener,
        mut change: impl FnMut(&mut Model, usize, &[InputMoments], &Streams) -> Result<()>,
    ) -> Result<Self> {
        let mut model = self.clone();
        let mut streams = self.streams(batches)?;
        let total = self.config.n_layers as u64;
        for layer in 0..self.config.n_layers {
            let mut tell = || progress(Progress { what: work.what.into(), done: layer as u64, total, unit: "layers" });
            let mut seen: Vec<InputMoments> = Part::ALL.iter().map(|_| InputMoments::default()).collect();
            for (stream, batch) in &streams.0 {
                tell()?;
                let rows = Rows { batch: *batch, time: stream.dim(0)? / batch, tick: &mut || Ok(()) };
                let pass = &mut Measure { rows, seen: &mut seen, second: work.second };
                model.layer(layer).inputs(stream, pass)?;
            }
            change(&mut model, layer, &seen, &streams)?;
            if layer + 1 < self.config.n_layers {
                let through = if work.before == Before::Dense { self } else { &model };
                for (stream, batch) in &mut streams.0 {
                    tell()?;
                    let rows = &mut Rows { batch: *batch, time: stream.dim(0)? / *batch, tick: &mut || Ok(()) };
                    *stream = through.run(stream.clone(), layer..layer + 1, rows)?;
                }
            }
        }
        progress(Progress { what: work.what.into(), done: total, total, unit: "layers" })?;
        Ok(model)
    }

    /// The embedded rows, some of them side by side.
    pub(super) fn streams(&self, batches: &[Vec<Vec<u32>>]) -> Result<Streams> {
        let at_once = if self.device.is_cpu() { BATCH_TOKENS } else { DEVICE_BATCH_TOKENS };
        let mut streams = Vec::new();
        for rows in batches {
            let time = rows.first().map_or(0, Vec::len);
            if time == 0 || rows.iter().any(|row| row.len() != time) {
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
        Ok(Streams(streams))
    }
}

/// A pass that keeps what one part's matrices multiply.
struct Keep<'a> {
    rows: Rows<'a>,
    inputs: [Option<Tensor>; 4],
}

impl Pass for Keep<'_> {
    fn attend(&mut self, layer: Layer, qkv: Tensor) -> Result<Tensor> {
        self.rows.attend(layer, qkv)
    }

    fn meet(&mut self, step: Step, x: &Tensor) -> Result<()> {
        if let Step::Input(part) = step {
            self.inputs[part as usize] = Some(x.clone());
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<()> {
        self.rows.tick()
    }
}

/// What the matrices of a block multiply, of some rows.
pub struct Inputs {
    of: [Option<Tensor>; 4],
    batch: usize,
}

impl Streams {
    /// The inputs of all matrices of a dense block.
    pub fn inputs(&self, layer: Layer) -> Result<Vec<Inputs>> {
        let of = |(stream, batch): &(Tensor, usize)| {
            let rows = Rows { batch: *batch, time: stream.dim(0)? / batch, tick: &mut || Ok(()) };
            let mut pass = Keep { rows, inputs: [None, None, None, None] };
            layer.inputs(stream, &mut pass)?;
            Ok(Inputs { of: pass.inputs, batch: *batch })
        };
        self.0.iter().map(of).collect()
    }
}

impl Inputs {
    fn get(&self, part: Part) -> Result<&Tensor> {
        self.of[part as usize].as_ref().ok_or_else(|| Error::invalid("a block did not read one of its matrices"))
    }

    /// What the module that a part begins with gives: attention, the MLP, or one matrix alone.
    pub fn output(&self, layer: Layer, part: Part) -> Result<Vec<f32>> {
        let x = self.get(part)?;
        let out = match part {
            Part::Qkv => {
                let rows = &mut Rows { batch: self.batch, time: x.dim(0)? / self.batch, tick: &mut || Ok(()) };
                layer.block.o.forward(&rows.attend(layer, layer.block.qkv.forward(x)?)?)?
            }
            Part::MlpIn => {
                let pre = layer.block.mlp_in.forward(x)?;
                layer.block.mlp_out.forward(&layer.ops.activate(pre, layer.config.act, layer.config.gated)?)?
            }
            Part::O | Part::MlpOut => layer.block.linear(part).forward(x)?,
        };
        f32s(&out)
    }
}
