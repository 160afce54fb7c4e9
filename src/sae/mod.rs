//! Sparse autoencoders.

pub mod latents;

pub use latents::Latents;
