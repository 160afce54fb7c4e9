//! The mask over latents (MDBM), the change it makes, and how it is trained.

use candle_core::{DType, Tensor};
use prunelens_core::{
    compare::Reader,
    error::Result,
    model::{
        Captured, HookPoint, Model,
        ragged::{Stopped, cross_entropy},
    },
    optim::adam::{BETAS, EPSILON},
    progress::Tick,
    sae::{Encoded, Latents},
};
use prunelens_kernels::ops::Ops;
use serde::{Deserialize, Serialize};

use super::{
    pairs::Pair,
    prompts::{Prefixes, Prompt},
};

/// A logit for each latent, with Adam's running means of its gradients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mask {
    /// One a latent: where it is positive, the latent is taken from the source.
    pub logits: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    steps: u64,
}

impl Mask {
    /// Half of every latent from the source, as training begins.
    pub fn new(d_sae: usize) -> Self {
        Self::with(vec![0.0; d_sae])
    }

    /// From numbers that were kept.
    pub fn with(logits: Vec<f32>) -> Self {
        let zeros = vec![0.0; logits.len()];
        Self { logits, first: zeros.clone(), second: zeros, steps: 0 }
    }

    /// Whether its parts belong together, as those of a state that was read should.
    pub fn is_whole(&self) -> bool {
        self.first.len() == self.logits.len() && self.second.len() == self.logits.len()
    }

    /// How much of each latent is taken from the source while training.
    pub fn soft(&self, temperature: f32) -> Vec<f32> {
        self.logits.iter().map(|l| 1.0 / (1.0 + (-l / temperature).exp())).collect()
    }

    /// The same when testing: all or nothing.
    pub fn hard(&self) -> Vec<f32> {
        self.logits.iter().map(|l| if *l > 0.0 { 1.0 } else { 0.0 }).collect()
    }

    /// Latents taken from the source.
    pub fn selected(&self) -> usize {
        self.logits.iter().filter(|l| **l > 0.0).count()
    }

    /// One step of Adam down the gradient by the logits.
    pub fn step(&mut self, gradient: &[f32], learning_rate: f64) {
        self.steps += 1;
        let t = self.steps as f64;
        let rate = (learning_rate / (1.0 - BETAS.0.powf(t))) as f32;
        let correction = (1.0 - BETAS.1.powf(t)).sqrt() as f32;
        let keep = (BETAS.0 as f32, BETAS.1 as f32);
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((l, (m, v)), g) in self.logits.iter_mut().zip(moments).zip(gradient) {
            *m = keep.0 * *m + (1.0 - BETAS.0) as f32 * g;
            *v = keep.1 * *v + (1.0 - BETAS.1) as f32 * g * g;
            *l -= rate * *m / (v.sqrt() / correction + EPSILON);
        }
    }
}

/// Temperature of each of `steps` steps: from 1 down to 1e-4, even on a logarithmic scale.
pub fn temperature(step: usize, steps: usize) -> f32 {
    let share = if steps > 1 { step as f64 / (steps - 1) as f64 } else { 0.0 };
    10f64.powf(-4.0 * share) as f32
}

/// A batch of pairs as one model sees it: base prompts stopped at the hook, and what their entities and the sources'
/// entities are there.
pub struct Inputs {
    stopped: Stopped,
    /// Rows of the base entities among the tokens that were read.
    at: Vec<usize>,
    base: Captured,
    source: Captured,
}

impl Inputs {
    /// Latents of both texts of some pairs, at the place where they are exchanged.
    pub fn read(
        model: &Model,
        prefixes: &mut Prefixes,
        hook: HookPoint,
        base: &[&Prompt],
        source: &[&Prompt],
        tick: Tick,
    ) -> Result<Self> {
        let mut read = |prompts: &[&Prompt], whole: bool| -> Result<(Stopped, Vec<usize>)> {
            let texts = prompts.iter().map(|p| prefixes.text(model, p, tick)).collect::<Result<Vec<_>>>()?;
            let end = |p: &Prompt| if whole { p.ids.len() } else { p.at + 1 };
            let new: Vec<&[u32]> = prompts.iter().map(|p| &p.ids[p.shared..end(p)]).collect();
            let stopped = model.read_to(texts, &new, hook, tick)?;
            let starts = stopped.ends().into_iter().zip(&new).map(|(end, new)| end - new.len());
            let at = starts.zip(prompts).map(|(start, p)| start + p.at - p.shared).collect();
            Ok((stopped, at))
        };
        let (sources, source_at) = read(source, false)?;
        let (stopped, at) = read(base, true)?;
        Ok(Self {
            base: Captured::of_stream(hook, rows(&stopped.acts, &at)?),
            source: Captured::of_stream(hook, rows(&sources.acts, &source_at)?),
            stopped,
            at,
        })
    }

