//! Finished runs: their settings, figures and details, kept for looking back and for comparing.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf, absolute},
};

use prunelens_core::{
    digest::sha256,
    error::{Error, Result},
    files::write_with_folders,
    session::Session,
};
use serde::{Deserialize, Serialize, Serializer};

use super::{JobSpec, checkpoint::millis};
use crate::{Detail, Metric, MetricTable, train::TrainJob};

/// One finished run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// When it was finished, in milliseconds since 1970; for people, and to sort by.
    pub when: u64,
    /// What was asked for.
    pub spec: JobSpec,
    /// What it was measured on, in a few words: model, pruning, SAE, hook.
    pub session: String,
    /// Of work, over all processes.
    pub seconds: f64,
    /// The figures.
    pub table: MetricTable,
    /// What else there is to show.
    pub details: Vec<Detail>,
    /// Result files written. Whoever looks for them later may be in another folder: they are kept with their whole paths.
    #[serde(serialize_with = "whole_paths")]
    pub files: Vec<PathBuf>,
    /// Everything that the outcome depends on, as the name of its checkpoint has it.
    #[serde(default)]
    pub key: String,
    /// Of the files, when they were written.
    #[serde(default)]
    pub sha256: Vec<String>,
}

/// A result file as a run wrote it: by now another run's may have its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFile {
    /// Where it was written.
    pub path: PathBuf,
    /// Of its contents; empty where an earlier version of the program has not kept it.
    pub sha256: String,
}

/// Runs kept; older ones go.
const KEPT: usize = 300;
/// A run's file is no larger than this.
const LONGEST: u64 = 32 << 20;

/// The folder of all runs.
#[derive(Clone, Debug)]
pub struct Runs {
    folder: PathBuf,
}

impl Runs {
    /// Files of finished runs lie in `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Keep a run.
    pub fn remember(&self, run: &Run) -> Result<()> {
        let json =
            serde_json::to_vec(run).map_err(|e| Error::file(&self.folder, format!("a run cannot be kept: {e}")))?;
        let family: String = run.spec.family.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        let name = format!("{:013}-{family}-{}.json", run.when, &uuid::Uuid::new_v4().simple().to_string()[..8]);
        write_with_folders(self.folder.join(name), &json)?;
        for old in self.names().into_iter().skip(KEPT) {
            // One that cannot go stays; it does no harm.
            let _ = fs::remove_file(self.folder.join(old));
        }
        Ok(())
    }

    /// The newest run that depends on the very same things, if its files are still below `folder` and whole.
    pub fn done(&self, key: &str, folder: &Path) -> Option<Run> {
        let folder = fs::canonicalize(folder).ok()?;
        let whole = |run: &Run| {
            let same = |(path, sum): (&PathBuf, &String)| {
                let inside = fs::canonicalize(path).is_ok_and(|path| path.starts_with(&folder));
                inside && digest(path).as_ref() == Some(sum)
            };
            run.files.len() == run.sha256.len() && run.files.iter().zip(&run.sha256).all(same)
        };
        // Figures and details of hundreds of runs are much to read for the one that is looked for.
        let of_it = self.names().into_iter().map(|name| self.folder.join(name)).filter(|path| {
            #[derive(Deserialize)]
            struct Of {
                #[serde(default)]
                key: String,
            }
            bytes(path).and_then(|bytes| serde_json::from_slice(&bytes).ok()).is_some_and(|of: Of| of.key == key)
        });
        of_it.filter_map(|path| read(&path)).find(whole)
    }

    /// The newest runs, newest first. Files that are not runs are passed over.
    pub fn recall(&self, most: usize) -> Vec<Run> {
        self.names().iter().filter_map(|name| read(&self.folder.join(name))).take(most).collect()
    }

    /// Names of files, the newest first.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> =
            names.filter(|n| n.ends_with(".json") && n.starts_with(|c: char| c.is_ascii_digit())).collect();
        names.sort_unstable_by(|a, b| b.cmp(a));
        names
    }
}

impl Run {
    /// Finished at this moment, with nothing written yet.
    pub fn now(spec: JobSpec, session: String, seconds: f64, table: MetricTable, details: Vec<Detail>) -> Self {
        let (key, files, sha256) = (String::new(), Vec::new(), Vec::new());
        Self { when: millis(), spec, session, seconds, table, details, files, key, sha256 }
    }

    /// Its files, and what they held.
    pub fn results(&self) -> impl Iterator<Item = RunFile> {
        let sums = self.sha256.iter().map(String::as_str).chain(std::iter::repeat(""));
        self.files.iter().zip(sums).map(|(path, sha256)| RunFile { path: path.clone(), sha256: sha256.to_owned() })
    }

    /// The folder of the SAE that it has trained, if it was a training.
    pub fn trained(&self) -> Option<PathBuf> {
        let file = self.files.first().filter(|_| self.spec.family == TrainJob::NAME)?;
        file.parent().map(Path::to_path_buf)
    }

