//! How far a study is, read from its folder, from anywhere.

use serde::Serialize;

use super::{Group, Study, claim::Claims};

/// Of one group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupStatus {
    pub group: String,
    /// Names of its cells, and what became of them.
    pub cells: Vec<(String, CellStatus)>,
    /// Who works on it, and the seconds since a sign of them.
    pub worker: Option<(String, u64)>,
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

impl Study {
    /// Of all groups. Nothing is written.
    pub fn status(&self, claims: &Claims) -> Vec<GroupStatus> {
        // Signs are judged by the file server's clock where the folder can be written, else by this machine's.
        let now = claims.now().unwrap_or_else(|_| std::time::SystemTime::now());
        let status = |group: &Group| GroupStatus {
            group: group.name.clone(),
            cells: group.cells.iter().map(|cell| (cell.name.clone(), status_of(cell))).collect(),
            worker: claims.holder(&group.name, now).map(|(owner, silent)| (owner.to_string(), silent.as_secs())),
        };
        self.groups.iter().map(status).collect()
    }
}

fn status_of(cell: &super::Cell) -> CellStatus {
    match cell.is_done() {
        true => CellStatus::Done,
        false => cell.failure().map_or(CellStatus::Open, CellStatus::Failed),
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
