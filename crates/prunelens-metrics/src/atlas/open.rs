//! An atlas that was written, read again.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, safetensors};
use prunelens_core::{
    data::read_records,
    digest::sha256,
    error::{Error, Result},
    text::shorten,
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Block, Fate, blocks,
    fate::Course,
    files::{BLOCKS, KEPT, SUMMARY, TABLES, numbered},
};
use crate::RunFile;

/// Largest file of columns that is read.
const LONGEST: u64 = 4 << 30;
/// Largest summary.
const LONGEST_SUMMARY: u64 = 16 << 20;

/// What sessions have to have in common, as `atlas.json` names it.
pub const SESSION: [&str; 11] = [
    "model",
    "pruned_model",
    "compress",
    "calibration",
    "hook",
    "space",
    "processing",
    "norm_scaling_factor",
    "dtype",
    "bos",
    "program",
];

/// What an atlas says of itself.
#[derive(Clone, Debug, Deserialize)]
pub struct About {
    /// Rows of text.
    pub rows: usize,
    /// Counted positions.
    pub positions: u64,
    /// Positions that predict a token, of the rows that importance is of.
    pub predicted: u64,
    /// The original model's mean loss there, in nats; none where there are no such positions.
    #[serde(default)]
    pub ce_loss: Option<f64>,
    /// Latents.
    pub d_sae: usize,
    /// Where the SAE reads.
    pub hook: String,
    /// What is turned on the SAE; empty where only ratios were known.
    #[serde(default)]
    pub knob: String,
    /// Ratio of the `pruned` variant, or where another knob stands.
    pub ratio: f64,
    /// By which the SAE is pruned, or rounded, or cut.
    pub criterion: String,
    /// At which mass is measured.
    pub ratios: Vec<f64>,
    /// Where the text is from.
    pub text: String,
    /// Of the tokens that were read.
    #[serde(default)]
    pub tokens_sha256: String,
    /// Rows of which importance is; 0 where that was not said.
    #[serde(default)]
    pub importance_rows: usize,
    /// What models and SAEs were read from.
    #[serde(default)]
    pub session: Value,
    /// Digests of the tables.
    pub sha256: BTreeMap<String, String>,
}

impl About {
    /// What is done to the SAE of `pruned`, in words.
    pub fn pruned(&self) -> String {
        let Self { ratio, criterion, .. } = self;
        match self.knob.as_str() {
            "bits" => format!("SAE at {ratio} bits by {criterion}"),
            "rank" => format!("SAE at rank {ratio} by {criterion}"),
            "latents" => format!("SAE without {ratio} of its latents, by {criterion}"),
            _ => format!("SAE pruned to {ratio} by {criterion}"),
        }
    }

    /// The setting of `pruned` in fewer words, as screens have it.
    pub fn at(&self) -> String {
        let Self { ratio, criterion, .. } = self;
        match self.knob.as_str() {
            "bits" => format!("{ratio} bits {criterion}"),
            "rank" => format!("rank {ratio} {criterion}"),
            "latents" => format!("{ratio} of latents {criterion}"),
            _ => format!("{ratio:.2} {criterion}"),
        }
    }

    /// The untouched SAE has the largest value of the knob, as of bits and ranks.
    pub fn descends(&self) -> bool {
        matches!(self.ratios.as_slice(), [first, .., last] if first > last)
    }
}

/// Columns and fates of every latent.
#[derive(Clone, Debug)]
pub struct Atlas {
    /// Its summary's file.
    pub path: PathBuf,
    /// What it is of.
    pub about: About,
    /// By name, in the order of the summary's; NaN where there is none.
    pub columns: Vec<(String, Vec<f64>)>,
    /// Of each latent, at the ratio of `pruned`.
    pub fates: Vec<Fate>,
}

#[derive(Deserialize)]
struct Summary {
    #[serde(flatten)]
    about: About,
    columns: Vec<String>,
}

impl Atlas {
    /// From its folder, or any of its three files; all three have to be of one run.
    pub fn open(path: &Path) -> Result<Self> {
        let json = if path.is_dir() { path.join(SUMMARY) } else { path.with_extension("json") };
        let bytes = read(&json, LONGEST_SUMMARY)?;
        let Summary { about, columns } = serde_json::from_slice(&bytes).map_err(|e| {
            Error::file(&json, format!("not the summary of an atlas: {}", shorten(&e.to_string(), 120)))
        })?;
        let [parquet, tensors] = TABLES.map(|name| json.with_extension(name.rsplit('.').next().unwrap_or(name)));
        let checked = |path: &Path, name: &str| checked(path, name, &about, &json);
        checked(&parquet, TABLES[0])?;
        let bytes = checked(&tensors, TABLES[1])?;
        let columns = numbers(&tensors, &bytes, &columns, about.d_sae)?;
        let fates = fates(&parquet, about.d_sae)?;
        Ok(Self { path: json, about, columns, fates })
    }

    /// The atlas that a run wrote, wherever a newer one has set it aside.
    pub fn of_run(file: &RunFile) -> Result<Self> {
        let RunFile { path, sha256: expected } = file;
        if expected.is_empty() {
            return Self::open(path);
        }
        let mut places = std::iter::once(path.clone()).chain((1..=KEPT).map(|n| numbered(path, n)));
        let same =
            |path: &PathBuf| path.is_file() && read(path, LONGEST).is_ok_and(|bytes| sha256(&bytes) == *expected);
        match places.find(same) {
            Some(path) => Self::open(&path),
            None => Err(Error::file(path, "the atlas that was written here is gone, or was changed; run it again")),
        }
    }

