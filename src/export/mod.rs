//! What is on screen as files: figures as JSON, CSV and Markdown, the screen itself as SVG, text and a recording.

pub mod cast;
mod figures;
mod files;
pub mod svg;
pub mod text;

pub use figures::{Document, Figures};
pub use files::{free_stem, write_atomically};
