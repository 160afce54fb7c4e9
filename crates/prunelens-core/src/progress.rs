//! How far a long piece of work is.

use crate::error::Result;

/// How far a long step of loading is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// The step, in words.
    pub what: String,
    /// Units done.
    pub done: u64,
    /// 0: unknown.
    pub total: u64,
    /// "bytes", "layers", "tokens" ...
    pub unit: &'static str,
}

/// Told how far the work is; an error ends it.
pub type Listener<'a> = &'a mut dyn FnMut(Progress) -> Result<()>;
