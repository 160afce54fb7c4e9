//! A prompt continued token by token: by models alone, and by variants with edits in force.

mod choice;
mod continuation;
mod writer;

pub use choice::Choice;
pub use continuation::Continuation;
pub use writer::{End, Writer, Written, writers};
