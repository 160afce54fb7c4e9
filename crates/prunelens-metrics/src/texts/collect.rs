//! Texts through a model and the SAEs that read it, summed up text by text.
//!
//! A text of a model is its mean activation; a text of an SAE is one sparse row of latents: their means for probes, or,
//! for ablations, their sums as the reconstruction has them. Ablating latents moves the mean of a text by
//! `-1/tokens * sum_j sum_j(text) W_dec_j`, so no activation has to be kept, and no SAE run twice.

use candle_core::{DType, Tensor};
use prunelens_core::{compare::Reader, error::Result, progress::Tick, sae::TextSum};

use super::{SparseRows, unit::Unit};

/// What is kept of a text's latents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Summary {
    /// The mean over the tokens that count.
    Mean,
    /// The sum over all positions of the context, in the units of the activation. Positions that do not count are zeros
    /// to the SAE, and what it makes of zeros leaks in, as in SAEBench.
    Sum,
}

/// A unit's texts on one model.
#[derive(Debug)]
pub struct Rows {
    /// Width of a model's activation.
    pub width: usize,
    /// Mean activations `[texts, width]`.
    pub means: Vec<f32>,
    /// Tokens that count of each text.
    pub kept: Vec<u32>,
    /// Latents of each SAE.
    pub latents: Vec<SparseRows>,
}

impl Rows {
    /// Nothing yet. The SAEs' latents share `budget` bytes of memory, less what the means take.
    pub fn new(readers: &[&Reader], texts: usize, budget: usize) -> Self {
        let width = readers.first().map_or(0, |reader| reader.sae.d_in());
        let budget = budget.saturating_sub(4 * width * texts) / readers.len().max(1);
        Self {
            width,
            means: vec![0.0; texts * width],
            kept: vec![0; texts],
            latents: readers.iter().map(|reader| SparseRows::new(reader.sae.d_sae(), texts, budget)).collect(),
        }
    }
}

/// Texts of a unit in the order and groups in which they go through a model: of similar length, so that little is
/// padded. The same for every model.
pub fn batches(unit: &Unit, tokens: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..unit.texts.len()).collect();
    order.sort_by_key(|&row| unit.texts[row].len());
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for row in order {
        let length = unit.texts[row].len().max(1);
        match batches.last_mut() {
            // The longest is the last: that is what all are padded to.
            Some(batch) if (batch.len() + 1) * length <= tokens => batch.push(row),
            _ => batches.push(vec![row]),
        }
    }
    batches
}

/// Run some texts through the model of `readers`, which all read it at the same hook in the same space, and sum them up.
pub fn collect(
    readers: &[&Reader],
    unit: &Unit,
    batch: &[usize],
    summaries: &[Summary],
    context: usize,
    rows: &mut Rows,
    tick: Tick,
) -> Result<()> {
    let Some(first) = readers.first() else { return Ok(()) };
    let length = batch.iter().map(|&row| unit.texts[row].len()).max().unwrap_or(0).max(1);
    let mut ids = Vec::with_capacity(batch.len() * length);
    for &row in batch {
        // What stands to the right changes nothing to the left of it.
        ids.extend_from_slice(&unit.texts[row]);
        ids.resize(ids.len().next_multiple_of(length), 0);
    }
    let model = &first.model;
    let tokens = Tensor::from_vec(ids, (batch.len(), length), &model.device)?;
    let captured = model.capture(&tokens, first.hook, tick)?;
    let (mut places, mut lengths) = (Vec::with_capacity(batch.len() * length), Vec::with_capacity(batch.len()));
    for (at, &row) in batch.iter().enumerate() {
        let before = places.len();
        let kept = unit.kept[row].iter().enumerate().filter(|(_, kept)| **kept);
        places.extend(kept.map(|(token, _)| (at * length + token) as u32));
        lengths.push(places.len() - before);
    }
    let x = first.input(&captured)?.to_dtype(DType::F32)?.contiguous()?;
    let x = x.index_select(&Tensor::new(&places[..], x.device())?, 0)?;
    let (width, means) = (rows.width, model.ops.text_means(&x, &lengths)?);
    for (mean, &row) in means.chunks_exact(width.max(1)).zip(batch) {
        rows.means[row * width..(row + 1) * width].copy_from_slice(mean);
    }
    for (&row, &length) in batch.iter().zip(&lengths) {
        rows.kept[row] = length as u32;
    }
    let masked: Vec<usize> = lengths.iter().map(|length| context.saturating_sub(*length)).collect();
    let summaries: Vec<Summary> = batch.iter().map(|&row| summaries[row]).collect();
    for (reader, latents) in readers.iter().zip(&mut rows.latents) {
        for (entries, &row) in summarise(reader, &x, &lengths, &masked, &summaries, tick)?.iter().zip(batch) {
            latents.set(row, entries)?;
        }
    }
    Ok(())
}

/// Latents of each text, summed up: active ones with ascending indices. `x [tokens, d_in]` holds the tokens that count, `masked`
/// says how many more positions the context has.
pub fn summarise(
    reader: &Reader,
    x: &Tensor,
    lengths: &[usize],
    masked: &[usize],
    summaries: &[Summary],
    tick: Tick,
) -> Result<Vec<Vec<(u32, f32)>>> {
    let text = |((&tokens, &masked), summary): ((&usize, &usize), &Summary)| match summary {
        Summary::Mean => TextSum { tokens, undone: false, zeros: 0, divisor: tokens as f64 },
        Summary::Sum => TextSum { tokens, undone: true, zeros: masked, divisor: 1.0 },
    };
    let texts: Vec<TextSum> = lengths.iter().zip(masked).zip(summaries).map(text).collect();
    reader.sae.text_sums(x, reader.pruning.as_ref(), &texts, tick)
}
