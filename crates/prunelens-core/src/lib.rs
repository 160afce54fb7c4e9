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
//! let half = session.setting.knob.at(0.5);
//! let readers = session.readers(half)?;
//! let mut prompt = Prompt::read(text, session.tokens(text)?, readers, half, &mut || Ok(()))?;
//! prompt.reconstruct(&mut || Ok(()))?;
//!
//! let comparison = prompt.comparison(None);
//! let explained = |variant| Some(comparison.view(variant)?.reconstruction?.explained_variance);
//! for variant in Variant::ALL {
//!     println!("{variant:<10} {:?} of the variance explained", explained(variant));
//! }
//! assert!(explained(Variant::Pruned) < explained(Variant::Transfer), "half of its weights are gone");
//! # Ok::<(), prunelens_core::error::Error>(())
//! ```
//!
//! Other models and SAEs are named by a [`session::SessionSpec`] with a [`session::Source`]. Nothing here reads the
//! environment, prints, or knows a command line.

#![warn(missing_docs)]

pub mod cache;
pub mod compare;
pub mod data;
pub mod demo;
pub mod digest;
pub mod edit;
pub mod files;
pub mod generate;
pub mod hub;
pub mod index;
mod linalg;
pub mod lock;
pub mod memory;
pub mod model;
pub mod optim;
pub mod progress;
pub mod prune;
pub mod rng;
pub mod sae;
pub mod session;
pub mod train;

pub use prunelens_kernels::{error, panics, text};
