//! The work of a study: groups taken one after the other, and their cells measured.

use std::{
    fs,
    path::{Path, PathBuf, absolute},
    sync::Arc,
    time::{Duration, Instant},
};

use prunelens_core::{
    error::{Error, Result},
    files::{create_folder, write_atomic},
    progress::Tick,
    sae::formats,
    session::{Models, Session, SessionSpec},
};
use prunelens_kernels::gpu;
use prunelens_metrics::{JOBS, MetricTable, SavedProgress, Store};
use serde_json::json;

use super::{
    Cell, Group, Study, cells,
    claim::{Claim, Claims},
    plan::{CELL, FAILED, Figures, RUN},
    sharing::Passes,
};
use crate::{
    measurement::{Joined, Measured, Measurement, patiently},
    output,
};

/// One process that works on a study.
pub struct Worker<'a> {
    study: &'a Study,
    claims: Claims,
    /// Time between two checkpoints.
    every: Duration,
    /// How long what cannot be written is tried again.
    patience: Duration,
    /// Of the group before: the next one often has the same.
    models: Before,
    /// Is told of every cell, in words.
    listener: &'a mut dyn FnMut(&str) -> Result<()>,
    done: Done,
}

/// The models of the group before.
#[derive(Default)]
pub struct Before(Option<(SessionSpec, Models)>);

impl Before {
    /// The models of a session: those that are there, if they or their original are the same.
    pub fn of(&mut self, spec: &SessionSpec) -> Result<Models> {
        let listener = &mut output::listener();
        let models = match self.0.take() {
            Some((before, models)) if before.shares_models(spec) => models,
            Some((before, models)) if before.shares_original(spec) => models.with_copy(spec, listener)?,
            _ => Models::load(spec, listener)?,
        };
        self.0 = Some((spec.clone(), models.clone()));
        Ok(models)
    }
}

/// What a worker did.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Cells measured.
    pub measured: usize,
    /// Cells that were there.
    pub found: usize,
    /// Cells that could not be measured, and why.
    pub failed: Vec<(String, String)>,
    /// Groups that others work on.
    pub elsewhere: Vec<String>,
    /// Time of work.
    pub seconds: f64,
    /// Of the cells that were measured.
    pub passes: Passes,
}

/// Figures of a run that depend on the machine.
const OF_THE_MACHINE: [&str; 1] = ["tokens_per_second"];

impl<'a> Worker<'a> {
    pub fn new(
        study: &'a Study,
        claims: Claims,
        (every, patience): (Duration, Duration),
        listener: &'a mut dyn FnMut(&str) -> Result<()>,
    ) -> Self {
        Self { study, claims, every, patience, models: Before::default(), listener, done: Done::default() }
    }

