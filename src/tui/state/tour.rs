//! The guided tour: ten steps through the program as it is. Each waits until what it speaks of was done, whatever else is
//! done meanwhile.

use super::{Choice, Overlay, Screen, State};
use crate::tui::keys::action::Action;

/// Where in the tour one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tour {
    pub step: usize,
    /// The box is put away; the tour waits.
    pub hidden: bool,
}

/// One step: what is seen, and which key comes next.
pub struct Step {
    pub title: &'static str,
    pub seen: &'static str,
    /// The key of this action, and what to do with it.
    pub key: Action,
    pub then: &'static str,
    /// It speaks of the panels below: the box stands above them.
    pub of_below: bool,
    done: fn(&State) -> bool,
}

pub const STEPS: [Step; 10] = [
    Step {
        title: "a prompt",
        seen: "Two models read what you type: the original, and a copy with half of its weights pruned away.",
        key: Action::Panel(1),
        then: "takes the first example, while the prompt is empty. Or type a sentence and press Enter.",
        of_below: false,
        done: |state| state.shown.is_some(),
    },
    Step {
        title: "latents",
        seen: "Each row is a latent of the SAE that fires on the selected token: how strongly on the original model, on the pruned one (transfer), and with the SAE pruned, too.",
        key: Action::LatentDown,
        then: "goes down the table. Tab comes out of the prompt first, if you are in it.",
        of_below: false,
        done: |state| state.choice == Choice::Moved,
    },
    Step {
        title: "tokens",
        seen: "The two strips above shade the prompt by the selected latent, in the original and in the pruned model.",
        key: Action::TokenLeft,
        then: "goes to the token before: the table is of that one.",
        of_below: false,
        done: |state| !state.at_end,
    },
    Step {
        title: "the ratio",
        seen: "The path on the right shows what a latent does at every pruning ratio of the SAE; the mark is where it dies.",
        key: Action::RatioUp,
        then: "prunes 5 % more. Go to 0.40 and watch latents weaken and die.",
        of_below: true,
        done: |state| state.knobs.position() >= 0.395,
    },
    Step {
        title: "back",
        seen: "Weights were ranked once: every ratio is exact, and so is the way back. The panel below says what the ratio costs on this prompt.",
        key: Action::RatioZero,
        then: "sets the ratio to 0: the column pruned is the column transfer, to the last digit.",
        of_below: true,
        done: |state| state.knobs.position() == 0.0,
    },
    Step {
        title: "finding",
        seen: "Any of the latents can be found: by number, by name, by what became of it, or by a word that it fires on or promotes.",
        key: Action::Find,
        then: "then type navy and press Enter for the first that fires on it.",
        of_below: false,
        done: |state| state.choice == Choice::Found && state.overlay.is_none(),
    },
    Step {
        title: "a name",
        seen: "A name is kept with the SAE's contents: it is there again in other sessions, and wherever the latent is shown.",
        key: Action::Name,
        then: "then write one and press Enter.",
        of_below: false,
        done: |state| state.latent.is_some_and(|latent| state.names.contains_key(&latent)),
    },
    Step {
        title: "the latent in full",
        seen: "Its density and histogram in every variant, and the texts on which it fires: has its meaning changed?",
        key: Action::OpenLatent,
        then: "opens it, from Explore.",
        of_below: false,
        done: |state| state.screen == Screen::Latent && state.latent_view.page.is_some(),
    },
    Step {
        title: "pushing it",
        seen: "A latent that does what you think changes what is said when it is taken away.",
        key: Action::Ablate,
        then: "ablates it in every variant, while the models read on.",
        of_below: false,
        done: |state| !state.edits.list.is_empty(),
    },
    Step {
        title: "what the models say",
        seen: "Next tokens of both models, with reconstructions in place, and with your edit: the same cause, the same effect?",
        key: Action::Predictions,
        then: "shows them. That was the tour: ? has all keys, m measures, e writes files, q leaves.",
        of_below: false,
        done: |state| state.screen == Screen::Predictions && !state.predictions.waiting,
    },
];

impl Tour {
    pub fn at(step: usize) -> Self {
        Self { step: step.min(STEPS.len() - 1), hidden: false }
    }

    /// The step after this one; none after the last.
    pub fn next(self) -> Option<Self> {
        (self.step + 1 < STEPS.len()).then(|| Self::at(self.step + 1))
    }
}

impl State {
    /// Go on past what was done; the last step stays until the box is put away.
    pub fn walk_on(&mut self) {
        // What is being written is not done yet.
        if matches!(self.overlay, Some(Overlay::Name { .. } | Overlay::Find(_))) {
            return;
        }
        while let Some(tour) = self.tour.filter(|tour| tour.step + 1 < STEPS.len() && (STEPS[tour.step].done)(self)) {
            self.tour = Some(Tour { step: tour.step + 1, ..tour });
        }
    }

    /// The last step was taken as well.
    pub fn toured(&self) -> bool {
        self.tour.is_some_and(|tour| tour.step + 1 == STEPS.len() && (STEPS[tour.step].done)(self))
    }
}
