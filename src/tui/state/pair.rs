//! A second prompt beside the first: its latents, and which token stands beside which.

use std::sync::Arc;

use prunelens_core::compare::{Token, align};

use super::{Shown, Target};

#[derive(Clone, Debug)]
pub struct Pair {
    pub text: Arc<str>,
    /// What was asked for last, and whether it is still to come.
    pub asked: Option<(u64, Target)>,
    pub waiting: bool,
    pub shown: Option<Shown>,
    /// Tokens of the first and of the second prompt, in reading order.
    pub tokens: Vec<(Option<usize>, Option<usize>)>,
}

impl Pair {
    pub fn new(text: Arc<str>) -> Self {
        Self { text, asked: None, waiting: false, shown: None, tokens: Vec::new() }
    }

    /// Put the tokens beside those of the first prompt.
    pub fn align(&mut self, first: &[Token]) {
        let ids = |tokens: &[Token]| tokens.iter().map(|token| token.id).collect::<Vec<_>>();
        let second = self.shown.as_ref().map(|shown| ids(&shown.comparison.tokens)).unwrap_or_default();
        self.tokens = align(&ids(first), &second);
    }

    /// The token that stands beside one of the first prompt.
    pub fn beside(&self, token: usize) -> Option<usize> {
        self.tokens.iter().find(|(first, _)| *first == Some(token))?.1
    }

    /// What should be shown of it.
    pub fn target(&self, first: &Target) -> Target {
        Target { prompt: self.text.clone(), ..first.clone() }
    }
}
