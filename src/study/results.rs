//! What a study's cells hold: figures one by one, with where they were measured and what they may be compared with.

use std::{collections::BTreeMap, fs, path::Path};

use prunelens_core::{compare::Variant, error::Result, model::HookPoint};
use prunelens_metrics::{Better, JobSpec, MetricTable, core::Blocks, statistics::Interval};
use serde::Serialize;
use serde_json::Value;

use super::{
    Cell, Group, Place, Study, VariantAt,
    basis::{self, Basis},
    cells::{self, plain},
    plan::{CELL, Figures},
    rows::interval,
};

/// Folders that are looked at in a study's folder.
const MOST: usize = 1_000_000;

/// Everything that was measured of a study, and what was not.
#[derive(Debug, Default)]
pub struct Results {
    pub measured: Vec<Measured>,
    pub missing: Vec<Missing>,
}

/// A cell's figures.
#[derive(Debug)]
pub struct Measured {
    pub place: Place,
    /// Of the cell, as its folder has it.
    pub name: String,
    pub job: JobSpec,
    pub table: MetricTable,
    pub basis: Basis,
    /// "cpu", or "cuda".
    pub device: String,
    /// Version of the program that measured it.
    pub version: String,
    /// It was made elsewhere, or by another version, of what is the same as far as it can be told here.
    pub elsewhere: bool,
}

/// A cell without figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Missing {
    pub place: Place,
    pub name: String,
    pub metric: String,
    pub why: String,
}

/// What a study has of one session under one compression.
#[derive(Debug)]
pub struct SessionResults<'a> {
    pub name: &'a str,
    pub compress: &'a str,
    pub measured: Vec<&'a Measured>,
    pub missing: Vec<&'a Missing>,
}

/// One figure of one variant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Of the hook; a cell of several layers has points of each.
    pub layer: Option<usize>,
    pub category: String,
    pub figure: String,
    #[serde(flatten)]
    pub of: VariantAt,
    pub better: Better,
    pub value: Option<f64>,
}

impl Results {
    /// Of the cells that the study has.
    pub fn of(study: &Study) -> Self {
        Self::of_groups(&study.groups)
    }

    /// Of the cells that these groups have.
    pub fn of_groups<'a>(groups: impl IntoIterator<Item = &'a Group>) -> Self {
        let mut all = Self::default();
        for (group, cell) in groups.into_iter().flat_map(Group::with_cells) {
            match measured(group, cell) {
                Ok(found) => all.measured.push(found),
                Err(why) => all.missing.push(Missing {
                    place: group.place.clone(),
                    name: cell.name.clone(),
                    metric: cell.job.family.clone(),
                    why,
                }),
            }
        }
        all
    }

    /// Of all cells in a study's folder, whatever machine and version they are from. Of several that go by one name the one of the
    /// newest version counts; those of one version are all missing, for it cannot be told which is meant.
    pub fn found(folder: &Path) -> Result<Self> {
        let mut named: BTreeMap<(String, String), Vec<Measured>> = BTreeMap::new();
        let mut all = Self::default();
        for group in folders(&folder.join("cells"))? {
            for path in folders(&group)? {
                let Some(cell) = cells::read::<Figures>(&path.join(CELL))? else { continue };
                let found = Measured::new(name_of(&path), cell.of, cell.figures, false);
                let group = group.file_name().unwrap_or_default().to_string_lossy().into_owned();
                named.entry((group, found.name.clone())).or_default().push(found);
            }
        }
        for (_, mut cells) in named {
            cells.sort_by_key(|cell| std::cmp::Reverse(version(&cell.version)));
            let newest = cells.first().map(|cell| cell.version.clone()).unwrap_or_default();
            let same = cells.iter().filter(|cell| cell.version == newest).count();
            let Some(first) = cells.into_iter().next() else { continue };
            match same {
                1 => all.measured.push(first),
                _ => all.missing.push(Missing {
                    why: format!(
                        "{same} of other settings are there, and it cannot be told which is meant: remove the others"
                    ),
                    metric: first.table.metric,
                    place: first.place,
                    name: first.name,
                }),
            }
        }
        Ok(all)
    }

    /// Sessions under each of their compressions, in the order of the study.
    pub fn sessions(&self) -> Vec<SessionResults<'_>> {
        let mut all = Vec::new();
        for cell in &self.measured {
            SessionResults::of(&mut all, &cell.place).measured.push(cell);
        }
        for cell in &self.missing {
            SessionResults::of(&mut all, &cell.place).missing.push(cell);
        }
        all
    }
}

