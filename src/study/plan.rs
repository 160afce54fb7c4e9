//! A study made into cells.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use candle_core::DType;
use prunelens_core::{
    digest::sha256,
    error::{Error, Result},
    hub::Environment,
    sae::Dial,
    session::SessionSpec,
};
use prunelens_metrics::{
    FAMILIES, JobSpec, MetricTable, ParamValue,
    details::Detail,
    fingerprint::{self, PathDigests},
    params::KNOB,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    StudyFile, Subject,
    cells::{self, plain},
};
use crate::settings::{Resolved, SessionSettings, Settings};

/// A study whose cells are known, in its folder.
#[derive(Debug)]
pub struct Study {
    pub file: StudyFile,
    pub groups: Vec<Group>,
    pub folder: PathBuf,
}

/// What is measured on one session: the models and SAEs are loaded once.
#[derive(Debug)]
pub struct Group {
    /// Fit for a file's name, and different from all others'.
    pub name: String,
    pub place: Place,
    pub spec: SessionSpec,
    /// What it was made from.
    pub settings: SessionSettings,
    /// In the order in which they are made: an SAE is trained before it is measured.
    pub cells: Vec<Cell>,
}

/// Where in the study something was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Name of the session.
    pub session: String,
    /// How the model is compressed, in words.
    pub compress: String,
    pub layer: Option<usize>,
    /// Of the SAE's training, where that is part of the study.
    pub seed: Option<u64>,
}

/// One measurement, and one result.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Within its group.
    pub name: String,
    pub job: JobSpec,
    /// All that it depends on.
    pub of: Value,
    /// Its folder.
    pub folder: PathBuf,
}

/// What is kept of a cell. Everything in it is decided by what the cell is of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    pub place: Place,
    /// Where it was measured: "cpu", or "cuda", whose figures differ in their last digits.
    pub device: String,
    pub job: JobSpec,
    pub table: MetricTable,
    pub details: Vec<Detail>,
}

/// The study of a folder.
pub const STUDY: &str = "study.json";

/// Where a study's cells are looked for, if nothing is said.
const FOLDER: &str = "study";
/// What a cell holds.
pub const CELL: &str = "cell.json";
/// How it was measured: time, device.
pub const RUN: &str = "run.json";
/// Why a cell could not be measured.
pub const FAILED: &str = "failed.json";

impl Study {
    /// The cells of a study's file, to be kept in `folder`.
    pub fn new(file: StudyFile, folder: &Path, environment: Environment) -> Result<Self> {
        let mut groups: Vec<Group> = Vec::new();
        let mut seen = PathDigests::new();
        for subject in &file.subjects {
            let layers =
                if subject.layers.is_empty() { vec![None] } else { subject.layers.iter().copied().map(Some).collect() };
            // Groups that share models stand together.
            let compressions = match &file.grid.compress {
                Some(all) if subject.is_compressed_here() => all.iter().map(Some).collect(),
                _ => vec![None],
            };
            for (at, compress) in compressions.into_iter().enumerate() {
                for layer in &layers {
                    let session = subject.at(*layer, (compress, at == 0), &file.origin.folder)?;
                    let mut session = Settings::default().resolve_over(session, environment)?;
                    // Cells are named before a device is known: all of a study's workers compute in one type.
                    let dtype = *session.spec.dtype.get_or_insert(DType::F32);
                    session.settings.model.dtype = Some(dtype);
                    groups.extend(Group::of(&file, subject, *layer, &session, folder, &mut seen)?);
                }
            }
        }
        for (at, group) in groups.iter().enumerate() {
            if groups[..at].iter().any(|other| other.name == group.name) {
                return Err(Error::file(
                    &file.origin.file,
                    format!("two groups are called {}: rename a session", group.name),
                ));
            }
        }
        Ok(Self { file, groups, folder: folder.to_path_buf() })
    }

    /// The study that was begun in a folder.
    pub fn open(folder: &Path, environment: Environment) -> Result<Self> {
        Self::read(folder, &Self::text(folder)?, environment)
    }

    /// One of a folder that it was begun in, or of a file, with its cells in `out`, or else in `study` here.
    pub fn at(study: &Path, out: Option<&Path>, environment: Environment) -> Result<Self> {
        let whole = |path: &Path| std::path::absolute(path).map_err(|e| Error::io(path, e));
        match (study.is_dir(), out) {
            (true, None) => Self::open(&whole(study)?, environment),
            (true, Some(_)) => {
                let text = format!("--out: {} is a folder with its cells already", study.display());
                Err(Error::Usage(text))
            }
            (false, out) => Self::new(StudyFile::read(study)?, &whole(out.unwrap_or(Path::new(FOLDER)))?, environment),
        }
    }

