//! Structured pruning: whole heads and MLP neurons by Wanda's scores summed over them (Wanda-sp, as FLAP's authors define it,
//! arXiv 2312.11983), and whole blocks by how little they turn the residual stream (ShortGPT, arXiv 2403.03853). What is dropped
//! becomes zero, so that the model keeps its shapes.

use candle_core::{Device, Tensor};
use prunelens_kernels::ranks::cut;

use super::{matrices::f32s, model::report};
use crate::{
    error::{Error, Result},
    model::{Block, Config, Linear, Model, Part, Rows},
    progress::Listener,
};

/// What is kept or dropped whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Of attention; keys and values go with the last of the heads that share them.
    Heads,
    /// Of the MLP.
    Neurons,
    /// Attention and MLP together.
    Blocks,
}

impl Unit {
    /// As specs spell it.
    pub fn spelling(self) -> &'static str {
        match self {
            Self::Heads => "wanda:heads",
            Self::Neurons => "wanda:neurons",
            Self::Blocks => "shortgpt",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Heads => "heads",
            Self::Neurons => "neurons",
            Self::Blocks => "blocks",
        }
    }

    /// Which are kept: all but the share with the smallest scores. A share that drops none of them is refused.
    fn kept(self, scores: &[f64], ratio: f64) -> Result<Vec<bool>> {
        let dropped = cut(scores.len(), ratio) as usize;
        if dropped == 0 && ratio > 0.0 {
            let (n, word) = (scores.len(), self.word());
            return Err(Error::invalid(format!(
                "{}:{ratio} drops none of {n} {word}; expected a share of at least 1 in {n}, or none",
                self.spelling()
            )));
        }
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
        let mut kept = vec![true; scores.len()];
        order.iter().take(dropped).for_each(|at| kept[*at] = false);
        Ok(kept)
    }
}

impl Model {
    /// Heads or neurons of every block, or blocks of the model, without the share that matters least.
    pub fn structured(&self, unit: Unit, ratio: f64, batches: &[Vec<Vec<u32>>], progress: Listener) -> Result<Self> {
        let what = format!("pruning the model ({})", unit.spelling());
        if unit == Unit::Blocks {
            return self.without_blocks(unit, ratio, batches, &what, progress);
        }
        self.by_input_norms(batches, &what, progress, |model, layer, norms| {
            let (config, block) = (&self.config, &mut model.blocks[layer]);
            let part = if unit == Unit::Heads { Part::O } else { Part::MlpOut };
            let columns = column_scores(block.linear(part), &norms[part as usize])?;
            if unit == Unit::Heads {
                let scores: Vec<f64> = columns.chunks(config.d_head).map(|head| head.iter().sum()).collect();
                drop_heads(block, config, &unit.kept(&scores, ratio)?)
            } else {
                drop_neurons(block, &unit.kept(&columns, ratio)?)
            }
        })
    }