    /// Work on these groups, as far as nobody else does. One that was left behind is waited for until its claim is lost.
    pub fn work<'g>(mut self, groups: impl IntoIterator<Item = &'g Group>, tick: Tick) -> Result<Done> {
        let started = Instant::now();
        let mut claimed = Vec::new();
        for group in groups {
            tick()?;
            let sign = self.claims.sign(&group.name);
            if !self.try_group(group, tick)? {
                claimed.push((group, sign));
            }
        }
        let pause = (self.claims.lease() / 20).clamp(Duration::from_millis(100), Duration::from_secs(5));
        while !claimed.is_empty() {
            tick()?;
            std::thread::sleep(pause);
            let mut still = Vec::new();
            for (group, sign) in claimed {
                let now = self.claims.sign(&group.name);
                if now.is_some() && now != sign && sign.is_some() {
                    // It was renewed: whoever has it lives.
                    self.done.elsewhere.push(group.name.clone());
                } else if !self.try_group(group, tick)? {
                    still.push((group, sign.or(now)));
                }
            }
            claimed = still;
        }
        self.done.seconds = started.elapsed().as_secs_f64();
        Ok(self.done)
    }

    /// Work on a group; false if somebody else does.
    fn try_group(&mut self, group: &Group, tick: Tick) -> Result<bool> {
        if group.cells.iter().all(Cell::is_done) {
            self.done.found += group.cells.len();
            return Ok(true);
        }
        let claim = patiently(self.patience, tick, || self.claims.take(&group.name))?;
        let Some(claim) = claim else { return Ok(false) };
        self.group(group, &claim, tick)?;
        Ok(true)
    }

    fn group(&mut self, group: &Group, claim: &Claim, tick: Tick) -> Result<()> {
        // Whoever had it before may have done it just now.
        let missing: Vec<&Cell> = group.cells.iter().filter(|cell| !cell.is_done()).collect();
        self.done.found += group.cells.len() - missing.len();
        if missing.is_empty() {
            return Ok(());
        }
        let loaded = self.session(group);
        let mut session = match loaded {
            Ok(session) => session,
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => {
                return missing.iter().try_for_each(|cell| self.failed(group, cell, &error, tick));
            }
        };
        // Cells that were looked at for others that read the same, and those that were read for with another.
        let (mut seen, mut joined): (Vec<&str>, Vec<&str>) = Default::default();
        for cell in &group.cells {
            if !cell.is_done() {
                let mut held = || match claim.is_held() {
                    true => tick(),
                    false => Err(Error::invalid(format!("{}: another worker took it over", group.name))),
                };
                claim.works_on(&cell.name);
                let alike = if seen.contains(&&*cell.name) { Vec::new() } else { group.to_do_like(cell) };
                seen.extend(alike.iter().map(|cell| &*cell.name));
                match self.join(group, &alike, &session, &mut held) {
                    Ok(others) => joined.extend(others),
                    Err(Error::Interrupted) => return Err(Error::Interrupted),
                    // Which of them it was shows when each is measured by itself.
                    Err(error) => {
                        (self.listener)(&format!("{} · {}: not read together: {error}", group.name, cell.name))?
                    }
                }
                match self.cell(group, cell, &session, claim, &mut held) {
                    Ok(seconds) => {
                        self.done.measured += 1;
                        let is_joined = joined.contains(&&*cell.name);
                        self.done.passes.add(Passes::of(&cell.job, &session, is_joined));
                        (self.listener)(&format!("{} · {}: {seconds:.1} s", group.name, cell.name))?;
                    }
                    Err(Error::Interrupted) => return Err(Error::Interrupted),
                    Err(_) if !claim.is_held() => {
                        (self.listener)(&format!("{}: another worker took it over", group.name))?;
                        self.done.elsewhere.push(group.name.clone());
                        return Ok(());
                    }
                    Err(error) => {
                        self.failed(group, cell, &error, tick)?;
                        if cell.is_training() {
                            return self.rest_failed(group, &error, tick);
                        }
                    }
                }
            }
            if cell.is_training() {
                session = match cell.joined(&session) {
                    Ok(session) => session,
                    // Other groups have theirs.
                    Err(error) => return self.rest_failed(group, &error, tick),
                };
            }
        }
        if group.cells.iter().all(Cell::is_done) {
            // Nothing is left that could go on from it.
            let _ = fs::remove_dir_all(self.study.unfinished(group, self.every).folder);
        }
        Ok(())
    }

    /// The group's session, on models that are there if they are the same.
    fn session(&mut self, group: &Group) -> Result<Session> {
        let spec = &group.spec;
        let listener = &mut output::listener();
        let models = self.models.of(spec)?;
        let session = Session::with_models(spec, models, listener)?;
        output::warn(&session.warnings);
        Ok(session)
    }

    /// Measure cells that read the same together, as far as their results; names of those that another was read for.
    fn join<'g>(&self, group: &Group, alike: &[&'g Cell], session: &Session, tick: Tick) -> Result<Vec<&'g str>> {
        let [first, _, ..] = alike else { return Ok(Vec::new()) };
        let checkpoints = self.study.unfinished(group, self.every).checkpoints();
        let checkpoints = &checkpoints.of(session);
        let family = first.job.family(JOBS)?;
        let known: Vec<Option<SavedProgress>> = alike.iter().map(|cell| checkpoints.known(family, &cell.job)).collect();
        let those = |wanted: fn(&Option<SavedProgress>) -> bool| {
            let wanted = alike.iter().zip(&known).filter(|(_, known)| wanted(known));
            wanted.map(|(cell, _)| *cell).collect::<Vec<&'g Cell>>()
        };
        let joined = |cells: &[&'g Cell]| Joined {
            session,
            specs: cells.iter().map(|cell| &cell.job).collect(),
            checkpoints,
            every: self.every,
            patience: self.patience,
        };
        // One that was begun by itself goes on by itself; one that is finished may be so because all were read together, and
        // that reading was not put away yet.
        let mut cells = those(|known| known.is_none_or(|known| known.finished));
        if !joined(&cells).is_begun() {
            cells = those(Option::is_none);
        }
        if !joined(&cells).run(tick)? {
            return Ok(Vec::new());
        }
        Ok(cells.into_iter().skip(1).map(|cell| &*cell.name).collect())
    }

    /// Measure one cell; its file comes last, when everything else is there.
    fn cell(&self, group: &Group, cell: &Cell, session: &Session, claim: &Claim, tick: Tick) -> Result<f64> {
        let store = self.study.unfinished(group, self.every);
        if cell.is_training() {
            // What an earlier worker wrote and could not finish.
            let _ = fs::remove_dir_all(cell.folder.join(SAES));
        }
        patiently(self.patience, tick, || create_folder(&cell.folder))?;
        let measurement =
            Measurement { session, spec: &cell.job, store: Some(&store), restart: false, patience: self.patience };
        let measured = measurement.run(&cell.folder, tick)?;
        patiently(self.patience, tick, || publish(group, cell, session, &measured, claim))?;
        let _ = fs::remove_file(cell.folder.join(FAILED));
        Ok(measured.run.seconds)
    }

    /// Without what the group trains its other cells would be of something else.
    fn rest_failed(&mut self, group: &Group, error: &Error, tick: Tick) -> Result<()> {
        let mut rest = group.cells.iter().filter(|cell| !cell.is_training() && !cell.is_done());
        rest.try_for_each(|cell| self.failed(group, cell, error, tick))
    }

    fn failed(&mut self, group: &Group, cell: &Cell, error: &Error, tick: Tick) -> Result<()> {
        let failed = json!({ "error": error.to_string(), "of": cell.of });
        patiently(self.patience, tick, || {
            create_folder(&cell.folder)?;
            write_atomic(cell.folder.join(FAILED), (output::json(&failed)? + "\n").as_bytes())
        })?;
        let name = format!("{} · {}", group.name, cell.name);
        (self.listener)(&format!("{name}: failed: {error}"))?;
        self.done.failed.push((name, error.to_string()));
        Ok(())
    }
}

