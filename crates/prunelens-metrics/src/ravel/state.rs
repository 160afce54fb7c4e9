//! What a run has done so far: all that it needs to go on in another process.

use serde::{Deserialize, Serialize};

use super::{
    mask::{Mask, Tally},
    prompts::Answer,
};

/// Where the work is, once all prompts are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Class and attribute.
    pub task: usize,
    /// Readers of one model.
    pub group: usize,
    /// Testing the masks, after training them.
    pub testing: bool,
    /// Batches done, in all epochs together while training.
    pub batch: usize,
    /// Readers of the group that are done with this batch.
    pub member: usize,
}

/// What came of one attribute for one variant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whole answers.
    pub tally: Tally,
    /// First tokens alone.
    pub first: Tally,
    /// Of the test batches so far.
    pub losses: Vec<f64>,
    /// Loss of the last training step.
    pub training_loss: f64,
    /// Latents that the mask takes from the source.
    pub selected: usize,
    /// All test batches are in.
    pub done: bool,
    /// Pairs it was trained and tested on, in their order, as one number.
    pub seen: u64,
}

impl Outcome {
    /// Before anything is done.
    pub const NONE: Self = Self {
        tally: Tally { cause: (0, 0), isolation: (0, 0) },
        first: Tally { cause: (0, 0), isolation: (0, 0) },
        losses: Vec::new(),
        training_loss: 0.0,
        selected: 0,
        done: false,
        seen: 0,
    };
}

/// All that a stopped run goes on from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Tells prompts, settings and variants from others.
    pub of: u64,
    /// Class by class, as far as prompts were asked.
    pub answers: Vec<Vec<Answer>>,
    /// What is next.
    pub at: Cursor,
    /// Of the readers of the group at work.
    pub masks: Vec<Mask>,
    /// By task, then by reader.
    pub outcomes: Vec<Vec<Outcome>>,
    /// By task, then by model: the unchanged model's answers to the base prompts of the test pairs that must stay.
    pub unchanged: Vec<Vec<(usize, usize)>>,
}
