//! A study's file: what is measured, in TOML.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use prunelens_core::{
    error::{Error, Result},
    sae::{Criterion, MAX_RATIO},
    session::Compress,
};
use prunelens_metrics::{FAMILIES, JOBS, JobSpec, ParamValue, Params, params::KNOB};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::{check::Bound, decide::Rules};
use crate::{
    presets,
    settings::{self, SessionFile, SessionSettings, Settings, toml_text, values},
};

/// What a study measures, before it is made into cells.
#[derive(Clone, Debug)]
pub struct StudyFile {
    /// Models with their SAEs, in the order of the file.
    pub subjects: Vec<Subject>,
    pub grid: Grid,
    /// In the order of `prunelens metrics`.
    pub metrics: Vec<JobSpec>,
    /// How the variant `trained` is made where no SAE is given for it.
    pub train: Option<JobSpec>,
    pub decide: Rules,
    pub bounds: Vec<Bound>,
    /// Where it was read.
    pub origin: Origin,
}

/// A study's text and where it is from: paths in it are meant from there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    pub file: PathBuf,
    pub folder: PathBuf,
    pub text: String,
}

/// A model and its SAEs.
#[derive(Clone, Debug)]
pub struct Subject {
    pub name: String,
    /// Of the SAEs; empty where there is one.
    pub layers: Vec<usize>,
    settings: Settings,
    preset: Option<String>,
}

/// What everything is measured at.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grid {
    /// How the model is compressed, as --compress spells it.
    #[serde(deserialize_with = "settings::values::from_texts")]
    pub compress: Option<Vec<Compress>>,
    /// Of the variant `pruned`. All variants are measured with the first.
    pub ratios: Vec<f64>,
    /// How its weights are ranked.
    pub criteria: Vec<String>,
    /// Of what is drawn: probes, and SAEs that are trained here.
    pub seeds: Vec<u64>,
}

impl Default for Grid {
    fn default() -> Self {
        Self { compress: None, ratios: vec![0.25], criteria: vec!["wanda".into()], seeds: vec![0] }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    session: Table,
    #[serde(default)]
    sessions: Vec<Table>,
    #[serde(default)]
    grid: Grid,
    #[serde(default)]
    metrics: BTreeMap<String, Params>,
    train: Option<Params>,
    #[serde(default)]
    decide: Rules,
    #[serde(default)]
    bounds: Vec<Bound>,
}

/// Keys of session files that the study has another place for.
const ELSEWHERE: [(&str, &str); 6] = [
    ("compress", "[grid] has the compressions: compress = [\"wanda:0.5\"]"),
    ("ratio", "[grid] has the ratios: ratios = [0.25]"),
    ("criterion", "[grid] has the criteria: criteria = [\"wanda\"]"),
    ("knob", "cells are at the ratios of [grid]; [metrics.sweep] takes a knob of its own: knob = \"latents\""),
    ("layer", "a session lists its layers: layers = [3, 9]"),
    ("results", "--out has the folder"),
];

impl StudyFile {
    pub fn read(path: &Path) -> Result<Self> {
        let file = std::path::absolute(path).map_err(|e| Error::io(path, e))?;
        let folder = file.parent().unwrap_or(Path::new("/")).to_path_buf();
        let text = toml_text(path, "a study")?;
        Self::parse(Origin { file, folder, text })
    }