impl<'a> SessionResults<'a> {
    /// The one that a place belongs to, a new one where there is none yet.
    fn of<'s>(all: &'s mut Vec<Self>, place: &'a Place) -> &'s mut Self {
        let at = all.iter().position(|session| session.has(place)).unwrap_or_else(|| {
            let Place { session: name, compress, .. } = place;
            all.push(Self { name, compress, measured: Vec::new(), missing: Vec::new() });
            all.len() - 1
        });
        &mut all[at]
    }

    pub fn has(&self, place: &Place) -> bool {
        (self.name, self.compress) == (place.session.as_str(), place.compress.as_str())
    }
}

impl Measured {
    pub fn new(name: String, of: Value, figures: Figures, elsewhere: bool) -> Self {
        let Figures { place, device, job, table, .. } = figures;
        let version = of["session"]["program"].as_str().unwrap_or_default().to_owned();
        Self { basis: Basis::of(&table, &of), place, name: plain(&name), device, job, table, version, elsewhere }
    }

    /// What measured it: "1.9.0 on cpu".
    pub fn build(&self) -> String {
        format!("{} on {}", self.version, self.device)
    }

    /// Criterion and ratio of its `pruned`, where the job has one.
    fn own(&self) -> (Option<String>, Option<f64>) {
        (self.job.params.get("criterion").ok().flatten(), self.job.params.get("ratio").ok().flatten())
    }

    /// What its rows add up to, of `pruned` with the criterion and ratio that its points have.
    pub fn blocks(&self) -> Vec<Blocks> {
        let (criterion, ratio) = self.own();
        let own = criterion.zip(ratio);
        let mut all = self.table.blocks.clone();
        for blocks in all.iter_mut().filter(|blocks| blocks.variant == Variant::Pruned && blocks.at.is_none()) {
            blocks.at.clone_from(&own);
        }
        all
    }

    /// How far the figure of each point may lie on other rows of the text, in the order of the points.
    pub fn intervals(&self, points: &[Point]) -> Vec<Option<Interval>> {
        let blocks = self.blocks();
        let of = |point: &Point| {
            let own = blocks.iter().find(|blocks| point.of.has(blocks))?;
            interval(&[vec![own]], &point.figure, |of| of[0])
        };
        points.iter().map(of).collect()
    }

    /// Seed of what the measurement draws.
    pub fn seed(&self) -> Option<u64> {
        self.job.params.get("seed").ok().flatten()
    }

    /// Its figures. A sweep names its rows "FIGURE CRITERION RATIO" and gives the variants without a ratio beside each.
    pub fn points(&self) -> Vec<Point> {
        let table = &self.table;
        let hook = table.settings.iter().find(|(name, _)| name == "hook" || name == "read at");
        let layer = self.place.layer.or(hook.and_then(|(_, hook)| layer(hook)));
        let own = self.own();
        let sweep = table.metric == "sweep";
        let mut points: Vec<Point> = Vec::new();
        for row in &table.rows {
            let (figure, criterion, ratio) = match sweep {
                true => parts(&row.name),
                false => (row.name.as_str(), own.0.clone(), own.1),
            };
            let layer = layer_of_row(&row.category, sweep).or(layer);
            for (variant, value) in table.variants.iter().zip(&row.values) {
                let again = |point: &Point| {
                    point.of.variant == *variant && point.figure == figure && point.category == row.category
                };
                if sweep && *variant != Variant::Pruned && (figure == "knee" || points.iter().any(again)) {
                    continue;
                }
                points.push(Point {
                    layer,
                    category: row.category.clone(),
                    figure: figure.to_owned(),
                    of: VariantAt::new(*variant, criterion.clone(), ratio),
                    better: row.better,
                    value: value.filter(|value| value.is_finite()),
                });
            }
        }
        points
    }
}

