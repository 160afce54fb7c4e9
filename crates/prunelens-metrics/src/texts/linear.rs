//! Linear probes trained by AdamW on minibatches, as torch does it, with the best epoch kept.

use prunelens_core::{error::Result, optim::adam, progress::Tick, rng::Rng};
use serde::{Deserialize, Serialize};

use super::draws::{Draw, Permutations};

/// `logit = w x + b`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinearProbe {
    /// One a column.
    pub weight: Vec<f32>,
    /// Added to the weighted sum.
    pub bias: f32,
}

/// How a probe is trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Training {
    /// Passes over the examples.
    pub epochs: usize,
    /// Examples in a batch.
    pub batch: usize,
    /// Learning rate of AdamW.
    pub lr: f64,
    /// Factor of `sum |w|` in the loss.
    pub l1_penalty: f64,
    /// Epochs without a better test accuracy after which it stops.
    pub patience: usize,
}

const WEIGHT_DECAY: f64 = 0.01;

/// Rows that a probe reads.
pub trait Examples {
    /// Numbers of a row.
    fn width(&self) -> usize;
    /// Values that are looked at for one row.
    fn cost(&self, row: usize) -> usize;
    /// Weighted sum of a row.
    fn dot(&self, row: usize, weight: &[f32]) -> f32;
    /// `out += factor * row`.
    fn add(&self, row: usize, factor: f32, out: &mut [f32]);
    /// Every value that may not be 0, with its column.
    fn each(&self, row: usize, read: &mut dyn FnMut(usize, f32));
    /// One number of a row.
    fn value(&self, row: usize, column: usize) -> f32;
}

/// Dense rows end to end.
pub struct Dense<'a> {
    /// Row after row.
    pub values: &'a [f32],
    /// Numbers of a row.
    pub width: usize,
}

impl Dense<'_> {
    /// The numbers of a row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..(row + 1) * self.width]
    }
}

impl Examples for Dense<'_> {
    fn width(&self) -> usize {
        self.width
    }

    fn cost(&self, _: usize) -> usize {
        self.width
    }

    fn dot(&self, row: usize, weight: &[f32]) -> f32 {
        // Partial sums: the order of addition is fixed, and the compiler may use wide registers.
        const LANES: usize = 16;
        let (rows, rest) = self.row(row).as_chunks::<LANES>();
        let (weights, weights_rest) = weight.as_chunks::<LANES>();
        let mut sums = [0.0f32; LANES];
        for (x, w) in rows.iter().zip(weights) {
            (0..LANES).for_each(|lane| sums[lane] += x[lane] * w[lane]);
        }
        sums.iter().sum::<f32>() + rest.iter().zip(weights_rest).map(|(x, w)| x * w).sum::<f32>()
    }

    fn add(&self, row: usize, factor: f32, out: &mut [f32]) {
        out.iter_mut().zip(self.row(row)).for_each(|(o, x)| *o += factor * x);
    }

    fn each(&self, row: usize, read: &mut dyn FnMut(usize, f32)) {
        self.row(row).iter().enumerate().for_each(|(at, x)| read(at, *x));
    }

    fn value(&self, row: usize, column: usize) -> f32 {
        self.row(row)[column]
    }
}

impl Examples for super::SparseRows {
    fn width(&self) -> usize {
        self.width
    }

    fn cost(&self, row: usize) -> usize {
        self.row(row).size_hint().0
    }

    fn dot(&self, row: usize, weight: &[f32]) -> f32 {
        self.row(row).map(|(at, x)| x * weight[at]).sum()
    }

    fn add(&self, row: usize, factor: f32, out: &mut [f32]) {
        self.row(row).for_each(|(at, x)| out[at] += factor * x);
    }

    fn each(&self, row: usize, read: &mut dyn FnMut(usize, f32)) {
        self.row(row).for_each(|(at, x)| read(at, x));
    }

    fn value(&self, row: usize, column: usize) -> f32 {
        self.get(row, column)
    }
}