    /// Refuse it for a session of other models, SAEs or masks, which its [fingerprint](crate::fingerprint) tells.
    pub fn check_session(&self, fingerprint: &Value) -> Result<()> {
        let own = &self.about.session;
        let differs = |key: &str| without_path(&own[key]) != without_path(&fingerprint[key]);
        // A summary that was made by hand says nothing of it; what another version measured can still be looked at.
        let keys = SESSION.into_iter().chain(["sae", "trained_sae"]).filter(|key| own.is_object() && *key != "program");
        match keys.into_iter().find(|key| differs(key)) {
            Some(key) => {
                let what = format!("an atlas of another session: it had another {}", key.replace('_', " "));
                Err(Error::file(&self.path, what))
            }
            None => Ok(()),
        }
    }

    /// A column by its name.
    pub fn column(&self, name: &str) -> Option<&[f64]> {
        self.columns.iter().find(|(column, _)| column == name).map(|(_, values)| values.as_slice())
    }

    /// Mass on the pruned model with the SAE pruned at a ratio of the grid.
    pub fn mass_at(&self, ratio: f64) -> Option<&[f64]> {
        self.column(&format!("mass.pruned.{ratio}"))
    }

    /// Sums over blocks of rows; empty where the atlas has none, of few rows or many latents.
    pub fn blocks(&self) -> Result<Vec<Block>> {
        if !self.about.sha256.contains_key(BLOCKS) {
            return Ok(Vec::new());
        }
        let path = self.path.with_extension("blocks.safetensors");
        let bytes = checked(&path, BLOCKS, &self.about, &self.path)?;
        let found = blocks::from_safetensors(&bytes, self.about.d_sae, &self.about.ratios);
        found.map_err(|what| Error::file(&path, shorten(&what, 120)))
    }

    /// How many latents have which fate at each ratio, in the order of [`Fate::ALL`]. Told by mass alone: nothing is rotated
    /// or absorbed here, which takes correlations and heirs, known at the ratio of `pruned` only.
    pub fn fates_by_ratio(&self) -> Vec<(f64, [usize; Fate::ALL.len()])> {
        let (Some(original), Some(transfer)) = (self.column("mass.original"), self.column("mass.transfer")) else {
            return Vec::new();
        };
        let at = |&ratio: &f64| {
            let pruned = self.mass_at(ratio)?;
            let mut counts = [0; Fate::ALL.len()];
            for latent in 0..original.len() {
                let mass = [original[latent], transfer[latent], pruned[latent]];
                counts[Fate::of(&Course { mass, corr: f64::NAN, heir: f64::NAN }) as usize] += 1;
            }
            Some((ratio, counts))
        };
        self.about.ratios.iter().filter_map(at).collect()
    }
}

/// The same files elsewhere are the same.
pub fn without_path(value: &Value) -> Value {
    let mut value = value.clone();
    if let Some(object) = value.as_object_mut() {
        object.shift_remove("path");
    }
    value
}

/// A table, if it is the one that the summary is of.
fn checked(path: &Path, name: &str, about: &About, summary: &Path) -> Result<Vec<u8>> {
    let bytes = read(path, LONGEST)?;
    match about.sha256.get(name) == Some(&sha256(&bytes)) {
        true => Ok(bytes),
        false => Err(Error::file(path, format!("not the table that {} is of; run the atlas again", summary.display()))),
    }
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let length = fs::metadata(path).map_err(|e| Error::io(path, e))?.len();
    if length > most {
        return Err(Error::file(path, format!("{length} bytes, more than the {most} that an atlas may have")));
    }
    fs::read(path).map_err(|e| Error::io(path, e))
}

fn numbers(path: &Path, bytes: &[u8], names: &[String], d_sae: usize) -> Result<Vec<(String, Vec<f64>)>> {
    let tensors = safetensors::load_buffer(bytes, &Device::Cpu)
        .map_err(|e| Error::file(path, format!("not a safetensors file: {}", shorten(&e.to_string(), 120))))?;
    let mut out = Vec::new();
    for name in names {
        // Words are in the other table alone.
        let Some(tensor) = tensors.get(name) else { continue };
        if tensor.dtype() != DType::F64 || tensor.dims() != [d_sae] {
            let found = format!("{:?} {:?}", tensor.dims(), tensor.dtype());
            let what = format!("{}: expected {d_sae} float64, found {found}", shorten(name, 60));
            return Err(Error::file(path, what));
        }
        out.push((name.clone(), tensor.to_vec1()?));
    }
    Ok(out)
}

fn fates(path: &Path, d_sae: usize) -> Result<Vec<Fate>> {
    let records = read_records(path, &["fate"])?;
    if records.len() != d_sae {
        return Err(Error::file(path, format!("expected {d_sae} rows, found {}", records.len())));
    }
    let fate = |word: &str| {
        Fate::named(word)
            .ok_or_else(|| Error::file(path, format!("{:?} is no fate that is known here", shorten(word, 40))))
    };
    records.iter().map(|record| fate(record.values[0].as_deref().unwrap_or_default())).collect()
}