    pub fn parse(origin: Origin) -> Result<Self> {
        let wrong = |message: &str| Error::file(&origin.file, message.to_owned());
        let raw: Raw = toml::from_str(&origin.text).map_err(|e| {
            let line = e.span().map(|span| 1 + origin.text[..span.start].matches('\n').count());
            wrong(&format!("{}{}", line.map(|n| format!("line {n}: ")).unwrap_or_default(), e.message()))
        })?;
        let mut metrics = Vec::new();
        for (name, params) in &raw.metrics {
            let spec = JobSpec { family: name.replace('-', "_"), params: params.clone() };
            metrics.push(
                with_paths(spec, FAMILIES, &origin.folder).map_err(|e| wrong(&format!("[metrics.{name}]: {e}")))?,
            );
        }
        if metrics.is_empty() {
            let names: Vec<_> = FAMILIES.iter().map(|family| format!("[metrics.{}]", family.name)).collect();
            return Err(wrong(&format!("it measures nothing: add one of {}", names.join(", "))));
        }
        metrics.sort_by_key(|spec| FAMILIES.iter().position(|family| family.name == spec.family));
        let train =
            raw.train.map(|params| with_paths(JobSpec { family: "train".into(), params }, JOBS, &origin.folder));
        let train = train.transpose().map_err(|e| wrong(&format!("[train]: {e}")))?;
        check_grid(&raw.grid).map_err(|why| wrong(&format!("[grid]: {why}")))?;
        let subjects = subjects(raw.session, raw.sessions, &origin)?;
        for bound in &raw.bounds {
            bound.check().map_err(|why| wrong(&format!("[[bounds]]: {why}")))?;
        }
        Ok(Self { subjects, grid: raw.grid, metrics, train, decide: raw.decide, bounds: raw.bounds, origin })
    }
}

/// A job whose parameters fit, with paths from the study's folder.
fn with_paths(mut spec: JobSpec, families: &[prunelens_metrics::Family], folder: &Path) -> Result<JobSpec> {
    let family = spec.family(families)?;
    for param in family.params {
        match spec.params.0.get_mut(param.name) {
            Some(ParamValue::Text(path)) if param.kind.is_place(path) => {
                *path = folder.join(&*path).display().to_string();
            }
            _ => {}
        }
    }
    for name in ["ratio", "criterion", "seed"] {
        if spec.params.0.contains_key(name) {
            return Err(Error::Usage(format!("{name}: [grid] has it for all cells")));
        }
    }
    // A sweep and an atlas say which knob they are of; what is measured at one setting would stand there as of a ratio.
    if !["sweep", "atlas"].contains(&spec.family.as_str()) && spec.params.0.contains_key(KNOB.name) {
        return Err(Error::Usage(format!("{}: cells are at the ratios of [grid]", KNOB.name)));
    }
    Ok(spec)
}

fn check_grid(grid: &Grid) -> Result<(), String> {
    let empty = [
        ("compress", grid.compress.as_ref().is_some_and(Vec::is_empty)),
        ("ratios", grid.ratios.is_empty()),
        ("criteria", grid.criteria.is_empty()),
        ("seeds", grid.seeds.is_empty()),
    ];
    if let Some((name, _)) = empty.iter().find(|(_, empty)| *empty) {
        return Err(format!("{name} is empty; leave it out for the default"));
    }
    if let Some(ratio) = grid.ratios.iter().find(|ratio| !(0.0..=MAX_RATIO).contains(*ratio)) {
        return Err(format!("ratios: {ratio} is not from 0 to {MAX_RATIO}"));
    }
    for criterion in &grid.criteria {
        criterion.parse::<Criterion>().map_err(|e| format!("criteria: {e}"))?;
    }
    let twice = |name: &str, all: Vec<String>| match all.iter().enumerate().find(|(at, one)| all[..*at].contains(one)) {
        Some((_, one)) => Err(format!("{name}: {one} is there twice")),
        None => Ok(()),
    };
    let words = |all: &[Compress]| all.iter().map(ToString::to_string).collect();
    twice("compress", grid.compress.as_deref().map(words).unwrap_or_default())?;
    twice("ratios", grid.ratios.iter().map(ToString::to_string).collect())?;
    twice("criteria", grid.criteria.clone())?;
    twice("seeds", grid.seeds.iter().map(ToString::to_string).collect())
}

fn subjects(common: Table, entries: Vec<Table>, origin: &Origin) -> Result<Vec<Subject>> {
    let entries = if entries.is_empty() { vec![Table::new()] } else { entries };
    let mut all: Vec<Subject> = Vec::new();
    for (at, entry) in entries.into_iter().enumerate() {
        let mut table = common.clone();
        table.extend(entry);
        let subject = subject(table, at, origin)?;
        if all.iter().any(|other| other.name == subject.name) {
            let why = format!("two sessions are called {:?}; give each a name of its own", subject.name);
            return Err(Error::file(&origin.file, why));
        }
        all.push(subject);
    }
    Ok(all)
}

fn subject(mut table: Table, at: usize, origin: &Origin) -> Result<Subject> {
    let label = origin.file.with_file_name(format!("{}: session {}", file_name(&origin.file), at + 1));
    let wrong = |why: String| Error::file(&label, why);
    if let Some((key, instead)) = ELSEWHERE.iter().find(|(key, _)| table.contains_key(*key)) {
        return Err(wrong(format!("{key} does not stand in a study's session: {instead}")));
    }
    let mut text = |key: &str| match table.remove(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(wrong(format!("{key}: expected text, found {}", other.type_str()))),
    };
    let (name, preset) = (text("name")?, text("preset")?);
    let layers = match table.remove("layers") {
        None => Vec::new(),
        Some(value) => layers(value).map_err(|why| wrong(format!("layers: {why}")))?,
    };
    let written = toml::to_string(&table).map_err(|e| wrong(e.to_string()))?;
    // Lines of this text are not those of the file.
    let mut settings = settings::parse(&label, &written).map_err(|e| {
        wrong(
            e.to_string()
                .split_once(": line ")
                .map_or(e.to_string(), |(_, rest)| rest.split_once(": ").map_or(rest, |(_, why)| why).to_owned()),
        )
    })?;
    settings.resolve_paths(&origin.folder);
    let model = settings.session.model.model.as_deref().and_then(Path::file_name);
    let model = || model.map_or_else(|| "demo".into(), |name| name.to_string_lossy().into_owned());
    let name = name.or_else(|| preset.clone()).unwrap_or_else(model);
    Ok(Subject { name: name.replace(['/', '{', '}'], "-"), layers, settings, preset })
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// `[3, 9]`, or `"0-11"` as --layers takes it.
fn layers(value: Value) -> Result<Vec<usize>, String> {
    let words = match value {
        Value::String(text) => text,
        Value::Integer(n) => n.to_string(),
        Value::Array(all) => all.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        other => return Err(format!("expected [3, 9] or \"0-11\", found {}", other.type_str())),
    };
    values::layers(&words)
}

impl Subject {
    /// Its session file at one layer, with the model compressed in one way. The trained SAE that it names was trained on one copy
    /// of the model, the `first`.
    pub fn at(
        &self,
        layer: Option<usize>,
        (compress, first): (Option<&Compress>, bool),
        folder: &Path,
    ) -> Result<SessionFile> {
        let mut settings = self.settings.clone();
        if let Some(preset) = &self.preset {
            let name = layer.map_or_else(|| preset.clone(), |layer| format!("{preset}/{layer}"));
            let preset = settings::parse(Path::new(&name), &settings::session_file(&presets::find(&name)?))?;
            settings = settings.or(preset);
        } else if let Some(layer) = layer {
            settings.session = settings.session.at_layer(layer, folder)?;
        }
        let session: &mut SessionSettings = &mut settings.session;
        if let Some(compress) = compress.filter(|_| self.is_compressed_here()) {
            session.model.compress = Some(vec![compress.clone()]);
            session.model.pruned_model = None;
        }
        if !first {
            session.trained_sae = None;
        }
        Ok(SessionFile { settings, folder: folder.to_path_buf() })
    }

    /// Its copy is made here, not given.
    pub fn is_compressed_here(&self) -> bool {
        self.settings.session.model.pruned_model.is_none()
    }
}
