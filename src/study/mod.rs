//! Studies: many sessions measured by plan, on one machine or on many, and what the results say together.
//!
//! A study's [file](StudyFile) is made into [groups](Group) of cells, a group for each model, compression, layer and seed of
//! training. A cell is one measurement; its folder is named by all that its outcome depends on, so a folder that is there is a
//! cell that is done. Nothing else is shared between processes but [claims](claim) on groups.

mod basis;
pub mod cells;
pub mod check;
pub mod claim;
mod curves;
pub mod decide;
pub mod diff;
mod file;
pub mod layer;
#[cfg(test)]
pub(crate) mod made;
mod plan;
pub mod reading;
pub mod redundancy;
pub mod results;
mod rows;
pub mod rules;
pub mod sharing;
#[cfg(test)]
mod simulation;
pub mod slurm;
pub mod squares;
pub mod status;
mod variant_at;
pub mod watch;
mod work;

pub use basis::Basis;
pub use file::{Grid, Origin, StudyFile, Subject};
pub use plan::{CELL, Cell, Figures, Group, Place, STUDY, Study};
pub use variant_at::VariantAt;
pub use work::{Before, Done, Worker};
