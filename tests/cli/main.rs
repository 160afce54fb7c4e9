//! The program run as others run it: commands, what they write, what they refuse.

#![cfg(test)]

#[path = "../support/mod.rs"]
mod support;

mod book;
mod commands;
mod conventions;
mod hostile;
#[cfg(unix)]
mod hub;
#[cfg(unix)]
mod killed;
#[cfg(unix)]
mod packaging;
mod prune;
mod prune_sae;
mod readme;
mod studies;
mod study;
mod study_report;
mod train;
mod train_pieces;