    fn len(&self) -> usize {
        self.at.len()
    }
}

/// Rows of activations as `[rows, 1, width]`.
fn rows(acts: &Tensor, at: &[usize]) -> Result<Tensor> {
    let at: Vec<u32> = at.iter().map(|at| *at as u32).collect();
    Ok(acts.index_select(&Tensor::new(at, acts.device())?, 0)?.to_dtype(DType::F32)?.unsqueeze(1)?)
}

/// What a mask puts in the place of the base entities' activations.
struct Change {
    mixed: Encoded,
    /// Source minus base of each latent in `mixed`.
    differences: Vec<f32>,
    /// All activations at the hook, with the changed ones in their places.
    acts: Tensor,
}

/// `(1 - share) base + share source`, latent by latent. What undoes the input's normalisation is the base's.
fn change(reader: &Reader, inputs: &Inputs, share: &[f32]) -> Result<Change> {
    let base = reader.encode(&reader.input(&inputs.base)?)?;
    let source = reader.encode(&reader.input(&inputs.source)?)?;
    let (base_latents, source_latents) = (base.latents()?, source.latents()?);
    let mut latents = Latents::new(base_latents.d_sae);
    let mut differences = Vec::new();
    for row in 0..inputs.len() {
        let (mut b, mut s) = (entries(base_latents, row).peekable(), entries(source_latents, row).peekable());
        let mut mixed = Vec::new();
        loop {
            let latent = match (b.peek(), s.peek()) {
                (Some((b, _)), Some((s, _))) => *b.min(s),
                (Some((latent, _)), None) | (None, Some((latent, _))) => *latent,
                (None, None) => break,
            };
            let from = |side: &mut std::iter::Peekable<_>| {
                side.next_if(|(l, _): &(u32, f32)| *l == latent).map_or(0.0, |(_, value)| value)
            };
            let (base, source) = (from(&mut b), from(&mut s));
            let share = share.get(latent as usize).copied().unwrap_or_default();
            mixed.push((latent, (1.0 - share) * base + share * source));
            differences.push(source - base);
        }
        latents.push_row(mixed);
    }
    let mixed = Encoded::new(latents, base.undo().clone());
    let new = reader.replacement(&inputs.base, &reader.decode(&mixed)?)?.squeeze(1)?.to_dtype(DType::F32)?;
    // Rows as they were and new ones, of which each place takes its own: all stays where it is.
    let acts = inputs.stopped.acts.to_dtype(DType::F32)?;
    let n = acts.dim(0)?;
    let mut rows: Vec<u32> = (0..n as u32).collect();
    inputs.at.iter().zip(n as u32..).for_each(|(&at, new)| rows[at] = new);
    let acts = Tensor::cat(&[&acts, &new], 0)?.index_select(&Tensor::new(rows, acts.device())?, 0)?;
    Ok(Change { mixed, differences, acts })
}

fn entries(latents: &Latents, row: usize) -> impl Iterator<Item = (u32, f32)> {
    let (indices, values) = latents.row(row);
    indices.iter().copied().zip(values.iter().copied())
}

/// Loss of a batch with the latents mixed by `share`, its logits, and the gradient by `share`.
pub struct Loss {
    /// Of the batch.
    pub loss: f64,
    /// `[pairs, d_vocab]`.
    pub logits: Tensor,
    /// Its gradient by the share of each latent that comes from the other text.
    pub by_share: Vec<f32>,
}

/// Cross-entropy of the first token against `targets`, and what it does to the mask.
pub fn loss(
    model: &Model,
    reader: &Reader,
    inputs: &Inputs,
    share: &[f32],
    targets: &[u32],
    tick: Tick,
) -> Result<Loss> {
    let change = change(reader, inputs, share)?;
    let trace = model.trace(&inputs.stopped, &change.acts, tick)?;
    let logits = trace.logits.clone();
    let (loss, by_logits) = cross_entropy(&logits, targets)?;
    let g = trace.vjp(&by_logits, tick)?;
    // Only the entities' activations depend on the mask; the mean that a space adds back does not.
    let g = rows(&g, &inputs.at)?.squeeze(1)?;
    let by_latent = reader.sae.decode_vjp(&change.mixed, reader.pruning.as_ref(), &g)?;
    let mut by_share = vec![0.0; share.len()];
    let latents = &change.mixed.latents()?.indices;
    for ((latent, slope), difference) in latents.iter().zip(by_latent).zip(&change.differences) {
        by_share[*latent as usize] += slope * difference;
    }
    Ok(Loss { loss, logits, by_share })
}

