//! Batches of activations in random order, the same for every run with the same draw: one reading for all SAEs that are
//! trained on it.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use prunelens_kernels::{device::Backend, with_f32};

use super::{linalg::dot, spec::TrainSpec};
use crate::{
    error::{Error, Result},
    progress::Tick,
    rng::Rng,
};

/// Where activations come from: groups of tokens that go through the model together, read at one hook or several.
pub trait Activations {
    /// Width of the activations at each hook.
    fn widths(&self) -> Vec<usize>;

    /// How many groups there are.
    fn groups(&self) -> usize;

    /// Tokens of a group, at most.
    fn most(&self) -> usize;

    /// The activations of one group at each hook, `[tokens, d_in]` in f32: the same every time.
    fn group(&mut self, index: usize, tick: Tick) -> Result<Vec<Tensor>>;

    /// The GPU that they lie on, if they do.
    fn backend(&self) -> Option<&Arc<dyn Backend>> {
        None
    }
}

/// What the stream tells while it fills its buffer: tokens there, tokens wanted.
pub type OnFill<'a> = &'a mut dyn FnMut(usize, usize);

/// Random streams of the run's generator besides the epochs, which count from 0.
const BUFFERS: u64 = 1 << 32;

/// How batches are drawn. SAEs with the same draw see the same tokens in the same steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// Tokens a step.
    pub batch: usize,
    /// Tokens among which they are drawn.
    pub buffer: usize,
    /// Of the order.
    pub seed: u64,
}

impl Draw {
    /// That of a run.
    pub fn of(spec: &TrainSpec) -> Self {
        Self { batch: spec.batch, buffer: spec.buffer, seed: spec.data_seed }
    }
}

/// Where in the activations a run is. Groups are passed through in a new random order each epoch, numbered on from epoch
/// to epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// First group of the buffer.
    pub group: u64,
    /// Next batch of the buffer.
    pub batch: u64,
}

/// Fills a buffer with some groups' activations, shuffles it, hands it out in batches, and begins again with the groups
/// that follow. The position alone says what comes next, so a resumed run needs nothing else.
pub struct Stream {
    draw: Draw,
    backend: Option<Arc<dyn Backend>>,
    widths: Vec<usize>,
    position: Position,
    /// A part for each hook, with room for more rows than are in it; rows of the same number are of the same token.
    buffers: Vec<Tensor>,
    order: Vec<u32>,
    /// Groups in the buffer; 0 before the first filling.
    groups: u64,
    /// Order of the groups in one epoch.
    epoch: Option<(u64, Vec<u32>)>,
    tokens_read: u64,
}

impl Stream {
    /// From a place in the text on.
    pub fn new(source: &dyn Activations, draw: Draw, position: Position) -> Self {
        let widths = source.widths();
        Self {
            draw,
            backend: source.backend().cloned(),
            widths,
            position,
            buffers: Vec::new(),
            order: Vec::new(),
            groups: 0,
            epoch: None,
            tokens_read: 0,
        }
    }

    /// The GPU that activations lie on, if they do.
    pub fn backend(&self) -> Option<&Arc<dyn Backend>> {
        self.backend.as_ref()
    }

    /// Width of the activations at a hook.
    pub fn width(&self, hook: usize) -> usize {
        self.widths[hook]
    }

    /// Tokens that were read into buffers.
    pub fn tokens_read(&self) -> u64 {
        self.tokens_read
    }

    /// Where in the text the next batch begins.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Go on from another place.
    pub fn seek(&mut self, position: Position) {
        if position.group != self.position.group {
            self.groups = 0;
        }
        self.position = position;
    }

    /// Have the next batch at hand. The position moves on with [`Self::advance`] only.
    pub fn fetch(&mut self, source: &mut dyn Activations, fill: OnFill, tick: Tick) -> Result<()> {
        if self.groups == 0 {
            self.fill(source, fill, tick)?;
        }
        Ok(())
    }

