//! `prunelens`: what happens to a sparse autoencoder's latents when the language model under it is pruned.

pub mod ansi;
pub mod bench;
pub mod built;
pub mod cli;
pub mod doctor;
pub mod engine;
pub mod export;
pub mod folders;
pub mod interrupt;
pub mod logging;
pub mod measurement;
pub mod output;
pub mod presets;
pub mod process;
pub mod safe;
pub mod settings;
pub mod study;
pub mod threads;
pub mod training;
pub mod tui;
pub mod words;
