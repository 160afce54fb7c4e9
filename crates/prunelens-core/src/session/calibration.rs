//! Token rows that pruning is calibrated on.

use std::path::Path;

use super::SessionSpec;
use crate::{
    data::{Corpus, first_rows, read_corpus, rows::check_rows},
    demo,
    error::{Error, Result},
    model::{Model, Tokenizer},
    prune::CalibrationRows,
};

/// Rows of equal length, run together.
pub type Batch = Vec<Vec<u32>>;

/// Calibration rows in the two forms in use.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// Windows of text without BOS, as Wanda takes them.
    pub windows: Vec<Batch>,
    /// Rows that start with BOS, as the released code of arXiv 2507.15977 takes them, in its batches.
    pub documents: Vec<Batch>,
    /// For people: "built-in text, 32 x 256 tokens".
    pub label: String,
}

/// Rows of a text, and tokens in each if the model's context allows, unless others are asked for: enough for steady norms in
/// seconds on a laptop.
const ROWS: usize = 32;
const LENGTH: usize = 256;
/// Rows in a batch of the paper's.
const PAPER_BATCH: usize = 8;

impl Calibration {
    /// As rules take them.
    pub fn rows(&self) -> CalibrationRows<'_> {
        CalibrationRows { windows: &self.windows, documents: &self.documents }
    }

    /// Tokens that there may be, known before anything is read: those of a text, or as many as a file of token rows has room for.
    pub fn most_tokens(spec: &SessionSpec) -> u64 {
        let path = spec.calibration.as_deref();
        let rows = path.filter(|path| path.extension().is_some_and(|e| e == "safetensors"));
        let bytes = rows.and_then(|path| path.metadata().ok()).map(|file| file.len());
        bytes.map_or((rows_of(spec) * spec.calibration_length.unwrap_or(LENGTH)) as u64, |bytes| {
            bytes / size_of::<u32>() as u64
        })
    }

    /// From a file (text, or token rows: each tensor one batch), or from the built-in text.
    pub fn load(spec: &SessionSpec, model: &Model, tokenizer: &Tokenizer) -> Result<Self> {
        let (texts, name) = match spec.calibration.as_deref() {
            None => (demo::calibration()?, "built-in text".to_owned()),
            Some(path) => match read_corpus(path)? {
                Corpus::Texts(texts) => (texts, file_name(path)),
                Corpus::Tokens(batches) => {
                    if spec.calibration_rows.is_some() || spec.calibration_length.is_some() {
                        let what = "has rows of tokens, all of which are read: --calibration-rows and --calibration-length are for \
                                    texts";
                        return Err(Error::file(path, what));
                    }
                    let batches: Vec<Batch> = batches.into_iter().map(|b| b.rows).collect();
                    check(path, &batches, model)?;
                    let rows: usize = batches.iter().map(Vec::len).sum();
                    let label = format!("{}, {rows} rows", file_name(path));
                    return Ok(Self { windows: batches.clone(), documents: batches, label });
                }
            },
        };
        let most = model.config.n_ctx;
        let length = match spec.calibration_length {
            Some(length) if length > most => {
                let name = &model.name;
                return Err(Error::Usage(format!(
                    "--calibration-length {length} is longer than the {most} tokens that {name} can read"
                )));
            }
            Some(length) => length,
            None => LENGTH.min(most),
        };
        let rows = rows_of(spec);
        let texts = || texts.iter().map(String::as_str);
        let windows = first_rows(tokenizer, texts(), length, false, rows)?;
        if windows.is_empty() {
            return Err(Error::invalid(format!(
                "{name} does not fill one calibration row of {length} tokens; give more text"
            )));
        }
        let documents = first_rows(tokenizer, texts(), length, true, rows)?;
        [&windows, &documents].into_iter().try_for_each(|rows| check_rows(rows, model.config.d_vocab))?;
        let label = format!("{name}, {} x {length} tokens", windows.len());
        Ok(Self {
            windows: vec![windows],
            documents: documents.chunks(PAPER_BATCH).map(<[_]>::to_vec).collect(),
            label,
        })
    }
}

fn rows_of(spec: &SessionSpec) -> usize {
    spec.calibration_rows.unwrap_or(ROWS)
}

/// Most rows of a corpus in which examples are looked for.
const CORPUS_ROWS: usize = 2048;

/// Rows of a text or of token rows in which examples of latents are looked for; BOS first, where the model has one.
pub fn corpus(path: &Path, model: &Model, tokenizer: &Tokenizer) -> Result<Batch> {
    let corpus = read_corpus(path)?;
    let length = match &corpus {
        Corpus::Texts(_) => LENGTH.min(model.config.n_ctx),
        Corpus::Tokens(batches) => {
            let shortest = batches.iter().flat_map(|batch| &batch.rows).map(Vec::len).min().unwrap_or(LENGTH);
            shortest.min(model.config.n_ctx)
        }
    };
    let rows = corpus.rows(tokenizer, model.config.d_vocab, length, true, CORPUS_ROWS)?;
    if rows.is_empty() {
        return Err(Error::file(path, format!("does not fill one row of {length} tokens; give more text")));
    }
    Ok(rows)
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| "text".into(), |n| crate::text::safe(&n.to_string_lossy()))
}

fn check(path: &Path, batches: &[Batch], model: &Model) -> Result<()> {
    for rows in batches {
        check_rows(rows, model.config.d_vocab)?;
        if let Some(row) = rows.iter().find(|r| r.len() > model.config.n_ctx) {
            let (found, most) = (row.len(), model.config.n_ctx);
            return Err(Error::file(
                path,
                format!("rows of {found} tokens are longer than the {most} that {} can read", model.name),
            ));
        }
    }
    Ok(())
}
