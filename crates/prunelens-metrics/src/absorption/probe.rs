//! Linear one-vs-rest probes for all letters at once, trained in steps.

use prunelens_core::{
    error::{Error, Result},
    optim::adam,
    progress::Tick,
    rng::Rng,
    sae::Latents,
};
use serde::{Deserialize, Serialize};

use super::LETTERS;

/// What a probe reads: one row a word.
#[derive(Clone, Copy)]
pub enum Rows<'a> {
    /// Rows of this width.
    Dense(&'a [f32], usize),
    /// Active latents.
    Sparse(&'a Latents),
}

impl Rows<'_> {
    /// How many rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Dense(x, width) => x.len() / width,
            Self::Sparse(latents) => latents.rows(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Numbers of a row.
    pub fn width(&self) -> usize {
        match self {
            Self::Dense(_, width) => *width,
            Self::Sparse(latents) => latents.d_sae,
        }
    }

    /// The values of a row that are not zero by their place.
    fn each(&self, row: usize, mut value: impl FnMut(usize, f32)) {
        match self {
            Self::Dense(x, width) => {
                x[row * width..(row + 1) * width].iter().enumerate().for_each(|(i, &v)| value(i, v));
            }
            Self::Sparse(latents) => {
                let (indices, values) = latents.row(row);
                indices.iter().zip(values).for_each(|(&i, &v)| value(i as usize, v));
            }
        }
    }
}

/// Weights `[width, LETTERS]` and one bias a letter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// One row an input, one column a letter.
    pub weights: Vec<[f32; LETTERS]>,
    /// One a letter.
    pub biases: [f32; LETTERS],
}

impl Probe {
    /// As torch starts a linear layer: uniform within the inverse root of the width.
    pub fn random(width: usize, rng: &mut Rng) -> Self {
        let bound = 1.0 / (width.max(1) as f64).sqrt();
        let mut draw = || std::array::from_fn(|_| ((2.0 * rng.unit() - 1.0) * bound) as f32);
        Self { weights: (0..width).map(|_| draw()).collect(), biases: draw() }
    }

    /// From weights `[LETTERS, width]`, as torch lays them out.
    pub fn from_rows(weights: &[f32], biases: &[f32]) -> Result<Self> {
        let width = weights.len() / LETTERS;
        let biases = biases.try_into().ok().filter(|_| width * LETTERS == weights.len());
        let biases = biases.ok_or_else(|| Error::invalid("a probe needs weights and a bias for each of 26 letters"))?;
        let weight = |at| std::array::from_fn(|class| weights[class * width + at]);
        Ok(Self { weights: (0..width).map(weight).collect(), biases })
    }

    /// Numbers of a row that it reads.
    pub fn width(&self) -> usize {
        self.weights.len()
    }

    /// The direction of one letter.
    pub fn row(&self, class: usize) -> Vec<f32> {
        self.weights.iter().map(|w| w[class]).collect()
    }

    /// Logits of one row.
    pub fn scores(&self, rows: Rows, row: usize) -> [f32; LETTERS] {
        let mut out = self.biases;
        rows.each(row, |at, value| {
            for (out, weight) in out.iter_mut().zip(&self.weights[at]) {
                *out += value * weight;
            }
        });
        out
    }
}

/// How a probe is trained: Adam, binary cross-entropy with positives weighted by their rarity, an exponentially decaying rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    /// Rows in a batch.
    pub batch: usize,
    /// Passes over all rows.
    pub epochs: usize,
    /// Learning rate of the first epoch.
    pub start_rate: f64,
    /// Learning rate that it would have after the last epoch.
    pub end_rate: f64,
    /// On the gradient, weights and biases alike.
    pub l2: f32,
    /// Times the mean over letters of the sum of absolute weights.
    pub l1: f32,
    /// Of the order of rows.
    pub seed: u64,
}

impl Recipe {
    /// The ground-truth probe on activations.
    pub fn ground_truth(seed: u64) -> Self {
        Self { batch: 64, epochs: 50, start_rate: 1e-2, end_rate: 1e-5, l2: 1e-4, l1: 0.0, seed }
    }

    /// The probe on latents whose largest weights choose them.
    pub fn on_latents(batch: usize, epochs: usize, l1: f64, seed: u64) -> Self {
        Self { batch, epochs, l2: 1e-6, l1: l1 as f32, ..Self::ground_truth(seed) }
    }

    fn rate(&self, epoch: usize) -> f64 {
        self.start_rate * (self.end_rate / self.start_rate).powf(epoch as f64 / self.epochs as f64)
    }
}

/// A probe on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// As it is trained.
    pub probe: Probe,
    first: Probe,
    second: Probe,
    steps: i32,
    epoch: usize,
    /// Rows of this epoch that are done.
    row: usize,
}

