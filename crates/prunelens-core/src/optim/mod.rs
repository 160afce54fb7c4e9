//! Optimisers on plain slices.

pub mod adam;
pub mod lbfgs;
