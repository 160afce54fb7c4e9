//! Batches of activations in random order, the same for every run with the same draw: one reading for all SAEs that are
//! trained on it.

use super::{linalg::dot, spec::TrainSpec};
use crate::{
    error::{Error, Result},
    model::Tick,
    rng::Rng,
};

/// Where activations come from: groups of tokens that go through the model together, read at one hook or several.
pub trait Activations {
    /// Width of the activations at each hook.
    fn widths(&self) -> Vec<usize>;

    /// How many groups there are.
    fn groups(&self) -> usize;

    /// Tokens of a group.
    fn tokens_of(&self, index: usize) -> usize;

    /// How many groups are best read at a time.
    fn at_once(&self) -> usize {
        1
    }

    /// Append the activations of some groups to the hooks' parts of `out`, a row for each token: the same every time.
    fn read(&mut self, groups: &[usize], out: &mut [Vec<f32>], tick: Tick) -> Result<()>;
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
    widths: Vec<usize>,
    position: Position,
    /// A part for each hook; rows of the same number are of the same token.
    buffers: Vec<Vec<f32>>,
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
        let buffers = vec![Vec::new(); widths.len()];
        Self { draw, widths, position, buffers, order: Vec::new(), groups: 0, epoch: None, tokens_read: 0 }
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

    /// Put the batch at hand, as it is at a hook, into `out`.
    pub fn batch(&self, hook: usize, out: &mut Vec<f32>) {
        let (tokens, batches) = (self.order.len() as u64, self.batches());
        let cut = |at: u64| (at * tokens / batches) as usize;
        self.take(hook, &self.order[cut(self.position.batch)..cut(self.position.batch + 1)], out);
    }

    /// Put some of the buffered activations into `out`.
    pub fn sample(&self, hook: usize, tokens: usize, out: &mut Vec<f32>) {
        self.take(hook, &self.order[..tokens.min(self.order.len())], out);
    }

    fn take(&self, hook: usize, tokens: &[u32], out: &mut Vec<f32>) {
        let d_in = self.widths[hook];
        out.clear();
        for &token in tokens {
            out.extend_from_slice(&self.buffers[hook][token as usize * d_in..][..d_in]);
        }
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
    pub fn mean_length(&self, hook: usize) -> f64 {
        let rows = self.buffers[hook].chunks_exact(self.widths[hook]);
        rows.map(|row| f64::from(dot::<false>(row, row)).sqrt()).sum::<f64>() / self.order.len() as f64
    }

    /// Batches in the buffer, as close to the batch size as equal parts allow.
    fn batches(&self) -> u64 {
        let (tokens, batch) = (self.order.len(), self.draw.batch);
        ((tokens + batch / 2) / batch).max(1) as u64
    }

    fn fill(&mut self, source: &mut dyn Activations, fill: OnFill, tick: Tick) -> Result<()> {
        let groups = source.groups() as u64;
        let wanted = self.draw.buffer;
        self.buffers.iter_mut().for_each(Vec::clear);
        self.groups = 0;
        let (mut taken, mut tokens) = (Vec::new(), 0);
        // No group comes twice into one buffer, however small the text.
        while (taken.len() as u64) < groups && tokens < wanted {
            let index = self.group_at(groups, self.position.group + taken.len() as u64);
            tokens += source.tokens_of(index);
            taken.push(index);
        }
        if tokens == 0 {
            return Err(Error::invalid("the text holds no tokens to train on"));
        }
        let mut read = 0;
        for some in taken.chunks(source.at_once().max(1)) {
            source.read(some, &mut self.buffers, tick)?;
            read += some.iter().map(|index| source.tokens_of(*index)).sum::<usize>();
            fill(read.min(wanted), wanted);
        }
        self.order = Rng::new(self.draw.seed, BUFFERS + self.position.group).permutation(tokens);
        self.groups = taken.len() as u64;
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

        fn tokens_of(&self, index: usize) -> usize {
            index + 1
        }

        fn at_once(&self) -> usize {
            2
        }

        fn read(&mut self, groups: &[usize], out: &mut [Vec<f32>], tick: Tick) -> Result<()> {
            for &index in groups {
                tick()?;
                (0..=index).for_each(|token| {
                    out[0].extend([index as f32, token as f32]);
                    out[1].push(token as f32);
                });
            }
            Ok(())
        }
    }

    const DRAW: Draw = Draw { batch: 4, buffer: 11, seed: 0 };

    fn fetch(stream: &mut Stream, source: &mut Numbers) -> Vec<f32> {
        let mut batch = Vec::new();
        stream.fetch(source, &mut |_, _| {}, &mut || Ok(())).unwrap();
        stream.batch(0, &mut batch);
        batch
    }

    fn take(stream: &mut Stream, source: &mut Numbers, n: usize) -> Vec<Vec<f32>> {
        let one = |_| {
            let batch = fetch(stream, source);
            let mut beside = Vec::new();
            stream.batch(1, &mut beside);
            assert_eq!(batch.chunks(2).map(|t| t[1]).collect::<Vec<_>>(), beside, "hooks have the same tokens");
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
