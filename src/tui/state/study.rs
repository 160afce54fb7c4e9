//! A study that is looked at: its cells as a grid, and the one that is selected.

use std::{path::PathBuf, sync::Arc, time::Duration};

use prunelens_metrics::Run;

use super::State;
use crate::study::{
    squares::{Overview, Square},
    watch::Seen,
};

#[derive(Clone, Debug, Default)]
pub struct StudyView {
    /// Of the study.
    pub folder: Option<PathBuf>,
    pub seen: Option<Arc<Seen>>,
    /// Why the folder cannot be looked at now.
    pub wrong: Option<String>,
    /// The selected row and column.
    pub row: usize,
    pub column: usize,
    /// Of the curves the one that is drawn.
    pub figure: usize,
    /// Row and column that were asked about last.
    pub asked: Option<(usize, usize)>,
    pub waiting: bool,
    /// When the folder is looked at again.
    pub due: Option<Duration>,
}

impl StudyView {
    pub fn overview(&self) -> Option<&Overview> {
        self.seen.as_ref().map(|seen| &*seen.overview)
    }

    /// Nothing is known yet.
    pub fn is_opening(&self) -> bool {
        self.folder.is_some() && self.seen.is_none() && self.wrong.is_none()
    }

    /// The selected group, and the cell's place in it if it has one there.
    pub fn cell(&self) -> Option<(usize, Option<usize>)> {
        let places = self.overview()?.places.get(self.row)?;
        Some((self.row, places.get(self.column).copied().flatten()))
    }

    pub fn square(&self) -> Option<&Square> {
        self.overview()?.square(self.row, self.column)
    }

    /// What was seen, if it is of the selected cell.
    pub fn current(&self) -> Option<&Seen> {
        let (row, cell) = self.cell()?;
        self.seen.as_deref().filter(|seen| seen.at == (row, cell.unwrap_or(0)))
    }

    /// The selected cell's result, or why it cannot be read.
    pub fn run(&self) -> Option<&Result<Arc<Run>, String>> {
        self.cell()?.1?;
        self.current()?.run.as_ref()
    }
}

impl State {
    /// When the study on screen is looked at again.
    pub fn look_due(&self) -> Option<Duration> {
        self.study.due.filter(|_| self.screen == super::Screen::Study)
    }
}
