//! Language models with hooks.

pub mod hooks;

pub use hooks::{HookPoint, Site};
