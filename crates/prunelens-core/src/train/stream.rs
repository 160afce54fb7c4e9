//! Batches of activations in random order, the same for every run with the same seed.

use super::{linalg::dot, spec::TrainSpec};
use crate::{
    error::{Error, Result},
    model::Tick,
    rng::Rng,
    sae::Normalize,
};

/// Where activations come from: groups of tokens that go through the model together.
pub trait Activations {
    /// Width of the activations.
    fn d_in(&self) -> usize;

    /// How many groups there are.
    fn groups(&self) -> usize;

    /// Append the activations of one group to `out`, a row of `d_in` numbers for each token: the same every time.
    fn group(&mut self, index: usize, out: &mut Vec<f32>, tick: Tick) -> Result<()>;
}

/// What the stream tells while it fills its buffer: tokens there, tokens wanted.
pub type OnFill<'a> = &'a mut dyn FnMut(usize, usize);

/// Random streams of the run's generator besides the epochs, which count from 0.
const BUFFERS: u64 = 1 << 32;

/// Where in the activations a run is. Groups are passed through in a new random order each epoch, numbered on from epoch
/// to epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// First group of the buffer.
    pub group: u64,
    /// Next batch of the buffer.
    pub batch: u64,
}

/// Fills a buffer with some groups' activations, shuffles it, hands it out in batches, and begins again with the groups
/// that follow. The position alone says what comes next, so a resumed run needs nothing else.
pub struct Stream<'a> {
    source: &'a mut dyn Activations,
    spec: &'a TrainSpec,
    position: Position,
    /// Activations are multiplied by this.
    scale: f32,
    buffer: Vec<f32>,
    order: Vec<u32>,
    /// Groups in the buffer; 0 before the first filling.
    groups: u64,
    /// Order of the groups in one epoch.
    epoch: Option<(u64, Vec<u32>)>,
}

impl<'a> Stream<'a> {
    /// From a place in the text on.
    pub fn new(source: &'a mut dyn Activations, spec: &'a TrainSpec, position: Position) -> Self {
        let (buffer, order) = (Vec::new(), Vec::new());
        Self { source, spec, position, scale: 1.0, buffer, order, groups: 0, epoch: None }
    }

    /// Where in the text the next batch begins.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Factor that gives activations their average norm.
    pub fn set_scale(&mut self, scale: f32) {
        self.scale = scale;
    }

    /// Put the next batch into `batch`. The position moves on with [`Self::advance`] only.
    pub fn fetch(&mut self, batch: &mut Vec<f32>, fill: OnFill, tick: Tick) -> Result<()> {
        if self.groups == 0 {
            self.fill(fill, tick)?;
        }
        let d_in = self.source.d_in();
        let (tokens, batches) = (self.order.len() as u64, self.batches());
        let cut = |at: u64| (at * tokens / batches) as usize;
        let chosen = &self.order[cut(self.position.batch)..cut(self.position.batch + 1)];
        batch.clear();
        for &token in chosen {
            batch.extend(self.buffer[token as usize * d_in..][..d_in].iter().map(|x| x * self.scale));
        }
        Ok(())
    }

    /// The batch last fetched is used.
    pub fn advance(&mut self) {
        self.position.batch += 1;
        if self.position.batch >= self.batches() {
            self.position = Position { group: self.position.group + self.groups, batch: 0 };
            self.groups = 0;
        }
    }

    /// Some of the buffered activations.
    pub fn sample(&self, tokens: usize) -> Vec<f32> {
        let d_in = self.source.d_in();
        let rows = self.order.iter().take(tokens).map(|token| &self.buffer[*token as usize * d_in..][..d_in]);
        rows.flatten().map(|x| x * self.scale).collect()
    }

    /// Mean length of the buffered activations.
    pub fn mean_length(&self) -> f64 {
        let rows = self.buffer.chunks_exact(self.source.d_in());
        rows.map(|row| f64::from(dot::<false>(row, row)).sqrt()).sum::<f64>() / self.order.len() as f64
    }

    /// Batches in the buffer, as close to the batch size as equal parts allow.
    fn batches(&self) -> u64 {
        let (tokens, batch) = (self.order.len(), self.spec.batch);
        ((tokens + batch / 2) / batch).max(1) as u64
    }

