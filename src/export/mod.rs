//! What is on screen, for other programs: figures as JSON, CSV and Markdown, the screen as SVG, text and a recording.

mod atlas;
pub mod cast;
pub mod color;
pub mod comparison;
pub mod details;
mod figures;
mod files;
mod runs;
pub mod svg;
pub mod svg_chart;
pub mod table;
pub mod text;

pub use atlas::AtlasFigures;
pub use figures::{Document, Figures};
pub use files::{free_stem, write_atomically};
pub use runs::RunFigures;