    /// With the files that were written for it, and what it depends on.
    pub fn written(mut self, files: Vec<PathBuf>, key: String) -> Self {
        self.sha256 = files.iter().map(|path| digest(path).unwrap_or_default()).collect();
        (self.files, self.key) = (files, key);
        self
    }
}

fn digest(path: &Path) -> Option<String> {
    fs::read(path).ok().map(|bytes| sha256(&bytes))
}

fn whole_paths<S: Serializer>(files: &[PathBuf], to: S) -> std::result::Result<S::Ok, S::Error> {
    to.collect_seq(files.iter().map(|file| absolute(file).unwrap_or_else(|_| file.clone())))
}

/// What a session works on, in a few words.
pub fn label(session: &Session) -> String {
    let parts =
        [&session.models.original.name, &session.models.compression, &session.sae.label(), &session.hook.to_string()];
    parts.map(String::as_str).join(", ")
}

fn bytes(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(LONGEST).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn read(path: &Path) -> Option<Run> {
    let mut run: Run = serde_json::from_slice(&bytes(path)?).ok()?;
    // A table with ragged rows would be drawn in the wrong columns.
    let n = run.table.variants.len();
    run.table.rows.retain(|row| row.values.len() == n);
    Some(run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Better, MetricRow,
        details::{Cell, Series},
    };
    use prunelens_core::compare::Variant;

    fn run(when: u64) -> Run {
        let row = MetricRow {
            category: "c".into(),
            name: "n".into(),
            better: Better::Lower,
            values: vec![Some(0.1 + 0.2), None],
        };
        let table = MetricTable {
            metric: "core".into(),
            settings: vec![("hook".into(), "h".into())],
            variants: vec![Variant::Original, Variant::Pruned],
            rows: vec![row],
            warnings: vec!["w".into()],
            progress: 1.0,
            blocks: Vec::new(),
        };
        let cells = vec![vec![Cell::Text("a".into()), Cell::Number(0.5), Cell::Empty]];
        let line = Series { name: "s".into(), variant: None, points: vec![(0.0, f64::NAN), (1.0, 2.0)], mark: None };
        Run {
            when,
            spec: JobSpec::new("core"),
            session: "demo".into(),
            seconds: 1.5,
            table,
            details: vec![Detail::table("t", ["x", "y", "z"], cells), Detail::lines("l", "x", "y", vec![line])],
            files: vec!["a.json".into()],
            key: String::new(),
            sha256: Vec::new(),
        }
    }

    #[test]
    fn a_run_is_done_while_its_files_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let runs = Runs::new(folder.path().join("runs"));
        let file = folder.path().join("core.json");
        fs::write(&file, "figures").unwrap();
        runs.remember(&run(3).written(vec![file.clone()], "core-1".into())).unwrap();
        assert_eq!(runs.done("core-1", folder.path()).unwrap().when, 3);
        assert!(runs.done("core-2", folder.path()).is_none(), "another job");
        let other = tempfile::tempdir().unwrap();
        assert!(runs.done("core-1", other.path()).is_none(), "another folder");
        runs.remember(&run(4).written(vec!["core.json".into()], String::new())).unwrap();
        assert!(runs.recall(1)[0].files.iter().all(|file| file.is_absolute()), "it is found from any folder");
        fs::write(&file, "half").unwrap();
        assert!(runs.done("core-1", folder.path()).is_none(), "a file that was changed");
    }

    #[test]
    fn runs_come_back_newest_first() {
        let folder = tempfile::tempdir().unwrap();
        let runs = Runs::new(folder.path().join("runs"));
        assert!(runs.recall(10).is_empty());
        for when in [5, 1_700_000_000_000, 7] {
            runs.remember(&run(when)).unwrap();
        }
        fs::write(folder.path().join("runs/9-x.json"), "{}").unwrap();
        fs::write(folder.path().join("runs/notes.txt"), "").unwrap();
        let found = runs.recall(10);
        assert_eq!(found.iter().map(|r| r.when).collect::<Vec<_>>(), [1_700_000_000_000, 7, 5]);
        assert_eq!((&found[1].table, &found[1].details[0]), (&run(7).table, &run(7).details[0]));
        let text = |run: &Run| serde_json::to_string(run).unwrap();
        assert_eq!(text(&found[1]), text(&run(7)), "what is undefined stays so");
        assert_eq!(runs.recall(1).len(), 1);
    }

    #[test]
    fn figures_come_back_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let runs = Runs::new(folder.path().to_owned());
        let mut kept = run(1);
        kept.table.rows = (1..2000)
            .map(|i| MetricRow { values: vec![Some(f64::from(i).sqrt()), None], ..kept.table.rows[0].clone() })
            .collect();
        runs.remember(&kept).unwrap();
        assert_eq!(runs.recall(1)[0].table.rows, kept.table.rows);
    }
}