/// Mean over the positive rows less mean over the negative ones, column by column.
pub fn mean_difference(examples: &impl Examples, draw: &Draw) -> Vec<f64> {
    let positives = draw.0.iter().filter(|(_, positive)| *positive).count() as f64;
    let negatives = draw.0.len() as f64 - positives;
    let mut difference = vec![0.0; examples.width()];
    for &(row, positive) in &draw.0 {
        let share = if positive { 1.0 / positives } else { -1.0 / negatives };
        examples.each(row, &mut |at, value| difference[at] += share * f64::from(value));
    }
    difference
}

impl LinearProbe {
    /// Uniform within `1 / sqrt(width)`, as torch starts a linear layer.
    pub fn random(width: usize, rng: &mut Rng) -> Self {
        let bound = 1.0 / (width.max(1) as f64).sqrt();
        let mut draw = || (bound * (2.0 * rng.unit() - 1.0)) as f32;
        Self { weight: (0..width).map(|_| draw()).collect(), bias: draw() }
    }

    /// Positive for the class.
    pub fn logit(&self, examples: &impl Examples, row: usize) -> f64 {
        f64::from(examples.dot(row, &self.weight)) + f64::from(self.bias)
    }

    /// Train from here. Gives the probe of the first epoch with the best accuracy on `test`, and that accuracy.
    pub fn train(
        mut self,
        examples: &impl Examples,
        train: &Draw,
        test: &Draw,
        training: Training,
        chance: &mut impl Permutations,
        tick: Tick,
    ) -> Result<(Self, f64)> {
        let mut adam = AdamW::new(examples.width());
        let mut gradient = vec![0.0; examples.width()];
        let mut best: Option<(Self, f64)> = None;
        let (mut waited, mut work) = (0, 0);
        for _ in 0..training.epochs {
            let order = chance.permutation(train.0.len());
            for batch in order.chunks(training.batch.max(1)) {
                gradient.fill(0.0);
                let mut bias_gradient = 0.0;
                for &at in batch {
                    let (row, positive) = train.0[at as usize];
                    let logit = examples.dot(row, &self.weight) + self.bias;
                    let wrong = 1.0 / (1.0 + (-logit).exp()) - f32::from(u8::from(positive));
                    let factor = wrong / batch.len() as f32;
                    examples.add(row, factor, &mut gradient);
                    bias_gradient += factor;
                    work += 2 * examples.cost(row);
                }
                adam.step(&mut self, &mut gradient, bias_gradient, training);
                work += 8 * examples.width();
                if work > 10_000_000 {
                    work = 0;
                    tick()?;
                }
            }
            let accuracy = test.accuracy(|row| self.logit(examples, row));
            work += test.0.iter().map(|(row, _)| examples.cost(*row)).sum::<usize>();
            if best.as_ref().is_none_or(|(_, before)| accuracy > *before) {
                best = Some((self.clone(), accuracy));
                waited = 0;
            } else {
                waited += 1;
                if waited >= training.patience {
                    break;
                }
            }
        }
        Ok(best.unwrap_or((self, f64::NAN)))
    }
}

struct AdamW {
    steps: i32,
    first: Vec<f32>,
    second: Vec<f32>,
    bias: (f32, f32),
}

impl AdamW {
    fn new(width: usize) -> Self {
        Self { steps: 0, first: vec![0.0; width], second: vec![0.0; width], bias: (0.0, 0.0) }
    }

    fn step(&mut self, probe: &mut LinearProbe, gradient: &mut [f32], bias_gradient: f32, training: Training) {
        self.steps += 1;
        let l1 = training.l1_penalty as f32;
        if l1 != 0.0 {
            // The slope of |w| is 0 at 0.
            let slope = |w: f32| if w == 0.0 { 0.0 } else { w.signum() };
            gradient.iter_mut().zip(&probe.weight).for_each(|(g, w)| *g += l1 * slope(*w));
        }
        let step = adam::Step::new(training.lr, self.steps);
        let decay = (1.0 - training.lr * WEIGHT_DECAY) as f32;
        let update = |w: &mut f32, m: &mut f32, v: &mut f32, g: f32| {
            *w = *w * decay - step.down(m, v, g);
        };
        for (((w, m), v), g) in probe.weight.iter_mut().zip(&mut self.first).zip(&mut self.second).zip(gradient) {
            update(w, m, v, *g);
        }
        update(&mut probe.bias, &mut self.bias.0, &mut self.bias.1, bias_gradient);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::SparseRows, *};