    /// Block influence is one minus the cosine between the residual stream before and after a block, a mean over tokens of the
    /// dense model.
    fn without_blocks(
        &self,
        unit: Unit,
        ratio: f64,
        batches: &[Vec<Vec<u32>>],
        what: &str,
        progress: Listener,
    ) -> Result<Self> {
        let mut streams = self.streams(batches)?.0;
        let mut influences = Vec::new();
        for layer in 0..self.config.n_layers {
            let (mut turned, mut tokens) = (0.0, 0);
            for (stream, batch) in &mut streams {
                report(progress, what, layer, self)?;
                let rows = &mut Rows { batch: *batch, time: stream.dim(0)? / *batch, tick: &mut || Ok(()) };
                let after = self.run(stream.clone(), layer..layer + 1, rows)?;
                let (before, width) = (f32s(stream)?, self.config.d_model);
                for (before, after) in before.chunks(width).zip(f32s(&after)?.chunks(width)) {
                    turned += 1.0 - cosine(before, after);
                    tokens += 1;
                }
                *stream = after;
            }
            influences.push(turned / f64::from(tokens.max(1)));
        }
        let kept = unit.kept(&influences, ratio)?;
        let mut model = self.clone();
        for (block, _) in model.blocks.iter_mut().zip(kept).filter(|(_, kept)| !kept) {
            for part in Part::ALL {
                for tensor in block.linear_mut(part).tensors_mut() {
                    *tensor = tensor.zeros_like()?;
                }
            }
        }
        report(progress, what, self.config.n_layers, self)?;
        Ok(model)
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let sizes = (dot(a, a) * dot(b, b)).sqrt();
    if sizes > 0.0 { dot(a, b) / sizes } else { 0.0 }
}

/// Wanda's scores, a mean over the outputs for each input.
fn column_scores(linear: &Linear, norm: &[f32]) -> Result<Vec<f64>> {
    let mut sums = vec![0.0; norm.len()];
    let (weight, rows) = (f32s(&linear.weight)?, linear.weight.dim(0)?);
    for row in weight.chunks(norm.len()) {
        sums.iter_mut().zip(row).for_each(|(sum, w)| *sum += f64::from(w.abs()));
    }
    Ok(sums.into_iter().zip(norm).map(|(sum, norm)| sum / rows as f64 * f64::from(*norm)).collect())
}

fn drop_heads(block: &mut Block, config: &Config, kept: &[bool]) -> Result<()> {
    let wide = |kept: &[bool]| kept.iter().flat_map(|kept| [*kept].repeat(config.d_head)).collect::<Vec<_>>();
    // Key-value heads belong to as many query heads each.
    let shared: Vec<bool> =
        kept.chunks(config.n_heads / config.n_kv_heads).map(|heads| heads.iter().any(|kept| *kept)).collect();
    let (queries, shared) = (wide(kept), wide(&shared));
    mask_outputs(&mut block.qkv, &[&*queries, &shared, &shared].concat())?;
    mask_inputs(&mut block.o, &queries)
}

fn drop_neurons(block: &mut Block, kept: &[bool]) -> Result<()> {
    // With a gate, its rows come first.
    let stacked = block.mlp_in.weight.dim(0)? / kept.len();
    mask_outputs(&mut block.mlp_in, &kept.repeat(stacked))?;
    mask_inputs(&mut block.mlp_out, kept)
}

fn mask_outputs(linear: &mut Linear, kept: &[bool]) -> Result<()> {
    linear.weight = masked(&linear.weight, kept, (kept.len(), 1))?;
    if let Some(bias) = &mut linear.bias {
        *bias = masked(bias, kept, kept.len())?;
    }
    Ok(())
}

fn mask_inputs(linear: &mut Linear, kept: &[bool]) -> Result<()> {
    linear.weight = masked(&linear.weight, kept, (1, kept.len()))?;
    Ok(())
}

/// Zeros in place of what is not kept. A product with zero would leave zeros of two signs, and numbers that are none.
fn masked(tensor: &Tensor, kept: &[bool], shape: impl Into<candle_core::Shape>) -> Result<Tensor> {
    let flags = Tensor::from_iter(kept.iter().map(|kept| u8::from(*kept)), &Device::Cpu)?.reshape(shape)?;
    let flags = flags.to_device(tensor.device())?.broadcast_as(tensor.shape())?;
    Ok(flags.where_cond(tensor, &tensor.zeros_like()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo;

    fn model() -> Model {
        demo::model(&Device::Cpu, candle_core::DType::F32, &mut |_| Ok(())).unwrap()
    }

    fn rows() -> Vec<Vec<Vec<u32>>> {
        vec![vec![(1..40).collect(), (60..99).collect()]]
    }

    fn zeros(tensor: &Tensor) -> usize {
        f32s(tensor).unwrap().iter().filter(|v| **v == 0.0).count()
    }

    #[test]
    fn a_dropped_head_or_neuron_is_gone_from_every_matrix_that_has_it() {
        let model = model();
        let config = &model.config;
        let heads = model.structured(Unit::Heads, 0.5, &rows(), &mut |_| Ok(())).unwrap();
        let neurons = model.structured(Unit::Neurons, 0.25, &rows(), &mut |_| Ok(())).unwrap();
        // As many zeros as were dropped, beside those that were there.
        let has = |after: &Linear, before: &Linear, dropped: usize| {
            let found = zeros(&after.weight);
            assert!((dropped..=dropped + zeros(&before.weight)).contains(&found), "{found} zeros, {dropped} dropped");
        };
        for ((dense, heads), neurons) in model.blocks.iter().zip(&heads.blocks).zip(&neurons.blocks) {
            let dropped = config.n_heads / 2 * config.d_head;
            has(&heads.o, &dense.o, dropped * config.d_model);
            assert!(zeros(&heads.qkv.weight) >= dropped * config.d_model);
            assert_eq!(f32s(&heads.mlp_in.weight).unwrap(), f32s(&dense.mlp_in.weight).unwrap());
            has(&neurons.mlp_out, &dense.mlp_out, config.d_mlp / 4 * config.d_model);
            has(&neurons.mlp_in, &dense.mlp_in, neurons.mlp_in.weight.elem_count() / 4);
            assert_eq!(f32s(&neurons.o.weight).unwrap(), f32s(&dense.o.weight).unwrap());
        }
    }

    #[test]
    fn a_model_without_any_block_gives_back_what_it_embeds() {
        let model = model();
        let share = 1.0 - 1e-9;
        let none = model.structured(Unit::Blocks, share, &rows(), &mut |_| Ok(())).unwrap();
        let dropped = none.blocks.iter().filter(|block| zeros(&block.o.weight) == block.o.weight.elem_count()).count();
        assert_eq!(dropped, model.config.n_layers - 1);
        let (stream, _) = model.streams(&rows()).unwrap().0.remove(0);
        let gone =
            none.blocks.iter().position(|block| zeros(&block.mlp_out.weight) == block.mlp_out.weight.elem_count());
        let gone = gone.unwrap();
        let pass = &mut Rows { batch: 2, time: 39, tick: &mut || Ok(()) };
        let after = none.run(stream.clone(), gone..gone + 1, pass).unwrap();
        assert_eq!(f32s(&after).unwrap(), f32s(&stream).unwrap());
    }

    #[test]
    fn a_share_that_drops_nothing_is_refused() {
        let message = model().structured(Unit::Heads, 0.01, &rows(), &mut |_| Ok(())).err().unwrap().to_string();
        assert!(message.contains("wanda:heads:0.01 drops none of"), "{message}");
    }
}
