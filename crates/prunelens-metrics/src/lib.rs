//! Measurements as SAEBench makes them: what can be asked for, what it costs, the work in small steps, and what is kept
//! of it. A family has a folder of its own and a line in [`registry`].

#![warn(missing_docs)]

pub mod absorption;
pub mod atlas;
pub mod checkpoint;
pub mod core;
pub mod data;
pub mod defaults;
pub mod details;
pub mod estimate;
pub mod fingerprint;
pub mod fit;
pub mod job;
pub mod keeper;
pub mod metric;
pub mod params;
pub mod ravel;
pub mod readers;
pub mod registry;
pub mod report;
pub mod results;
pub mod runs;
pub mod scr_tpp;
pub mod sparse_probing;
pub mod statistics;
pub mod study;
pub mod sweep;
pub mod table;
pub mod texts;
pub mod train;

pub use checkpoint::{Checkpoints, Claim, Header, SavedProgress, SessionCheckpoints};
pub use defaults::Defaults;
pub use details::Detail;
pub use estimate::{Estimate, Extent, Probe};
pub use job::{Job, JobProgress, Measure, SessionJob, Step};
pub use keeper::{Keeper, Store};
pub use metric::{Cost, Family, JobSpec, Metric};
pub use params::{Kind, Param, ParamValue, Params};
pub use registry::{FAMILIES, JOBS};
pub use runs::{Run, RunFile, Runs};
pub use table::{Better, MetricRow, MetricTable};