impl Point {
    /// The same figure of the same variant.
    pub fn is_of(&self, other: &Self) -> bool {
        (self.layer, &self.of) == (other.layer, &other.of)
            && (&self.category, &self.figure) == (&other.category, &other.figure)
    }
}

/// The figures of a study's cell, or why there are none.
fn measured(group: &Group, cell: &Cell) -> Result<Measured, String> {
    match cell.figures() {
        Ok(Some(figures)) => return Ok(Measured::new(cell.name.clone(), cell.of.clone(), figures, false)),
        Ok(None) => {}
        Err(error) => return Err(error.to_string()),
    }
    let expected = cells::of(cell.of.clone()).unwrap_or_default();
    let others = cell.folder.parent().map(folders).and_then(Result::ok).unwrap_or_default();
    let named = others.into_iter().filter(|path| name_of(path) == plain(&cell.name));
    let mut others: Vec<_> = named
        .filter_map(|path| cells::read::<Figures>(&path.join(CELL)).ok()?)
        .filter(|other| other.figures.place == group.place && other.figures.job == cell.job)
        .collect();
    let there = others.len();
    others.retain(|other| basis::is_same_elsewhere(&expected, &other.of));
    others.sort_by_key(|other| version(other.of["session"]["program"].as_str().unwrap_or_default()));
    match (others.pop(), cell.failure()) {
        (Some(other), _) => Ok(Measured::new(cell.name.clone(), other.of, other.figures, true)),
        (None, Some(why)) => Err(format!("it failed: {why}")),
        (None, None) if there > 0 => Err("not measured yet; what is there is of other files or settings".into()),
        (None, None) => Err("not measured yet".into()),
    }
}

/// "FIGURE CRITERION RATIO", "knee CRITERION", or a figure alone.
fn parts(name: &str) -> (&str, Option<String>, Option<f64>) {
    let Some((figure, rest)) = name.split_once(' ') else { return (name, None, None) };
    match rest.rsplit_once(' ').and_then(|(criterion, ratio)| Some((criterion, ratio.parse().ok()?))) {
        Some((criterion, ratio)) => (figure, Some(criterion.to_owned()), Some(ratio)),
        None => (figure, Some(rest.to_owned()), None),
    }
}

fn layer(hook: &str) -> Option<usize> {
    hook.parse::<HookPoint>().ok().map(|hook| hook.layer)
}

fn layer_of_row(category: &str, sweep: bool) -> Option<usize> {
    if sweep { layer(category) } else { None }
}

/// A cell's name: its folder's without the key.
fn name_of(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    name.rsplit_once('-').map_or(name.as_ref(), |(name, _)| name).to_owned()
}

/// Folders in a folder, by name; none where there is no folder.
fn folders(path: &Path) -> Result<Vec<std::path::PathBuf>> {
    let Ok(entries) = fs::read_dir(path) else { return Ok(Vec::new()) };
    let mut all: Vec<_> = entries.flatten().take(MOST).map(|e| e.path()).filter(|path| path.is_dir()).collect();
    all.sort();
    Ok(all)
}

/// "1.12.0" as numbers that can be compared.
fn version(text: &str) -> Vec<u64> {
    text.split(['.', '-', '+']).map(|part| part.parse().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_sweep_are_taken_apart() {
        assert_eq!(parts("mse_per_element wanda 0.25"), ("mse_per_element", Some("wanda".into()), Some(0.25)));
        assert_eq!(parts("knee wanda"), ("knee", Some("wanda".into()), None));
        assert_eq!(parts("l0 latents wanda 0.5"), ("l0", Some("latents wanda".into()), Some(0.5)));
        assert_eq!(parts("l0"), ("l0", None, None));
        assert_eq!(name_of(Path::new("cells/g/core_wanda_0.25-0123456789ab")), "core_wanda_0.25");
        assert!(version("1.12.0") > version("1.9.1"));
    }
}