/// The gradient by the logits of a soft mask from the one by its shares.
pub fn by_mask(by_share: &[f32], share: &[f32], temperature: f32) -> Vec<f32> {
    by_share.iter().zip(share).map(|(g, s)| g * (1.0 - s) * s / temperature).collect()
}

/// One step of training; gives the loss before it.
#[expect(clippy::too_many_arguments, reason = "the step's inputs, once each")]
pub fn train_step(
    model: &Model,
    reader: &Reader,
    inputs: &Inputs,
    targets: &[u32],
    mask: &mut Mask,
    temperature: f32,
    learning_rate: f64,
    tick: Tick,
) -> Result<f64> {
    let share = mask.soft(temperature);
    let loss = loss(model, reader, inputs, &share, targets, tick)?;
    mask.step(&by_mask(&loss.by_share, &share, temperature), learning_rate);
    Ok(loss.loss)
}

/// Logits of the first token with the hard mask, and the whole answers of `count` tokens. The change is made while the
/// prompt is read, not while it is answered.
pub fn answers(
    model: &Model,
    reader: &Reader,
    inputs: &Inputs,
    mask: &Mask,
    (count, end): (usize, Option<u32>),
    tick: Tick,
) -> Result<(Tensor, Vec<Vec<u32>>)> {
    let change = change(reader, inputs, &mask.hard())?;
    unchanged_answers(model, inputs, Some(&change.acts), (count, end), tick)
}

/// The same with other activations at the hook, or with the model's own.
pub fn unchanged_answers(
    model: &Model,
    inputs: &Inputs,
    acts: Option<&Tensor>,
    (count, end): (usize, Option<u32>),
    tick: Tick,
) -> Result<(Tensor, Vec<Vec<u32>>)> {
    let stopped = inputs.stopped.clone();
    let lengths = stopped.lengths().to_vec();
    let (texts, last) = model.read_on(stopped, acts.unwrap_or(&inputs.stopped.acts), tick)?;
    let logits = model.last_logits(&last, &lengths)?;
    let said = model.continue_texts(texts, &logits, count, end, tick)?;
    Ok((logits, said))
}

/// Right answers and all, of cause and isolation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Pairs whose attribute changed as it should, of so many.
    pub cause: (usize, usize),
    /// Pairs whose other attributes stayed, of so many.
    pub isolation: (usize, usize),
}

impl Tally {
    /// One pair: whether it is about the attribute that should change, and whether the answer was right.
    pub fn add(&mut self, cause: bool, right: bool) {
        let (rights, all) = if cause { &mut self.cause } else { &mut self.isolation };
        *rights += usize::from(right);
        *all += 1;
    }

    /// Counts of other pairs added.
    pub fn merge(&mut self, other: Self) {
        for (mine, other) in [(&mut self.cause, other.cause), (&mut self.isolation, other.isolation)] {
            *mine = (mine.0 + other.0, mine.1 + other.1);
        }
    }

    /// Share of cause pairs answered right; NaN without any.
    pub fn cause_score(&self) -> f64 {
        self.cause.0 as f64 / self.cause.1 as f64
    }

    /// Share of the other attributes that stayed.
    pub fn isolation_score(&self) -> f64 {
        self.isolation.0 as f64 / self.isolation.1 as f64
    }

    /// Mean of cause and isolation.
    pub fn disentanglement_score(&self) -> f64 {
        (self.cause_score() + self.isolation_score()) / 2.0
    }
}

/// First tokens alone, as an estimate of the whole answers.
pub fn first_tokens(ops: &dyn Ops, logits: &Tensor, pairs: &[Pair]) -> Result<Tally> {
    let mut tally = Tally::default();
    for (said, pair) in ops.likeliest(logits)?.iter().zip(pairs) {
        tally.add(pair.is_cause(), *said == pair.target);
    }
    Ok(tally)
}
