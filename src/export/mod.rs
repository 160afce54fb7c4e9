//! What is on the screen, for other programs.

pub mod table;
