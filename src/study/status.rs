//! How far a study is, read from its folder, from anywhere.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::{Cell, Group, Study, claim::Claims};

/// Of one group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupStatus {
    pub group: String,
    /// Names of its cells, and what became of them.
    pub cells: Vec<(String, CellStatus)>,
    /// Who works on it, and the seconds since a sign of them.
    pub worker: Option<(String, u64)>,
    /// What they measure.
    pub working: Option<Working>,
}

/// Of one cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CellStatus {
    Done,
    /// Not measured yet.
    Open,
    /// It could not be measured; the next worker tries again.
    Failed(String),
}

/// A cell that is being measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Working {
    pub cell: String,
    /// Share that was done at its last checkpoint; short cells end before they have one.
    pub share: Option<f64>,
}

impl Study {
    /// Of all groups. Nothing is written but a probe of the file server's time.
    pub fn status(&self, claims: &Claims) -> Vec<GroupStatus> {
        // Signs are judged by the file server's clock where the folder can be written, else by this machine's.
        let now = claims.now().unwrap_or_else(|_| SystemTime::now());
        let claimed = claims.groups();
        let status = |group: &Group| {
            let (worker, working) = claimed
                .contains(&group.name)
                .then(|| self.worker(group, claims, now))
                .flatten()
                .map_or((None, None), |(who, silent, working)| (Some((who, silent.as_secs())), working));
            let begun = group.is_begun();
            let cell = |cell: &Cell| (cell.name.clone(), if begun { CellStatus::of(cell) } else { CellStatus::Open });
            GroupStatus { group: group.name.clone(), cells: group.cells.iter().map(cell).collect(), worker, working }
        };
        self.groups.iter().map(status).collect()
    }

    /// Who works on a group, since when there was no sign of them, and on what.
    pub(super) fn worker(
        &self,
        group: &Group,
        claims: &Claims,
        now: SystemTime,
    ) -> Option<(String, Duration, Option<Working>)> {
        let (owner, silent) = claims.holder(&group.name, now)?;
        let cell = owner.cell.as_ref().and_then(|name| group.cells.iter().find(|cell| cell.name == *name));
        let working = cell.map(|cell| Working {
            cell: cell.name.clone(),
            share: self.unfinished(group, Duration::ZERO).checkpoints().share(&cell.job),
        });
        Some((owner.to_string(), silent, working))
    }
}

impl Group {
    /// Something of it was measured, or tried.
    pub(super) fn is_begun(&self) -> bool {
        self.cells.first().and_then(|cell| cell.folder.parent()).is_some_and(std::path::Path::is_dir)
    }
}

impl CellStatus {
    pub(super) fn of(cell: &Cell) -> Self {
        match cell.is_done() {
            true => Self::Done,
            false => cell.failure().map_or(Self::Open, Self::Failed),
        }
    }
}

impl GroupStatus {
    pub fn done(&self) -> usize {
        self.cells.iter().filter(|(_, status)| *status == CellStatus::Done).count()
    }

    pub fn failed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.cells.iter().filter_map(|(name, status)| match status {
            CellStatus::Failed(why) => Some((name.as_str(), why.as_str())),
            _ => None,
        })
    }
}

/// All of it, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub done: usize,
    pub failed: usize,
    pub cells: usize,
    pub groups: usize,
    /// Groups that somebody works on.
    pub worked_on: usize,
}

impl Counts {
    pub fn of(status: &[GroupStatus]) -> Self {
        let sum = |of: fn(&GroupStatus) -> usize| status.iter().map(of).sum::<usize>();
        Self {
            done: sum(GroupStatus::done),
            failed: sum(|group| group.failed().count()),
            cells: sum(|group| group.cells.len()),
            groups: status.len(),
            worked_on: sum(|group| usize::from(group.worker.is_some())),
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} cells are there, in {} groups", self.done, self.cells, self.groups)?;
        if self.failed > 0 {
            write!(f, "; {} failed, and are tried again by the next run", self.failed)?;
        }
        match self.worked_on {
            0 => Ok(()),
            1 => write!(f, "; one group is worked on"),
            n => write!(f, "; {n} groups are worked on"),
        }
    }
}
