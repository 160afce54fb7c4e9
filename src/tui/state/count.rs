//! A count before a move.

use std::time::Duration;

use crossterm::event::KeyEvent;

/// Most that a count can be.
pub const MOST: usize = 9999;

/// Digits typed so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Count {
    pub number: usize,
    /// The one digit, where it is a key of its own: it does what it does at this time if nothing follows.
    pub alone: Option<(KeyEvent, Duration)>,
}