    /// The batch at hand, as it is at a hook: `[tokens, d_in]`.
    pub fn batch(&self, hook: usize) -> Result<Tensor> {
        let (tokens, batches) = (self.order.len() as u64, self.batches());
        let cut = |at: u64| (at * tokens / batches) as usize;
        self.take(hook, &self.order[cut(self.position.batch)..cut(self.position.batch + 1)])
    }

    /// Some of the buffered activations.
    pub fn sample(&self, hook: usize, tokens: usize) -> Result<Tensor> {
        self.take(hook, &self.order[..tokens.min(self.order.len())])
    }

    fn take(&self, hook: usize, tokens: &[u32]) -> Result<Tensor> {
        let buffer = &self.buffers[hook];
        Ok(buffer.index_select(&Tensor::from_slice(tokens, tokens.len(), buffer.device())?, 0)?)
    }

    /// The batch at hand is used.
    pub fn advance(&mut self) {
        self.position.batch += 1;
        if self.position.batch >= self.batches() {
            self.position = Position { group: self.position.group + self.groups, batch: 0 };
            self.groups = 0;
        }
    }

    /// Mean length of the buffered activations at a hook.
    pub fn mean_length(&self, hook: usize) -> Result<f64> {
        let sum = |values: &[f32]| {
            let rows = values.chunks_exact(self.widths[hook]);
            rows.map(|row| f64::from(dot::<false>(row, row)).sqrt()).sum::<f64>()
        };
        Ok(with_f32(&self.buffers[hook].narrow(0, 0, self.order.len())?, sum)? / self.order.len() as f64)
    }

    /// Batches in the buffer, as close to the batch size as equal parts allow.
    fn batches(&self) -> u64 {
        let (tokens, batch) = (self.order.len(), self.draw.batch);
        ((tokens + batch / 2) / batch).max(1) as u64
    }

    fn fill(&mut self, source: &mut dyn Activations, fill: OnFill, tick: Tick) -> Result<()> {
        let groups = source.groups() as u64;
        let wanted = self.draw.buffer;
        if self.buffers.is_empty() {
            let device = self.backend.as_ref().map_or(&Device::Cpu, |backend| backend.device());
            let room = |width: &usize| Tensor::zeros((wanted + source.most(), *width), DType::F32, device);
            self.buffers = self.widths.iter().map(room).collect::<candle_core::Result<_>>()?;
        }
        self.groups = 0;
        let (mut taken, mut tokens) = (0, 0);
        // No group comes twice into one buffer, however small the text.
        while taken < groups && tokens < wanted {
            let number = self.position.group + taken;
            let index = self.group_at(groups, number);
            let group = source.group(index, tick)?;
            let found = group.first().map_or(Ok(0), |acts| acts.dim(0))?;
            for (buffer, acts) in self.buffers.iter().zip(&group).filter(|_| found > 0) {
                buffer.slice_set(acts, 0, tokens)?;
            }
            taken += 1;
            tokens += found;
            fill(tokens.min(wanted), wanted);
        }
        if tokens == 0 {
            return Err(Error::invalid("the text holds no tokens to train on"));
        }
        self.order = Rng::new(self.draw.seed, BUFFERS + self.position.group).permutation(tokens);
        self.groups = taken;
        self.tokens_read += tokens as u64;
        Ok(())
    }

