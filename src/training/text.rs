//! The text: read, cut into rows, and some of it held out.

use std::{
    fs,
    path::{Path, PathBuf},
};

use prunelens_core::{
    data,
    error::{Error, Result},
    model::Model,
    session::Models,
    train::Budget,
};

use super::RunSpec;

/// Tokens in a row unless the user or the model says otherwise.
const CONTEXT: usize = 256;

/// The text of a run: rows to train on, rows to measure on, and what these are, in words.
pub struct Text {
    pub context: usize,
    pub training: Vec<Vec<u32>>,
    pub held_out: Vec<Vec<u32>>,
    pub measured: Option<String>,
}

impl Text {
    /// Of documents to train on and to measure on.
    pub fn of(run: &RunSpec, models: &Models, [training, held_out]: &[Vec<String>; 2]) -> Result<Self> {
        let context = context(run.context, &models.pruned)?;
        let mut training = rows(models, training, "--text", context, run.bos)?;
        let (held_out, of) = match held_out.is_empty() {
            true => (hold_out(&mut training, context, run.budget), "the end of --text, which was not trained on"),
            false => (rows(models, held_out, "--eval-text", context, run.bos)?, "--eval-text"),
        };
        let measured = (!held_out.is_empty()).then(|| format!("{} rows of {context} tokens, {of}", held_out.len()));
        Ok(Self { context, training, held_out, measured })
    }
}

/// Rows that no SAE of a run is trained on, with their context.
pub fn held_out(run: &RunSpec, models: &Models) -> Result<(usize, Vec<Vec<u32>>)> {
    let text = Text::of(run, models, &[read_all(&run.text)?, read_all(&run.eval_text)?])?;
    match text.held_out.is_empty() {
        false => Ok((text.context, text.held_out)),
        true => Err(Error::Usage("the text of --text is too short to hold any of it out: give --eval-text".into())),
    }
}

/// Tokens in a row of text.
fn context(asked: Option<usize>, model: &Model) -> Result<usize> {
    let n_ctx = model.config.n_ctx;
    match asked {
        Some(context) if context < 2 || context > n_ctx => {
            Err(Error::Usage(format!("--context {context} does not fit; {} reads 2 to {n_ctx} tokens", model.name)))
        }
        Some(context) => Ok(context),
        None => Ok(CONTEXT.min(n_ctx)),
    }
}

/// Documents of all files; of a folder, those that can be read, in name order, subfolders included.
pub fn read_all(paths: &[PathBuf]) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for path in paths {
        if path.is_dir() {
            let before = texts.len();
            read_folder(path, &mut texts)?;
            if texts.len() == before {
                return Err(Error::file(path, "holds no .txt or .jsonl files"));
            }
        } else {
            texts.extend(data::read_texts(path)?);
        }
    }
    Ok(texts)
}

fn read_folder(folder: &Path, texts: &mut Vec<String>) -> Result<()> {
    let refused = |e| Error::io(folder, e);
    let entries = fs::read_dir(folder).map_err(refused)?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>().map_err(refused)?;
    paths.sort();
    for path in paths {
        // Links to folders could lead round in a circle.
        if path.is_dir() && !path.is_symlink() {
            read_folder(&path, texts)?;
        } else if path.extension().is_some_and(|e| e == "txt" || e == "jsonl") {
            texts.extend(data::read_texts(&path)?);
        }
    }
    Ok(())
}

/// Rows of `context` tokens; refuses a text that does not fill one.
fn rows(models: &Models, texts: &[String], flag: &str, context: usize, bos: bool) -> Result<Vec<Vec<u32>>> {
    let rows = data::rows(&models.tokenizer, texts.iter().map(String::as_str), context, bos)?;
    if rows.is_empty() {
        return Err(Error::Usage(format!(
            "the text of {flag} does not fill one row of {context} tokens; give more text, or shorter rows with --context"
        )));
    }
    data::rows::check_rows(&rows, models.original.config.d_vocab)?;
    Ok(rows)
}

/// Rows to measure on, taken from the end of the text so that none of them is trained on; none of a text of a few rows.
/// Measuring a token costs as much as training on several: a short run measures a tenth of its tokens.
fn hold_out(training: &mut Vec<Vec<u32>>, context: usize, budget: Budget) -> Vec<Vec<u32>> {
    const SHARE: usize = 20;
    const MOST_TOKENS: usize = 20_000;
    const FEWEST_ROWS: usize = 16;
    let budget = match budget {
        Budget::Tokens(tokens) => usize::try_from(tokens / 10).unwrap_or(MOST_TOKENS),
        Budget::Minutes(_) => MOST_TOKENS,
    };
    let most = (MOST_TOKENS.min(budget) / context).max(FEWEST_ROWS);
    let n = (training.len() / SHARE).min(most);
    training.split_off(training.len() - n)
}
