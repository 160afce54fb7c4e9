//! The explorer: one loop owns the state, everything else sends it messages.
//!
//! `keys` and `state` are plain data; `update` changes the state and `view` draws it, and neither knows the other; `theme`
//! and `widgets` know no state. `run` holds the loop, `script` plays keys without a terminal.

mod event;
mod explanations;
pub mod keys;
mod named;
pub mod options;
mod pace;
mod recorder;
mod remembered;
mod run;
pub mod script;
mod standing;
pub mod state;
pub mod studies;
mod terminal;
pub mod theme;
pub mod update;
pub mod view;
pub mod views;
mod waits;
pub mod widgets;

pub use event::message as message_of;
pub use keys::Keymap;
pub use options::{Look, Options, RenderOptions};
pub use run::run;
pub use script::render;
pub use state::State;
pub use update::{Effect, Message, start, update};
