//! Metrics as runs and as jobs, the engine and its queue, without the program around them.

#![cfg(test)]

#[path = "../support/mod.rs"]
mod support;

mod absorption;
mod atlas;
mod core;
mod demo_data;
mod engine;
mod index;
mod jobs;
mod joined;
mod layers;
mod loaded;
mod logit_lens;
mod properties;
mod queue;
mod ravel;
mod sweep;
mod texts;
mod training;