/// Multiplications between two looks at what the user wants: some ten milliseconds.
const BUDGET: usize = 30_000_000;

impl Training {
    /// From a probe's weights, before the first step.
    pub fn new(start: Probe) -> Self {
        let zeros = Probe { weights: vec![[0.0; LETTERS]; start.width()], biases: [0.0; LETTERS] };
        Self { probe: start, first: zeros.clone(), second: zeros, steps: 0, epoch: 0, row: 0 }
    }

    /// Share of the work that is done.
    pub fn progress(&self, recipe: &Recipe, rows: usize) -> f64 {
        (self.epoch as f64 + self.row as f64 / rows.max(1) as f64) / recipe.epochs.max(1) as f64
    }

    /// Do the next batches, some hundred milliseconds of work; false when all epochs are done. An error from `tick` leaves
    /// the batch it came in undone.
    pub fn step(&mut self, recipe: &Recipe, rows: Rows, classes: &[usize], tick: Tick) -> Result<bool> {
        let n = rows.len();
        if n != classes.len() || rows.width() != self.probe.width() {
            return Err(Error::invalid(format!(
                "a probe for {} values and {} words was given {n} rows of {}",
                self.probe.width(),
                classes.len(),
                rows.width()
            )));
        }
        if n == 0 || recipe.batch == 0 {
            return Ok(false);
        }
        let positive_weights = positive_weights(classes);
        let mut order = None;
        let mut work = 0;
        while self.epoch < recipe.epochs && work < 10 * BUDGET {
            // One batch holds all: its order does not matter.
            let epoch = self.epoch;
            let order = order.get_or_insert_with(|| match recipe.batch < n {
                true => Rng::new(recipe.seed, 1 + epoch as u64).permutation(n),
                false => (0..n as u32).collect(),
            });
            let end = (self.row + recipe.batch).min(n);
            let gradient = self.gradient(rows, classes, &order[self.row..end], &positive_weights, &mut work, tick)?;
            self.descend(&gradient, recipe);
            self.row = end % n;
            if self.row == 0 {
                self.epoch += 1;
                break;
            }
        }
        Ok(self.epoch < recipe.epochs)
    }

    fn gradient(
        &self,
        rows: Rows,
        classes: &[usize],
        batch: &[u32],
        positive_weights: &[f32; LETTERS],
        work: &mut usize,
        tick: Tick,
    ) -> Result<Probe> {
        let mut gradient = Probe { weights: vec![[0.0; LETTERS]; self.probe.width()], biases: [0.0; LETTERS] };
        let share = 1.0 / (batch.len() * LETTERS) as f32;
        let (mut values, mut ticked) = (self.probe.width(), 0);
        tick()?;
        for &row in batch {
            let row = row as usize;
            let mut by_logit = self.probe.scores(rows, row);
            for (class, logit) in by_logit.iter_mut().enumerate() {
                let p = 1.0 / (1.0 + (-*logit).exp());
                *logit = if class == classes[row] { -positive_weights[class] * (1.0 - p) } else { p } * share;
            }
            gradient.biases.iter_mut().zip(&by_logit).for_each(|(g, d)| *g += d);
            rows.each(row, |at, value| {
                values += 1;
                for (g, d) in gradient.weights[at].iter_mut().zip(&by_logit) {
                    *g += value * d;
                }
            });
            if (values - ticked) * 2 * LETTERS > BUDGET {
                ticked = values;
                tick()?;
            }
        }
        *work += values * 2 * LETTERS;
        Ok(gradient)
    }

    fn descend(&mut self, gradient: &Probe, recipe: &Recipe) {
        self.steps += 1;
        let step = adam::Step::new(recipe.rate(self.epoch), self.steps);
        let l1 = recipe.l1 / LETTERS as f32;
        let update = |w: &mut f32, m: &mut f32, v: &mut f32, g: f32, l1: f32| {
            let sign = if *w > 0.0 {
                l1
            } else if *w < 0.0 {
                -l1
            } else {
                0.0
            };
            let g = g + sign + recipe.l2 * *w;
            *w -= step.down(m, v, g);
        };
        let (probe, first, second) = (&mut self.probe, &mut self.first, &mut self.second);
        let moments = first.weights.iter_mut().zip(&mut second.weights);
        for ((w, (m, v)), g) in probe.weights.iter_mut().zip(moments).zip(&gradient.weights) {
            for class in 0..LETTERS {
                update(&mut w[class], &mut m[class], &mut v[class], g[class], l1);
            }
        }
        for class in 0..LETTERS {
            let (m, v) = (&mut first.biases[class], &mut second.biases[class]);
            update(&mut probe.biases[class], m, v, gradient.biases[class], 0.0);
        }
    }
}

