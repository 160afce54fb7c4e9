//! What is on screen, for other programs: figures as JSON, CSV and Markdown, the screen as SVG, text and a recording.

pub mod cast;
pub mod comparison;
mod figures;
mod files;
pub mod svg;
pub mod table;
pub mod text;

pub use figures::{Document, Figures};
pub use files::{free_stem, write_atomically};
