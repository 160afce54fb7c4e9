//! A study that is looked at while others work on it: what is there is read once.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prunelens_core::{error::Result, hub::Environment};
use prunelens_metrics::{Detail, Run, checkpoint::millis};

use super::{
    CELL, Cell, Group, Study, cells,
    claim::Claims,
    curves,
    plan::RUN,
    results::Results,
    squares::{Overview, Pace, Row, Square},
    status::CellStatus,
};
use crate::settings::SessionSettings;

/// One cell, by its group and its place in that.
pub type Place = (usize, usize);

/// What a look at a study shows.
#[derive(Clone, Debug)]
pub struct Seen {
    pub overview: Arc<Overview>,
    /// The cell that was asked about.
    pub at: Place,
    /// Its result, or why it cannot be read; `None` where there is none.
    pub run: Option<Result<Arc<Run>, String>>,
    /// Figures against the ratio, of all seeds of its session.
    pub curves: Arc<Vec<Detail>>,
    /// When that was, in milliseconds since 1970.
    pub when: u64,
    /// How long it took to look.
    pub took: Duration,
}

/// Looks at one study.
pub struct Watch {
    study: Study,
    /// What its folder had of it: another text is another study.
    text: Vec<u8>,
    claims: Claims,
    /// Clock of the file server, less that of this machine, in seconds.
    ahead: f64,
    /// When cells were done, for each group. What is done stays.
    done: Vec<Vec<Option<SystemTime>>>,
    overview: Arc<Overview>,
    /// Of the cell asked about last: with what was known then of its session's cells.
    curves: (Vec<(usize, usize)>, Arc<Vec<Detail>>),
    run: Option<(Place, Result<Arc<Run>, String>)>,
}

impl Watch {
    /// The study of a folder. Nothing but a probe of its clock is ever written.
    pub fn open(folder: &Path, environment: Environment) -> Result<Self> {
        let text = Study::text(folder)?;
        let study = Study::read(folder, &text, environment)?;
        let claims = Claims::to_look_at(folder);
        let here = SystemTime::now();
        // A folder that cannot be written, or has no claims yet, is judged by the clock here.
        let ahead = claims.now().map_or(0.0, |there| seconds(there) - seconds(here));
        let done = study.groups.iter().map(|group| vec![None; group.cells.len()]).collect();
        let (overview, curves) = (Arc::new(Overview::of(&study)), (Vec::new(), Arc::default()));
        Ok(Self { study, text, claims, ahead, done, overview, curves, run: None })
    }

    /// The folder still holds this study.
    pub fn is_current(&self) -> Result<bool> {
        Ok(Study::text(&self.study.folder)? == self.text)
    }

    /// How far it is, and all of one cell.
    pub fn look(&mut self, at: Place) -> Seen {
        let started = std::time::Instant::now();
        let at = (at.0.min(self.study.groups.len().saturating_sub(1)), at.1);
        self.overview();
        let (run, curves) = match self.study.groups.is_empty() {
            true => (None, Arc::default()),
            false => (self.run(at), self.curves(at.0)),
        };
        let (overview, when) = (self.overview.clone(), millis());
        Seen { overview, at, run, curves, when, took: started.elapsed() }
    }

    /// What the session of a cell is made from, with the SAE that the study trained for it if there is one.
    pub fn session(&self, group: usize) -> Result<SessionSettings> {
        let group = self
            .study
            .groups
            .get(group)
            .ok_or_else(|| prunelens_core::error::Error::invalid("the study has no such session any more"))?;
        let mut settings = group.settings.clone();
        if let Some(cell) = group.cells.iter().find(|cell| cell.is_training() && cell.is_done()) {
            settings.trained_sae = Some(cell.trained()?);
        }
        Ok(settings)
    }