/// Negatives per positive of each letter; 1 for a letter without positives, which has none to weigh.
fn positive_weights(classes: &[usize]) -> [f32; LETTERS] {
    std::array::from_fn(|class| {
        let positives = classes.iter().filter(|&&c| c == class).count();
        if positives == 0 { 1.0 } else { (classes.len() - positives) as f32 / positives as f32 }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words of three letters, each with a direction of its own.
    fn task() -> (Vec<f32>, Vec<usize>) {
        let mut rng = Rng::new(5, 0);
        let classes: Vec<usize> = (0..150).map(|i| [0, 0, 7, 7, 7, 25][i % 6]).collect();
        let row = |&class: &usize| {
            let mut x = [0.0; 5];
            x.iter_mut().for_each(|v| *v = 0.2 * rng.normal() as f32);
            x[[0, 0, 0, 0, 0, 0, 0, 1][class.min(7)]] += 2.0;
            x[2] += if class == 25 { 2.0 } else { 0.0 };
            x
        };
        (classes.iter().flat_map(row).collect(), classes)
    }

    fn train(recipe: &Recipe, rows: Rows, classes: &[usize]) -> Training {
        let mut training = Training::new(Probe::random(rows.width(), &mut Rng::new(0, 9)));
        while training.step(recipe, rows, classes, &mut || Ok(())).unwrap() {}
        training
    }

    #[test]
    fn letters_with_directions_of_their_own_are_told_apart() {
        let (x, classes) = task();
        let rows = Rows::Dense(&x, 5);
        let recipe = Recipe { batch: 16, ..Recipe::ground_truth(3) };
        let trained = train(&recipe, rows, &classes);
        assert_eq!(trained.progress(&recipe, 150), 1.0);
        let right = (0..classes.len()).filter(|&row| {
            let scores = trained.probe.scores(rows, row);
            [0, 7, 25].into_iter().all(|class| (scores[class] > 0.0) == (class == classes[row]))
        });
        assert!(right.count() > 140);
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let (x, classes) = task();
        let rows = Rows::Dense(&x, 5);
        let start = Training::new(Probe::random(5, &mut Rng::new(1, 9)));
        let weights = positive_weights(&classes);
        let batch: Vec<u32> = (0..150).step_by(7).collect();
        let loss = |probe: &Probe| {
            let mut total = 0.0;
            for &row in &batch {
                for (class, z) in probe.scores(rows, row as usize).into_iter().enumerate() {
                    let z = f64::from(z);
                    let softplus = |z: f64| z.max(0.0) + (-z.abs()).exp().ln_1p();
                    total += match classes[row as usize] == class {
                        true => f64::from(weights[class]) * softplus(-z),
                        false => softplus(z),
                    };
                }
            }
            total / (batch.len() * LETTERS) as f64
        };
        let found = start.gradient(rows, &classes, &batch, &weights, &mut 0, &mut || Ok(())).unwrap();
        for (at, class) in [(0, 0), (1, 7), (2, 25), (4, 3)] {
            let moved = |by: f32| {
                let mut probe = start.probe.clone();
                probe.weights[at][class] += by;
                loss(&probe)
            };
            let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            assert!((slope - f64::from(found.weights[at][class])).abs() < 1e-4, "{at} {class}");
        }
    }

    #[test]
    fn sparse_rows_give_what_dense_ones_give() {
        let (x, classes) = task();
        let x: Vec<f32> = x.iter().map(|v| v.max(0.0)).collect();
        let mut latents = Latents::new(5);
        x.chunks(5).for_each(|row| latents.push_row((0..5).zip(row.iter().copied()).filter(|(_, v)| *v > 0.0)));
        let recipe = Recipe { epochs: 5, ..Recipe::on_latents(4096, 50, 0.01, 3) };
        assert_eq!(train(&recipe, Rows::Sparse(&latents), &classes), train(&recipe, Rows::Dense(&x, 5), &classes));
    }

    #[test]
    fn a_break_changes_nothing() {
        let (x, classes) = task();
        let rows = Rows::Dense(&x, 5);
        let recipe = Recipe { batch: 16, epochs: 3, ..Recipe::ground_truth(3) };
        let whole = train(&recipe, rows, &classes);
        let mut broken = Training::new(Probe::random(5, &mut Rng::new(0, 9)));
        let mut calls = 0;
        loop {
            // Every third tick ends the step.
            let mut tick = || {
                calls += 1;
                if calls % 3 == 0 { Err(Error::Interrupted) } else { Ok(()) }
            };
            match broken.step(&recipe, rows, &classes, &mut tick) {
                Ok(false) => break,
                Ok(true) | Err(Error::Interrupted) => {
                    let bytes = postcard::to_stdvec(&broken).unwrap();
                    broken = postcard::from_bytes(&bytes).unwrap();
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(broken, whole);
        assert!(broken.step(&recipe, rows, &classes[1..], &mut || Ok(())).is_err());
    }
}
