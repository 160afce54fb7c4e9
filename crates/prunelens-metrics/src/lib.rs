//! Metrics as SAEBench computes them, as jobs: what can be asked for and what it costs, how it is run in small steps that
//! can be stopped and taken up again, and what is kept of it.

pub mod absorption;
pub mod checkpoint;
pub mod core;
pub mod details;
pub mod estimate;
pub mod fingerprint;
pub mod fit;
pub mod job;
pub mod keeper;
pub mod lbfgs;
pub mod params;
pub mod ravel;
pub mod registry;
pub mod report;
pub mod results;
pub mod runs;
pub mod scr_tpp;
pub mod sparse_probing;
pub mod subjects;
pub mod sweep;
pub mod table;
pub mod texts;

pub use checkpoint::{Checkpoints, Claim, Header};
pub use details::Detail;
pub use estimate::{Estimate, Extent, Probe};
pub use job::{Job, JobProgress, Step};
pub use keeper::{Keeper, Store};
pub use params::{Kind, Param, ParamValue, Params};
pub use registry::{Cost, FAMILIES, Family, JobSpec};
pub use runs::{Run, Runs};
pub use table::{Better, MetricRow, MetricTable};
