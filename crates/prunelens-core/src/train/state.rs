//! Everything that a run carries from step to step.

use prunelens_kernels::select::{Auxiliary, Choice};

use super::{
    adam::Adam,
    dense,
    figures::Sums,
    gated::Gated,
    gradients::{Outcome, Task},
    jumprelu::JumpRelu,
    kind::{Architecture, Batch, Jump},
    relu::Relu,
    sparse,
    spec::TrainSpec,
    stream::Position,
    weights::Weights,
};
use crate::{
    error::{Error, Result},
    rng::Rng,
    sae::Activation,
};

/// State of a run between two steps.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Of the SAE.
    pub weights: Weights,
    /// Moments of the weights.
    pub adam: Adam,
    /// The rest.
    pub course: Course,
}

/// Where a run is and how it goes: all but its weights and their moments.
#[derive(Clone, Debug, PartialEq)]
pub struct Course {
    /// Where in the text the run is.
    pub position: Position,
    /// Tokens trained on.
    pub tokens: u64,
    /// Time spent, interruptions left out.
    pub seconds: f64,
    /// Factor between the activations and what is trained on.
    pub scale: f32,
    /// Running mean of the least latent above zero, of kinds that choose among a batch; begins at 0.
    pub threshold: f64,
    /// For each latent, `tokens` when it last fired.
    pub last_fired: Vec<u64>,
    /// Sums that forget: figures of about the last `RECENT` steps.
    pub recent: Sums,
}

/// How a kind's loss and gradients are computed.
pub(super) enum Way<'a> {
    /// By lists of what is chosen. The first latents up to each of `widths` reconstruct alone as well.
    Lists {
        choice: Choice,
        widths: &'a [usize],
        l1: f32,
        auxiliary: Auxiliary,
    },
    /// By matrix products, with the kind's rule.
    Relu {
        l1: f32,
    },
    Gated {
        l1: f32,
    },
    JumpRelu {
        jump: &'a Jump,
        warmth: f32,
    },
}

impl Course {
    fn new(spec: &TrainSpec, d_in: usize, scale: f32) -> Self {
        Self {
            position: Position::default(),
            tokens: 0,
            seconds: 0.0,
            scale,
            threshold: 0.0,
            last_fired: vec![0; spec.d_sae],
            recent: Sums::new(d_in),
        }
    }

    /// Latents that have not fired for long.
    pub fn dead(&self, spec: &TrainSpec) -> Vec<u32> {
        let dead = |(_, last): &(u32, &u64)| self.tokens - **last > spec.dead_after;
        (0..).zip(&self.last_fired).filter(dead).map(|(latent, _)| latent).collect()
    }

    /// Each kind is a choice of latents or a rule for them, and its loss; `warmth` is the factor of the penalty.
    pub(super) fn way<'a>(&self, spec: &'a TrainSpec, d_in: usize, tokens: usize, warmth: f64) -> Way<'a> {
        let auxiliary = Auxiliary { weight: spec.auxiliary as f32, k: spec.auxiliary_k.unwrap_or(d_in / 2) };
        let among_batch = |batch: &Batch| Choice::Batch((batch.k * tokens as f64) as usize);
        let all = std::slice::from_ref(&spec.d_sae);
        let chosen = |choice| Way::Lists { choice, widths: all, l1: 0.0, auxiliary };
        match &spec.architecture {
            Architecture::TopK { k } => chosen(Choice::Token(*k)),
            Architecture::BatchTopK(batch) => chosen(among_batch(batch)),
            Architecture::Matryoshka { batch, widths } => {
                Way::Lists { choice: among_batch(batch), widths, l1: 0.0, auxiliary }
            }
            Architecture::Standard { l1, .. } => {
                let l1 = (l1 * warmth) as f32;
                // Few latents are known to fire only once there is a past; without one, all may.
                match self.recent.l0() < SPARSE * spec.d_sae as f64 {
                    true => Way::Lists { choice: Choice::Positive, widths: all, l1, auxiliary: Auxiliary::NONE },
                    false => Way::Relu { l1 },
                }
            }
            Architecture::Gated { l1, .. } => Way::Gated { l1: (l1 * warmth) as f32 },
            Architecture::JumpRelu(jump) => Way::JumpRelu { jump, warmth: warmth as f32 },
        }
    }

    /// A batch of `tokens` is done: its figures, which latents fired, and the least that a choice among it left.
    pub(super) fn advance(&mut self, spec: &TrainSpec, tokens: usize, sums: &Sums, fired: &[bool], least: Option<f32>) {
        if let (Architecture::BatchTopK(batch) | Architecture::Matryoshka { batch, .. }, Some(least)) =
            (&spec.architecture, least)
        {
            self.threshold += batch.threshold_rate * (f64::from(least) - self.threshold);
        }
        self.tokens += tokens as u64;
        for (last, _) in self.last_fired.iter_mut().zip(fired).filter(|(_, fired)| **fired) {
            *last = self.tokens;
        }
        self.recent.decay(1.0 - 1.0 / RECENT);
        self.recent.add(sums);
    }

    /// The error of step `steps + 1`.
    pub(super) fn diverged(&self, spec: &TrainSpec, steps: u64) -> Error {
        Error::invalid(format!(
            "training diverged at step {}, after {} tokens: the loss is no longer a number; lower --lr, now {}",
            steps + 1,
            self.tokens,
            spec.learning_rate
        ))
    }
}

