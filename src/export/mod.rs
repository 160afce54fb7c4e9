//! What is on screen, for others: figures as JSON, CSV and Markdown, a view as HTML, the screen as SVG, text and a recording.

mod atlas;
pub mod atlas_report;
pub mod cast;
pub mod charts;
pub mod color;
pub mod comparison;
pub mod details;
mod figures;
mod files;
pub mod html;
mod markup;
pub mod pair;
mod runs;
mod strip;
pub mod study;
pub mod svg;
pub mod svg_chart;
pub mod table;
pub mod text;

pub use atlas::AtlasFigures;
pub use figures::{Document, Figures};
pub use files::free_stem;
pub use runs::RunFigures;
pub use strip::StripFigures;