    fn fill(&mut self, fill: OnFill, tick: Tick) -> Result<()> {
        let groups = self.source.groups() as u64;
        let d_in = self.source.d_in();
        self.buffer.clear();
        self.groups = 0;
        let mut taken = 0;
        // No group comes twice into one buffer, however small the text.
        while taken < groups && self.buffer.len() < self.spec.buffer * d_in {
            let number = self.position.group + taken;
            let index = self.group_at(number / groups, (number % groups) as usize);
            self.source.group(index, &mut self.buffer, tick)?;
            taken += 1;
            fill((self.buffer.len() / d_in).min(self.spec.buffer), self.spec.buffer);
        }
        if self.buffer.is_empty() {
            return Err(Error::invalid("the text holds no tokens to train on"));
        }
        if self.spec.layer_norm {
            Normalize::LayerNorm.apply(&mut self.buffer, d_in);
        }
        self.order = Rng::new(self.spec.seed, BUFFERS + self.position.group).permutation(self.buffer.len() / d_in);
        self.groups = taken;
        Ok(())
    }

    fn group_at(&mut self, epoch: u64, at: usize) -> usize {
        let groups = self.source.groups();
        let fresh = || (epoch, Rng::new(self.spec.seed, epoch).permutation(groups));
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
    use crate::train::Budget;

    /// Group g holds g + 1 tokens, each of which is [g, token].
    struct Numbers(usize);

    impl Activations for Numbers {
        fn d_in(&self) -> usize {
            2
        }

        fn groups(&self) -> usize {
            self.0
        }

        fn group(&mut self, index: usize, out: &mut Vec<f32>, tick: Tick) -> Result<()> {
            tick()?;
            (0..=index).for_each(|token| out.extend([index as f32, token as f32]));
            Ok(())
        }
    }

    fn spec() -> TrainSpec {
        TrainSpec { batch: 4, buffer: 11, ..TrainSpec::topk(1, 4, Budget::Tokens(100)) }
    }

    fn take(stream: &mut Stream, n: usize) -> Vec<Vec<f32>> {
        let mut batch = Vec::new();
        let one = |_| {
            stream.fetch(&mut batch, &mut |_, _| {}, &mut || Ok(())).unwrap();
            stream.advance();
            batch.clone()
        };
        (0..n).map(one).collect()
    }

    #[test]
    fn an_epoch_gives_every_token_once() {
        let (mut source, spec) = (Numbers(6), TrainSpec { buffer: 21, ..spec() });
        let mut stream = Stream::new(&mut source, &spec, Position::default());
        let batches = take(&mut stream, 5);
        assert!(batches.iter().all(|b| (8..=10).contains(&b.len())), "equal parts");
        let mut tokens: Vec<_> = batches.concat().chunks(2).map(|t| (t[0] as u32, t[1] as u32)).collect();
        tokens.sort_unstable();
        let expected: Vec<_> = (0..6).flat_map(|g| (0..=g).map(move |t| (g, t))).collect();
        assert_eq!(tokens, expected);
        assert_ne!(take(&mut stream, 5).concat(), batches.concat(), "the next epoch has another order");
    }

    #[test]
    fn the_position_alone_says_what_follows() {
        let (mut a, mut b, spec) = (Numbers(6), Numbers(6), spec());
        let mut stream = Stream::new(&mut a, &spec, Position::default());
        for _ in 0..12 {
            take(&mut stream, 1);
            let position = stream.position();
            let mut other = Stream::new(&mut b, &spec, position);
            let mut expected = Vec::new();
            stream.fetch(&mut expected, &mut |_, _| {}, &mut || Ok(())).unwrap();
            assert_eq!(take(&mut other, 1)[0], expected, "{position:?}");
        }
    }

    #[test]
    fn an_interrupted_filling_begins_again() {
        let (mut source, spec) = (Numbers(6), spec());
        let mut stream = Stream::new(&mut source, &spec, Position::default());
        let mut batch = Vec::new();
        let mut left = 2;
        let mut tick = || {
            left -= 1;
            if left == 0 { Err(Error::Interrupted) } else { Ok(()) }
        };
        assert!(matches!(stream.fetch(&mut batch, &mut |_, _| {}, &mut tick), Err(Error::Interrupted)));
        let mut other = Numbers(6);
        let mut fresh = Stream::new(&mut other, &spec, Position::default());
        assert_eq!(take(&mut stream, 3), take(&mut fresh, 3));
    }

    #[test]
    fn text_without_tokens_is_refused() {
        let (mut source, spec) = (Numbers(0), spec());
        let mut stream = Stream::new(&mut source, &spec, Position::default());
        assert!(stream.fetch(&mut Vec::new(), &mut |_, _| {}, &mut || Ok(())).is_err());
    }
}