/// Work memory of a step, made once and kept for the next; it has no part in the outcome.
#[derive(Default)]
pub struct Work {
    pub(super) sparse: sparse::Room,
    pub(super) dense: dense::Room,
}

impl Work {
    /// About what it takes, in bytes: whole gradients of kinds that are computed by matrix products, blocks of pre-activations
    /// of all.
    pub(super) fn bytes(spec: &TrainSpec, d_in: u64) -> u64 {
        const BLOCK: u64 = 4 << 22;
        let sparse = matches!(
            spec.architecture,
            Architecture::TopK { .. } | Architecture::BatchTopK(_) | Architecture::Matryoshka { .. }
        );
        let block = BLOCK.min(4 * (spec.batch * spec.d_sae) as u64);
        if sparse { block } else { 2 * 4 * spec.d_sae as u64 * d_in + 5 * block }
    }
}

/// Steps that figures of a running training look back on.
pub const RECENT: f64 = 50.0;

/// Random stream of the weights' beginning; the buffers' count from 1 << 32, the epochs' from 0.
const INIT: u64 = 1 << 48;

/// With fewer active latents a token than this share of `d_sae`, sparse work is faster than matrix products.
const SPARSE: f64 = 1.0 / 32.0;

impl State {
    /// Begin, given activations already multiplied by `scale`.
    pub fn new(spec: &TrainSpec, d_in: usize, scale: f32, sample: &[f32]) -> Self {
        let weights = Weights::init(d_in, spec.d_sae, sample, &mut Rng::new(spec.seed, INIT));
        let weights = weights.init_for(&spec.architecture, spec.decoder);
        Self { adam: Adam::new(&weights), weights, course: Course::new(spec, d_in, scale) }
    }

    /// One step on the batch `x`, with `progress` (0 to 1) of the budget used.
    pub fn step(&mut self, spec: &TrainSpec, x: &[f32], progress: f64, work: &mut Work) -> Result<()> {
        let tokens = x.len() / self.weights.d_in;
        let (rate, penalty) = spec.schedule(progress);
        let Outcome { sums, gradients, least } = self.gradients(spec, x, penalty, work);
        if !(sums.squared_error.is_finite() && gradients.b_dec.iter().all(|g| g.is_finite())) {
            return Err(self.course.diverged(spec, self.adam.steps));
        }
        self.adam.step(&mut self.weights, &gradients, spec.learning_rate * rate, spec.decoder, spec.clip);
        if let Architecture::JumpRelu(_) = spec.architecture {
            // Below zero a threshold would let negative pre-activations through.
            self.weights.vectors.iter_mut().flatten().for_each(|threshold| *threshold = threshold.max(0.0));
        }
        self.course.advance(spec, tokens, &sums, &gradients.fired, least);
        Ok(())
    }