    /// What a folder has of the study that was begun there.
    pub fn text(folder: &Path) -> Result<Vec<u8>> {
        let path = folder.join(STUDY);
        cells::read_bounded(&path)?.ok_or_else(|| {
            Error::file(
                &path,
                "no such file: this folder holds no study; `prunelens study run STUDY.toml --out FOLDER` begins one",
            )
        })
    }

    /// The study that this text is of.
    pub fn read(folder: &Path, bytes: &[u8], environment: Environment) -> Result<Self> {
        let path = folder.join(STUDY);
        let origin = serde_json::from_slice(bytes).map_err(|e| Error::file(&path, format!("not a study: {e}")))?;
        Self::new(StudyFile::parse(origin)?, folder, environment)
    }

    /// From now on the folder is this study's; cells that are there stay.
    pub fn keep(&self) -> Result<()> {
        prunelens_core::files::create_folder(&self.folder)?;
        let text = serde_json::to_string_pretty(&self.file.origin).map_err(|e| Error::invalid(e.to_string()))?;
        let path = self.folder.join(STUDY);
        if std::fs::read(&path).is_ok_and(|kept| kept == text.as_bytes()) {
            return Ok(());
        }
        prunelens_core::files::write_atomic(path, text.as_bytes())
    }

    pub fn cells(&self) -> impl Iterator<Item = (&Group, &Cell)> {
        self.groups.iter().flat_map(Group::with_cells)
    }
}

impl Group {
    /// Its cells, each with the group.
    pub fn with_cells(&self) -> impl Iterator<Item = (&Self, &Cell)> {
        self.cells.iter().map(move |cell| (self, cell))
    }

    /// A group for each seed of training; one where nothing is trained.
    fn of(
        file: &StudyFile,
        subject: &Subject,
        layer: Option<usize>,
        Resolved { spec, settings, .. }: &Resolved,
        folder: &Path,
        seen: &mut PathDigests,
    ) -> Result<Vec<Self>> {
        let train = file.train.as_ref().filter(|_| spec.trained_sae.is_none());
        let seeds: Vec<Option<u64>> = match train {
            Some(_) => file.grid.seeds.iter().copied().map(Some).collect(),
            None => vec![None],
        };
        let compress = match &spec.pruned_model {
            Some(given) => given.words(),
            None => spec.compress.to_string(),
        };
        // The original may be compared with itself by a copy that was given.
        let short = spec.pruned_model.as_ref().map_or_else(|| compress.clone(), |_| "given".into());
        let group = |(at, seed): (usize, &Option<u64>)| {
            let place = Place { session: subject.name.clone(), compress: compress.clone(), layer, seed: *seed };
            let part = |name: &str, n: Option<u64>| n.map(|n| format!(" {name}{n}")).unwrap_or_default();
            let name = plain(&format!(
                "{}{} {short}{}",
                subject.name,
                part("layer", layer.map(|n| n as u64)),
                part("seed", *seed)
            ));
            let train = train.map(|train| {
                let seed = seed.unwrap_or_default();
                JobSpec::with(train.clone(), "seed", ParamValue::Number(seed as f64))
            });
            // Of another seed's group only the trained variant is new.
            let jobs = jobs(file, at > 0);
            let mut said = fingerprint::of_spec(spec, seen);
            let mut cells = Vec::new();
            if let Some(train) = train {
                // It learns from the session's text unless it names one.
                let named = match train.params.0.get("corpus") {
                    Some(ParamValue::Text(path)) => Some(PathBuf::from(path)),
                    _ => None,
                };
                let mut on = said.clone();
                if let (None, Some(path)) = (&named, &spec.corpus) {
                    on["corpus"] = fingerprint::of_path(path);
                }
                cells.push(Cell::new("train".into(), train.clone(), &on, &folder.join("cells").join(&name)));
                said["trained_sae"] = match named.as_ref().or(spec.corpus.as_ref()) {
                    Some(path) => json!({ "job": train, "corpus": fingerprint::of_path(path) }),
                    None => json!(train),
                };
            }
            for (cell, job) in jobs {
                cells.push(Cell::new(cell, job, &said, &folder.join("cells").join(&name)));
            }
            Self { name, place, spec: spec.clone(), settings: settings.clone(), cells }
        };
        Ok(seeds.iter().enumerate().map(group).collect())
    }
}

