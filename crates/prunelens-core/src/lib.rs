//! The library below `prunelens`: language models with hooks, sparse autoencoders, their pruning, and one prompt compared
//! through every variant.
//!
//! A [`session::Session`] is a model, its compressed copy and an SAE, loaded; a [`compare::Prompt`] is a text read through
//! all of its variants. The demo is compiled in:
//!
//! ```
//! use prunelens_core::{
//!     compare::{Prompt, Variant},
//!     session::{Session, SessionSpec},
//! };
//!
//! let spec = SessionSpec::demo();
//! let session = Session::load(&spec, &mut |_progress| Ok(()))?;
//!
//! let text = "The army and the navy";
//! let (ratio, criterion) = (0.5, spec.criterion);
//! let readers = session.readers(ratio, criterion)?;
//! let prompt = Prompt::read(text, session.tokens(text)?, readers, ratio, criterion, &mut || Ok(()))?;
//!
//! let comparison = prompt.comparison(None);
//! for view in &comparison.views {
//!     let active: usize = (0..comparison.tokens.len()).map(|token| view.latents.row(token).0.len()).sum();
//!     println!("{:<10} {active} active latents", view.variant);
//! }
//! let of = |variant| comparison.view(variant).map_or(0, |view| view.latents.values.len());
//! assert!(of(Variant::Pruned) < of(Variant::Transfer), "an SAE pruned by half fires less");
//! # Ok::<(), prunelens_core::error::Error>(())
//! ```
//!
//! Other models and SAEs are named by a [`session::SessionSpec`] with a [`session::Source`]. Nothing here reads the
//! environment, prints, or knows a command line.

pub mod compare;
pub mod data;
pub mod demo;
pub mod digest;
pub mod files;
pub mod hub;
pub mod model;
pub mod optim;
pub mod progress;
pub mod prune;
pub mod rng;
pub mod sae;
pub mod session;
pub mod train;

pub use prunelens_kernels::{error, panics, text};