const SAES: &str = "saes";

fn publish(group: &Group, cell: &Cell, session: &Session, measured: &Measured, claim: &Claim) -> Result<()> {
    if !claim.is_held() {
        return Err(Error::invalid(format!("{}: another worker took it over", group.name)));
    }
    let run = &measured.run;
    let about = json!({
        "seconds": run.seconds,
        "finished": run.when,
        "threads": rayon::current_num_threads(),
        "device": gpu::name(&session.models.original.device),
        "remarks": measured.remarks,
        "rates": run.table.rows.iter().filter(|row| OF_THE_MACHINE.contains(&row.name.as_str())).collect::<Vec<_>>(),
        "files": inside(&cell.folder, &run.files),
    });
    write_atomic(cell.folder.join(RUN), (output::json(&about)? + "\n").as_bytes())?;
    let mut table: MetricTable = run.table.clone();
    table.rows.retain(|row| !OF_THE_MACHINE.contains(&row.name.as_str()));
    let figures = Figures {
        place: group.place.clone(),
        device: if session.models.original.device.is_cpu() { "cpu" } else { "cuda" }.into(),
        job: cell.job.clone(),
        table,
        details: run.details.clone(),
    };
    cells::write(&cell.folder.join(CELL), &cell.of, &figures)
}

/// Files of a folder by their names in it. A run that was measured before has whole paths, and a study's folder may be given from
/// where one stands.
fn inside(folder: &Path, files: &[PathBuf]) -> Vec<PathBuf> {
    let whole = |path: &Path| absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let folder = whole(folder);
    files.iter().filter_map(|path| Some(whole(path).strip_prefix(&folder).ok()?.to_path_buf())).collect()
}

impl Group {
    /// Cells that are not there and read what this one reads.
    fn to_do_like(&self, cell: &Cell) -> Vec<&Cell> {
        self.cells.iter().filter(|other| !other.is_done() && other.job.reads_like(&cell.job)).collect()
    }
}

impl Study {
    /// Where checkpoints of a group are.
    pub(super) fn unfinished(&self, group: &Group, every: Duration) -> Store {
        // The claim keeps others away.
        Store { folder: self.folder.join("unfinished").join(&group.name), every, locked: false }
    }
}

impl Cell {
    /// A session with the SAE that it trained.
    fn joined(&self, session: &Session) -> Result<Session> {
        let folder = self.trained()?;
        session.with_trained(Arc::new(formats::load(&folder)?), &folder)
    }

    /// The SAE that it trained.
    pub(super) fn trained(&self) -> Result<PathBuf> {
        let saes = self.folder.join(SAES);
        let entries = fs::read_dir(&saes).map_err(|e| Error::io(&saes, e))?;
        let folders: Vec<PathBuf> =
            entries.flatten().map(|e| e.path()).filter(|path| path.join("cfg.json").is_file()).collect();
        match &folders[..] {
            [one] => Ok(one.clone()),
            _ => Err(Error::file(
                &saes,
                format!("expected one trained SAE, found {}; remove the cell's folder", folders.len()),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_cell_go_by_their_names_in_it() {
        let folder = Path::new("study/cells/core");
        let own = ["study/cells/core/core/a.json".into(), absolute("study/cells/core/core/b.json").unwrap()];
        let names = |folder: &Path| inside(folder, &own);
        let expected = ["core/a.json", "core/b.json"].map(PathBuf::from);
        assert_eq!(names(folder), expected);
        assert_eq!(names(&absolute(folder).unwrap()), expected);
        assert!(inside(folder, &["elsewhere/a.json".into()]).is_empty());
    }
}
