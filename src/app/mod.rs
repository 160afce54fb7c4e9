//! The explorer: one loop owns the state, everything else sends it messages.

pub mod action;
pub mod effect;
mod event;
pub mod keymap;
pub mod message;
pub mod options;
pub mod palette;
mod run;
pub mod script;
pub mod state;
mod terminal;
pub mod update;

pub use effect::Effect;
pub use event::message as message_of;
pub use keymap::Keymap;
pub use message::Message;
pub use options::{Look, Options, RenderOptions};
pub use run::run;
pub use script::render;
pub use state::State;
pub use update::{start, update};