/// Names and jobs of a group's measurements.
fn jobs(file: &StudyFile, trained_alone: bool) -> Vec<(String, JobSpec)> {
    let grid = &file.grid;
    let mut all = Vec::new();
    for metric in &file.metrics {
        let Ok(family) = metric.family(FAMILIES) else { continue };
        let has = |name: &str| family.params.iter().any(|param| param.name == name);
        let mut job = metric.clone();
        // What a knob without a criterion does is the same by all of them.
        let dial = job.params.get::<Dial>(KNOB.name).ok().flatten();
        let ranks = dial.is_none_or(|dial| dial.knob().criterion().is_some());
        let mut fill = |name: &str, value: ParamValue| {
            if has(name) && !job.params.0.contains_key(name) {
                job.params.set(name, value);
            }
        };
        fill("ratios", ParamValue::Numbers(grid.ratios.clone()));
        if ranks {
            fill("criteria", ParamValue::Words(grid.criteria.clone()));
        }
        if trained_alone {
            // Families that cannot leave variants out tell nothing new of another seed.
            if has("variants") && !job.params.0.contains_key("variants") {
                let job = job.with("variants", ParamValue::Words(vec!["trained".into()]));
                all.push((metric.family.clone(), job));
            }
            continue;
        }
        let seeds: Vec<Option<u64>> = match has("seed") {
            true => grid.seeds.iter().copied().map(Some).collect(),
            false => vec![None],
        };
        let points: Vec<Option<(&str, f64)>> = match has("ratio") {
            true => {
                grid.criteria.iter().flat_map(|c| grid.ratios.iter().map(move |r| Some((c.as_str(), *r)))).collect()
            }
            false => vec![None],
        };
        for seed in &seeds {
            for (at, point) in points.iter().enumerate() {
                let (mut job, mut name) = (job.clone(), metric.family.clone());
                if let Some((criterion, ratio)) = point {
                    name += &format!(" {criterion} {ratio}");
                    job = job
                        .with("ratio", ParamValue::Number(*ratio))
                        .with("criterion", ParamValue::Text((*criterion).into()));
                    // The other variants are the same at every ratio.
                    if at > 0 && has("variants") {
                        if job
                            .params
                            .0
                            .get("variants")
                            .is_some_and(|v| !v.to_string().split(',').any(|v| v == "pruned"))
                        {
                            continue;
                        }
                        job = job.with("variants", ParamValue::Words(vec!["pruned".into()]));
                    }
                }
                if let Some(seed) = seed {
                    name += &format!(" seed{seed}");
                    job = job.with("seed", ParamValue::Number(*seed as f64));
                }
                all.push((name, job));
            }
        }
    }
    all
}

impl Cell {
    fn new(name: String, job: JobSpec, session: &Value, group: &Path) -> Self {
        let files =
            job.family(prunelens_metrics::JOBS).map_or(Value::Null, |family| fingerprint::of_files(family, &job));
        let of = json!({ "session": session, "job": job, "files": files });
        let key = &sha256(of.to_string().as_bytes())[..12];
        let folder = group.join(format!("{}-{key}", plain(&name)));
        Self { name, job, of, folder }
    }

    /// It makes the SAE that the others measure as `trained`.
    pub fn is_training(&self) -> bool {
        self.job.family == "train"
    }

    /// Its result is there.
    pub fn is_done(&self) -> bool {
        self.finished().is_some()
    }

    /// When its result was written, by the clock of the file server.
    pub fn finished(&self) -> Option<SystemTime> {
        let found = std::fs::metadata(self.folder.join(CELL)).ok().filter(std::fs::Metadata::is_file)?;
        found.modified().ok()
    }

    /// Its result; `None` if it is not there.
    pub fn figures(&self) -> Result<Option<Figures>> {
        let path = self.folder.join(CELL);
        let Some(cell) = cells::read::<Figures>(&path)? else { return Ok(None) };
        if cell.of != cells::of(self.of.clone())? {
            return Err(Error::file(
                &path,
                "it is of something else than its folder's name says; remove it, and it is measured again",
            ));
        }
        Ok(Some(cell.figures))
    }