    fn overview(&mut self) {
        let ahead = Duration::try_from_secs_f64(self.ahead.abs()).unwrap_or_default();
        let here = SystemTime::now();
        let now = if self.ahead < 0.0 { here.checked_sub(ahead) } else { here.checked_add(ahead) }.unwrap_or(here);
        let claimed = self.claims.groups();
        let mut rows = Vec::with_capacity(self.study.groups.len());
        for (group, done) in self.study.groups.iter().zip(&mut self.done) {
            let worker = claimed.contains(&group.name).then(|| self.study.worker(group, &self.claims, now)).flatten();
            let begun = done.iter().any(Option::is_none) && group.is_begun();
            let squares = group.cells.iter().zip(done).map(|(cell, done)| {
                *done = done.or_else(|| begun.then(|| cell.finished()).flatten());
                let working = worker.as_ref().and_then(|(.., working)| working.as_ref());
                match (*done, working) {
                    (Some(_), _) => Square::Done,
                    (None, Some(working)) if working.cell == cell.name => Square::Working(working.share),
                    _ if begun => match CellStatus::of(cell) {
                        CellStatus::Failed(why) => Square::Failed(why),
                        CellStatus::Done | CellStatus::Open => Square::Waiting,
                    },
                    _ => Square::Waiting,
                }
            });
            rows.push(Row { squares: squares.collect(), worker: worker.as_ref().map(|(who, ..)| who.clone()) });
        }
        let mut times: Vec<f64> = self.done.iter().flatten().flatten().map(|time| seconds(*time)).collect();
        let pace = Pace::of(&mut times);
        if rows != self.overview.rows || pace != self.overview.pace {
            let mut overview = Overview::clone(&self.overview);
            (overview.rows, overview.pace) = (rows, pace);
            self.overview = overview.into();
        }
    }

    fn run(&mut self, at: Place) -> Option<Result<Arc<Run>, String>> {
        let (group, known) = (&self.study.groups[at.0], &mut self.done[at.0]);
        let (cell, done) = (group.cells.get(at.1)?, known.get_mut(at.1)?);
        (*done)?;
        if let Some((of, run)) = self.run.as_ref().filter(|(_, run)| run.is_ok())
            && *of == at
        {
            return Some(run.clone());
        }
        let run = match read(&self.overview.names[at.0], cell) {
            Ok(Some(run)) => Ok(Arc::new(run)),
            Ok(None) => {
                // Somebody took it away: it is measured again.
                *done = None;
                return None;
            }
            Err(error) => Err(error.to_string()),
        };
        self.run = Some((at, run.clone()));
        Some(run)
    }

    fn curves(&mut self, group: usize) -> Arc<Vec<Detail>> {
        let place = &self.study.groups[group].place;
        let is_of_it = |other: &Group| {
            let other = &other.place;
            (&other.session, &other.compress, other.layer) == (&place.session, &place.compress, place.layer)
        };
        let all = || self.study.groups.iter().enumerate().filter(|(_, other)| is_of_it(other));
        let known: Vec<(usize, usize)> = all().map(|(at, _)| (at, self.done[at].iter().flatten().count())).collect();
        if known != self.curves.0 {
            let results = Results::of_groups(all().map(|(_, group)| group));
            self.curves = (known, Arc::new(curves::of(&results, place)));
        }
        self.curves.1.clone()
    }
}

/// A cell's result as a run that was made earlier; `None` where there is none.
fn read(session: &str, cell: &Cell) -> Result<Option<Run>> {
    let Some(figures) = cell.figures()? else { return Ok(None) };
    let about = cells::read_bounded(&cell.folder.join(RUN)).ok().flatten();
    let about: serde_json::Value = about.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let files = about["files"].as_array().into_iter().flatten();
    let inside = |path: &&Path| path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    let mut files: Vec<PathBuf> = files
        .filter_map(|path| path.as_str().map(Path::new))
        .filter(inside)
        .map(|path| cell.folder.join(path))
        .collect();
    files.push(cell.folder.join(CELL));
    Ok(Some(Run {
        when: about["finished"].as_u64().unwrap_or_default(),
        spec: figures.job,
        session: session.to_owned(),
        seconds: about["seconds"].as_f64().unwrap_or_default(),
        table: figures.table,
        details: figures.details,
        files,
        key: String::new(),
        sha256: Vec::new(),
    }))
}

/// Since 1970; a time before that counts as then.
fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}