    fn group_at(&mut self, groups: u64, number: u64) -> usize {
        let (epoch, at) = (number / groups, (number % groups) as usize);
        let fresh = || (epoch, Rng::new(self.draw.seed, epoch).permutation(groups as usize));
        let order = match &mut self.epoch {
            Some(order) if order.0 == epoch => order,
            stale => stale.insert(fresh()),
        };
        order.1[at] as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Group g holds g + 1 tokens, each of which is [g, token], and at a second hook [token].
    struct Numbers(usize);

    impl Activations for Numbers {
        fn widths(&self) -> Vec<usize> {
            vec![2, 1]
        }

        fn groups(&self) -> usize {
            self.0
        }

        fn most(&self) -> usize {
            self.0
        }

        fn group(&mut self, index: usize, tick: Tick) -> Result<Vec<Tensor>> {
            tick()?;
            let tokens = 0..=index;
            let [pairs, alone]: [Vec<f32>; 2] = [
                tokens.clone().flat_map(|token| [index as f32, token as f32]).collect(),
                tokens.map(|token| token as f32).collect(),
            ];
            let rows = index + 1;
            Ok(vec![
                Tensor::from_vec(pairs, (rows, 2), &Device::Cpu)?,
                Tensor::from_vec(alone, (rows, 1), &Device::Cpu)?,
            ])
        }
    }

    const DRAW: Draw = Draw { batch: 4, buffer: 11, seed: 0 };

    fn at(stream: &Stream, hook: usize) -> Vec<f32> {
        with_f32(&stream.batch(hook).unwrap(), <[f32]>::to_vec).unwrap()
    }

    fn fetch(stream: &mut Stream, source: &mut Numbers) -> Vec<f32> {
        stream.fetch(source, &mut |_, _| {}, &mut || Ok(())).unwrap();
        at(stream, 0)
    }

    fn take(stream: &mut Stream, source: &mut Numbers, n: usize) -> Vec<Vec<f32>> {
        let one = |_| {
            let batch = fetch(stream, source);
            assert_eq!(batch.chunks(2).map(|t| t[1]).collect::<Vec<_>>(), at(stream, 1), "hooks have the same tokens");
            stream.advance();
            batch
        };
        (0..n).map(one).collect()
    }

    #[test]
    fn an_epoch_gives_every_token_once() {
        let mut source = Numbers(6);
        let mut stream = Stream::new(&source, Draw { buffer: 21, ..DRAW }, Position::default());
        let batches = take(&mut stream, &mut source, 5);
        assert!(batches.iter().all(|b| (8..=10).contains(&b.len())), "equal parts");
        let mut tokens: Vec<_> = batches.concat().chunks(2).map(|t| (t[0] as u32, t[1] as u32)).collect();
        tokens.sort_unstable();
        let expected: Vec<_> = (0..6).flat_map(|g| (0..=g).map(move |t| (g, t))).collect();
        assert_eq!(tokens, expected);
        let next = take(&mut stream, &mut source, 5);
        assert_ne!(next.concat(), batches.concat(), "the next epoch has another order");
    }

    #[test]
    fn the_position_alone_says_what_follows() {
        let (mut a, mut b) = (Numbers(6), Numbers(6));
        let mut stream = Stream::new(&a, DRAW, Position::default());
        let mut seeking = Stream::new(&b, DRAW, Position::default());
        for _ in 0..12 {
            take(&mut stream, &mut a, 1);
            let position = stream.position();
            let mut other = Stream::new(&b, DRAW, position);
            let expected = fetch(&mut stream, &mut a);
            assert_eq!(take(&mut other, &mut b, 1)[0], expected, "{position:?}");
            seeking.seek(position);
            assert_eq!(take(&mut seeking, &mut b, 1)[0], expected, "{position:?}");
        }
    }

    #[test]
    fn an_interrupted_filling_begins_again() {
        let mut source = Numbers(6);
        let mut stream = Stream::new(&source, DRAW, Position::default());
        let mut left = 2;
        let mut tick = || {
            left -= 1;
            if left == 0 { Err(Error::Interrupted) } else { Ok(()) }
        };
        assert!(matches!(stream.fetch(&mut source, &mut |_, _| {}, &mut tick), Err(Error::Interrupted)));
        let mut other = Numbers(6);
        let mut fresh = Stream::new(&other, DRAW, Position::default());
        assert_eq!(take(&mut stream, &mut source, 3), take(&mut fresh, &mut other, 3));
    }

    #[test]
    fn text_without_tokens_is_refused() {
        let mut source = Numbers(0);
        let mut stream = Stream::new(&source, DRAW, Position::default());
        assert!(stream.fetch(&mut source, &mut |_, _| {}, &mut || Ok(())).is_err());
    }
}
