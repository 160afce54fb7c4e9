//! The report of a training beside its SAE: `training.json`, with what it was asked for, what it was trained on, and its figures.

use std::{fs, path::Path};

use serde::Serialize;
use serde_json::{Value, json};

use super::{spec::TrainSpec, trainer::TrainFigures};
use crate::{
    error::{Error, Result},
    files::write_atomic,
    model::HookPoint,
    session::Models,
};

/// Its name in the folder of the SAE.
pub const FILE: &str = "training.json";

/// What a finished training tells of itself.
#[derive(Serialize)]
pub struct Report<'a> {
    /// What was asked for.
    pub settings: &'a TrainSpec,
    /// What the outcome depends on besides, as [`data`] has it.
    pub data: &'a Value,
    /// Tokens in one pass through the text, where that is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_tokens: Option<usize>,
    /// The last figures.
    pub training: Option<TrainFigures>,
}

impl Report<'_> {
    /// As it is written.
    pub fn to_json(&self) -> Result<Value> {
        serde_json::to_value(self).map_err(|e| Error::invalid(format!("a report cannot be written: {e}")))
    }
}

/// Rows of tokens to train on.
pub struct Rows {
    /// Tokens in one.
    pub context: usize,
    /// Whether they begin with BOS.
    pub bos: bool,
    /// Whether activations of BOS and other special tokens are left out.
    pub exclude_bos: bool,
    /// A digest of the tokens.
    pub fingerprint: String,
}

/// What the outcome of a training depends on beside its settings: the model as it is, and the rows that it reads.
pub fn data(models: &Models, hook: HookPoint, rows: &Rows) -> Result<Value> {
    let model = &models.pruned;
    Ok(json!({
        "model": model.name,
        "weights": models.original.mark()?,
        "compression": models.compression,
        "calibration": models.calibration.label,
        "hook": hook.to_string(),
        "model_dtype": model.dtype.as_str(),
        "context": rows.context,
        "bos": rows.bos,
        "exclude_bos": rows.exclude_bos,
        "text": rows.fingerprint,
    }))
}

/// The report in a folder.
pub fn read(folder: &Path) -> Result<Value> {
    let path = folder.join(FILE);
    let text = fs::read(&path).map_err(|e| Error::io(&path, e))?;
    serde_json::from_slice(&text).map_err(|e| Error::file(&path, format!("not the report of a training: {e}")))
}

/// Write a report into a folder.
pub fn write(folder: &Path, report: &Value) -> Result<()> {
    write_atomic(folder.join(FILE), format!("{report:#}\n").as_bytes())
}