    fn gradients<'w>(&self, spec: &TrainSpec, x: &[f32], warmth: f64, work: &'w mut Work) -> Outcome<'w> {
        let (lengths, dead) = (self.weights.lengths(spec.decoder), self.course.dead(spec));
        let task = Task { weights: &self.weights, lengths: &lengths, x, dead: &dead };
        let Work { sparse, dense } = work;
        match self.course.way(spec, self.weights.d_in, task.tokens(), warmth) {
            Way::Lists { choice, widths, l1, auxiliary } => {
                sparse::gradients(&task, choice, widths, l1, auxiliary, sparse)
            }
            Way::Relu { l1 } => dense::gradients(&task, &Relu { l1 }, dense),
            Way::Gated { l1 } => dense::gradients(&task, &Gated::new(&self.weights, l1), dense),
            Way::JumpRelu { jump, warmth } => dense::gradients(&task, &JumpRelu::new(&task, jump, warmth), dense),
        }
    }

    /// The SAE for activations as they come, with decoder rows of length 1, and its activation.
    pub fn finish(self, spec: &TrainSpec) -> (Weights, Activation) {
        let factor = if spec.layer_norm { 1.0 } else { self.course.scale };
        // A running mean that began at 0 is too small by what 0 still weighs in it. SAELens, with longer runs, leaves it.
        let rate = match &spec.architecture {
            Architecture::BatchTopK(batch) | Architecture::Matryoshka { batch, .. } => batch.threshold_rate,
            _ => 1.0,
        };
        let threshold = self.course.threshold / (1.0 - (1.0 - rate).powf(self.adam.steps.max(1) as f64));
        self.weights.finish(&spec.architecture, spec.decoder, factor, threshold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Budget;

    const D_IN: usize = 16;
    const TRUE_LATENTS: usize = 24;

    /// Sums of three of a few true directions, with strengths from 1 to 2.
    fn batch(directions: &[f32], tokens: usize, rng: &mut Rng) -> Vec<f32> {
        let mut x = vec![0.0; tokens * D_IN];
        for row in x.chunks_mut(D_IN) {
            for latent in rng.permutation(TRUE_LATENTS).into_iter().take(3) {
                let strength = 1.0 + rng.unit() as f32;
                let direction = &directions[latent as usize * D_IN..][..D_IN];
                row.iter_mut().zip(direction).for_each(|(x, d)| *x += strength * d);
            }
        }
        x
    }

    /// Mean over the true directions of the best cosine among the learnt ones, after training.
    fn recovered(spec: &TrainSpec, steps: usize, spoil: impl Fn(&mut State)) -> (State, f64) {
        let mut rng = Rng::new(5, 0);
        let directions = Weights::init(D_IN, TRUE_LATENTS, &[], &mut rng).w_dec;
        let sample = batch(&directions, 500, &mut rng);
        let mut state = State::new(spec, D_IN, 1.0, &sample);
        spoil(&mut state);
        let mut work = Work::default();
        for step in 0..steps {
            let x = batch(&directions, 256, &mut rng);
            state.step(spec, &x, step as f64 / steps as f64, &mut work).unwrap();
        }
        let best = |direction: &[f32]| {
            let cosine = |row: &[f32]| row.iter().zip(direction).map(|(a, b)| f64::from(a * b)).sum::<f64>();
            state.weights.w_dec.chunks(D_IN).map(cosine).fold(-1.0, f64::max)
        };
        let mean = directions.chunks(D_IN).map(best).sum::<f64>() / TRUE_LATENTS as f64;
        (state, mean)
    }

    fn check_norms(state: &State) {
        for row in state.weights.w_dec.chunks(D_IN) {
            assert!((row.iter().map(|w| w * w).sum::<f32>() - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn top_k_finds_the_directions_that_data_are_made_of() {
        let spec = TrainSpec { learning_rate: 5e-3, dead_after: 5000, ..TrainSpec::topk(3, 48, Budget::Tokens(1)) };
        let (state, cosine) = recovered(&spec, 1500, |_| {});
        assert!(cosine > 0.95, "mean cosine {cosine}");
        assert!(state.course.recent.explained_variance() > 0.95, "{}", state.course.recent.explained_variance());
        assert!(state.course.recent.l0() <= 3.0);
        check_norms(&state);
    }

    #[test]
    fn l1_finds_the_directions_that_data_are_made_of() {
        let spec = TrainSpec { learning_rate: 5e-3, ..TrainSpec::standard(0.3, 48, Budget::Tokens(1)) };
        let (state, cosine) = recovered(&spec, 1500, |_| {});
        assert!(cosine > 0.9, "mean cosine {cosine}");
        assert!(state.course.recent.explained_variance() > 0.9, "{}", state.course.recent.explained_variance());
        check_norms(&state);
    }

    #[test]
    fn the_auxiliary_loss_brings_dead_latents_back() {
        let dead = |auxiliary| {
            let spec = TrainSpec {
                learning_rate: 5e-3,
                dead_after: 2000,
                auxiliary,
                ..TrainSpec::topk(3, 48, Budget::Tokens(1))
            };
            // Most latents answer too weakly to be among the largest, ever.
            let weaken = |state: &mut State| state.weights.w_enc[12 * D_IN..].iter_mut().for_each(|w| *w *= 0.01);
            recovered(&spec, 400, weaken).0.course.dead(&spec).len()
        };
        let (without, with) = (dead(0.0), dead(1.0 / 32.0));
        assert!(without >= 24 && with <= 12, "dead without {without}, with {with}");
    }

    #[test]
    fn divergence_is_an_error_that_names_the_learning_rate() {
        let spec = TrainSpec::topk(3, 8, Budget::Tokens(1));
        let mut state = State::new(&spec, 2, 1.0, &[1.0, 2.0]);
        let message = state.step(&spec, &[f32::NAN, 1.0], 0.5, &mut Work::default()).unwrap_err().to_string();
        assert!(message.contains("--lr"), "{message}");
    }
}