    const TRAINING: Training = Training { epochs: 30, batch: 8, lr: 0.05, l1_penalty: 0.0, patience: 10 };

    /// Rows whose second value tells the class.
    fn data(n: usize) -> (Vec<f32>, Draw) {
        let mut rng = Rng::named(0, "data");
        let rows: Vec<(usize, bool)> = (0..n).map(|row| (row, row % 2 == 0)).collect();
        let values = rows.iter().flat_map(|(_, p)| {
            let mut noise = || rng.normal() as f32;
            [noise(), noise() + if *p { 3.0 } else { -3.0 }, 0.0]
        });
        (values.collect(), Draw(rows))
    }

    #[test]
    fn finds_the_direction_and_stops_when_nothing_gets_better() {
        let (values, draw) = data(200);
        let examples = Dense { values: &values, width: 3 };
        let start = LinearProbe { weight: vec![0.0; 3], bias: 0.0 };
        let mut epochs = 0;
        struct Counting<'a>(Rng, &'a mut usize);
        impl Permutations for Counting<'_> {
            fn permutation(&mut self, n: usize) -> Vec<u32> {
                *self.1 += 1;
                self.0.permutation(n)
            }
        }
        let mut chance = Counting(Rng::named(0, "order"), &mut epochs);
        let (probe, accuracy) = start.train(&examples, &draw, &draw, TRAINING, &mut chance, &mut || Ok(())).unwrap();
        assert!(accuracy > 0.98 && probe.weight[1] > 3.0 * probe.weight[0].abs(), "{accuracy} {probe:?}");
        assert!(epochs < 30, "{epochs}");
        assert_eq!(draw.accuracy(|row| probe.logit(&examples, row)), accuracy);
    }

    #[test]
    fn sparse_rows_are_trained_on_like_dense_ones() {
        let (values, draw) = data(60);
        let dense = Dense { values: &values, width: 3 };
        let mut sparse = SparseRows::new(3, 60, 64);
        for row in 0..60 {
            let entries: Vec<_> =
                dense.row(row).iter().enumerate().filter(|(_, v)| **v != 0.0).map(|(i, v)| (i as u32, *v)).collect();
            sparse.set(row, &entries).unwrap();
        }
        sparse.seal().unwrap();
        let start = LinearProbe::random(3, &mut Rng::named(1, "start"));
        let train = |examples: &dyn Fn(LinearProbe, &mut Rng) -> (LinearProbe, f64)| {
            examples(start.clone(), &mut Rng::named(2, "order"))
        };
        let a = train(&|start, rng| start.train(&dense, &draw, &draw, TRAINING, rng, &mut || Ok(())).unwrap());
        let b = train(&|start, rng| start.train(&sparse, &draw, &draw, TRAINING, rng, &mut || Ok(())).unwrap());
        assert_eq!(a.1, b.1);
        assert!(a.0.weight.iter().zip(&b.0.weight).all(|(a, b)| (a - b).abs() < 1e-5));
    }

    #[test]
    fn can_be_interrupted() {
        let (values, draw) = data(4000);
        let examples = Dense { values: &values, width: 3 };
        let start = LinearProbe { weight: vec![0.0; 3], bias: 0.0 };
        let training = Training { epochs: 1000, patience: 1000, ..TRAINING };
        let stopped = start.train(&examples, &draw, &draw, training, &mut Rng::named(0, ""), &mut || {
            Err(prunelens_core::error::Error::Interrupted)
        });
        assert!(stopped.is_err());
    }
}
