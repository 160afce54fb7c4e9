//! Measurements in the background: what can be asked for and what it costs, and what is kept of it.

pub mod absorption;
pub mod checkpoint;
pub mod core;
pub mod estimate;
pub mod fingerprint;
pub mod fit;
pub mod keeper;
pub mod params;
pub mod ravel;
pub mod registry;
pub mod runs;
pub mod sweep;
pub mod texts;

pub use checkpoint::{Checkpoints, Claim, Header};
pub use estimate::{Estimate, Extent, Probe};
pub use keeper::{Keeper, Store};
pub use params::{Kind, Param, ParamValue, Params};
pub use registry::{Cost, FAMILIES, Family, JobSpec};
pub use runs::{Run, Runs};

pub use crate::metrics::job::{Job, JobProgress, Step};
