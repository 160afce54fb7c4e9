//! `prunelens`: what happens to a sparse autoencoder's latents when the language model under it is pruned.

pub mod bench;
pub mod cli;
pub mod compare;
pub mod config;
pub mod data;
pub mod demo;
pub mod doctor;
pub mod engine;
pub mod error;
pub mod export;
pub mod folders;
pub mod inspect;
pub mod interrupt;
pub mod jobs;
pub mod kernels;
pub mod logging;
pub mod metrics;
pub mod model;
pub mod output;
pub mod pages;
pub mod progress;
pub mod prune;
pub mod sae;
pub mod session;
pub mod text;
pub mod train;