    /// Why it could not be measured.
    pub fn failure(&self) -> Option<String> {
        let bytes = cells::read_bounded(&self.folder.join(FAILED)).ok()??;
        let failed: Value = serde_json::from_slice(&bytes).ok()?;
        failed["error"].as_str().map(|why| prunelens_core::text::shorten(why, 2000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::Origin;

    #[test]
    fn a_trained_sae_belongs_to_the_first_compression() {
        let folder = tempfile::tempdir().unwrap();
        ["sae", "trained"].iter().for_each(|name| std::fs::create_dir(folder.path().join(name)).unwrap());
        let trained = |train: &str| {
            let text = format!(
                "[session]\nsae = \"sae\"\ntrained-sae = \"trained\"\n[grid]\ncompress = [\"magnitude:0.5\", \"rtn:int8\"]\n\
                 [metrics.core]\n{train}"
            );
            let origin = Origin { file: "study.toml".into(), folder: folder.path().to_path_buf(), text };
            let study = Study::new(StudyFile::parse(origin).unwrap(), folder.path(), &|_| None).unwrap();
            let of = |group: &Group| (group.spec.trained_sae.is_some(), group.cells.iter().any(Cell::is_training));
            study.groups.iter().map(of).collect::<Vec<_>>()
        };
        assert_eq!(trained(""), [(true, false), (false, false)]);
        assert_eq!(trained("[train]\n"), [(true, false), (false, true)]);
    }

    fn study(folder: &Path, text: &str) -> Result<Study> {
        let origin = Origin { file: "study.toml".into(), folder: folder.to_path_buf(), text: text.into() };
        Study::new(StudyFile::parse(origin)?, folder, &|_| None)
    }

    #[test]
    fn a_training_is_of_the_text_that_its_session_has() {
        let folder = tempfile::tempdir().unwrap();
        let places = |text: &str| {
            std::fs::write(folder.path().join("corpus.txt"), text).unwrap();
            let file = "[session]\ncorpus = \"corpus.txt\"\n[grid]\ncompress = [\"magnitude:0.5\", \"rtn:int8\"]\n\
                        [metrics.core]\n[train]\n";
            let study = study(folder.path(), file).unwrap();
            let group = study.groups.iter().find(|group| group.cells.iter().any(Cell::is_training)).unwrap();
            group.cells.iter().map(|cell| cell.folder.clone()).collect::<Vec<_>>()
        };
        let (one, again, other) = (places("navy"), places("navy"), places("army"));
        assert_eq!(one, again);
        assert!(one.len() > 1 && one.iter().zip(&other).all(|(one, other)| one != other), "{one:?} {other:?}");
    }

    #[test]
    fn a_cell_of_a_layer_is_of_its_own_sae() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let write = |layer: usize, text: &str| {
            let sae = folder.join(format!("l{layer}"));
            std::fs::create_dir_all(&sae).unwrap();
            std::fs::write(sae.join("sae_weights.safetensors"), text).unwrap();
        };
        (1..3).for_each(|layer| write(layer, "weights"));
        let cells = |layers: &str| {
            let text = format!(
                "[session]\nsae = \"l{{layer}}\"\nhook = \"blocks.{{layer}}.hook_resid_post\"\nlayers = {layers}\n[metrics.core]\n"
            );
            let groups = study(folder, &text).map_err(|error| error.to_string())?.groups;
            let hooks: Vec<_> = groups.iter().map(|group| group.spec.hook.unwrap().layer).collect();
            let all = groups.iter().flat_map(|group| &group.cells).map(|cell| cell.folder.clone());
            Ok::<_, String>((hooks, all.collect::<Vec<_>>()))
        };
        let (hooks, before) = cells("[1, 2]").unwrap();
        assert_eq!(hooks, [1, 2]);
        write(1, "others");
        let (_, after) = cells("[1, 2]").unwrap();
        assert_eq!(before.iter().zip(&after).map(|(a, b)| a == b).collect::<Vec<_>>(), [false, true]);
        let why = cells("[1, 3]").unwrap_err();
        assert!(why.contains("l3: no such file or folder"), "{why}");
    }

    #[test]
    fn criteria_are_for_knobs_that_rank() {
        let folder = tempfile::tempdir().unwrap();
        let sweep = |knob: &str| {
            let text = format!("[grid]\ncriteria = [\"magnitude\", \"random\"]\n[metrics.sweep]\n{knob}");
            let study = study(folder.path(), &text).unwrap();
            study.groups[0].cells[0].job.params.0.contains_key("criteria")
        };
        assert!(sweep(""));
        assert!(!sweep("knob = \"bits\"\nratios = [4, 8]\n"));
    }
}
