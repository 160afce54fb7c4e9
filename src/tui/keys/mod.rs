//! What a user can do: the table of actions, the keys that do them, and the search for them by words.

pub mod action;
pub mod keymap;
pub mod palette;

pub use keymap::Keymap;
