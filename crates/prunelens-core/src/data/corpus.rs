//! Text and token files: `.txt`, `.jsonl`, `.safetensors`, and the other tables of [`super::records`].

use std::path::Path;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::Deserialize;

use super::{
    records::{is_table, read_records},
    rows::{check_rows, first_rows},
};
use crate::{
    error::{Error, Result},
    files::read_at_most,
    model::Tokenizer,
};

/// Largest file read whole into memory.
const MAX_BYTES: u64 = 2 << 30;

/// Rows of token ids that belong together, all of one length.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenBatch {
    /// The tensor it came from.
    pub name: String,
    /// Token ids, a row each.
    pub rows: Vec<Vec<u32>>,
}

/// What a text file holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Corpus {
    /// Texts, to be tokenised.
    Texts(Vec<String>),
    /// Ids made elsewhere; used as they are.
    Tokens(Vec<TokenBatch>),
}

impl Corpus {
    /// The first `limit` rows of `length` tokens. Texts are tokenised, joined and cut; token files must have rows of at
    /// least that length, of which the start is used, and ids below `d_vocab`.
    pub fn rows(
        &self,
        tokenizer: &Tokenizer,
        d_vocab: usize,
        length: usize,
        bos: bool,
        limit: usize,
    ) -> Result<Vec<Vec<u32>>> {
        let rows = match self {
            Self::Texts(texts) => first_rows(tokenizer, texts.iter().map(String::as_str), length, bos, limit)?,
            Self::Tokens(batches) => first_tokens(batches, length, limit)?,
        };
        check_rows(&rows, d_vocab)?;
        Ok(rows)
    }
}

fn first_tokens(batches: &[TokenBatch], length: usize, limit: usize) -> Result<Vec<Vec<u32>>> {
    let rows = batches.iter().flat_map(|batch| batch.rows.iter().map(move |row| (batch, row)));
    let start = |(batch, row): (&TokenBatch, &Vec<u32>)| {
        row.get(..length).map(<[u32]>::to_vec).ok_or_else(|| {
            Error::invalid(format!(
                "token rows of {:?} have {} tokens, {length} are needed; choose a smaller context",
                batch.name,
                row.len()
            ))
        })
    };
    rows.take(limit).map(start).collect()
}

/// Read whatever kind of text file `path` is, by its ending.
pub fn read_corpus(path: impl AsRef<Path>) -> Result<Corpus> {
    let path = path.as_ref();
    match extension(path).as_deref() {
        Some("safetensors") => read_tokens(path).map(Corpus::Tokens),
        _ => read_texts(path).map(Corpus::Texts),
    }
}

/// The documents of a `.txt` file (the whole file is one), a `.jsonl` file (one a line, in its "text" field) or another
/// table (one a row, in its column "text").
/// There is at least one and none is empty.
pub fn read_texts(path: impl AsRef<Path>) -> Result<Vec<String>> {
    let path = path.as_ref();
    let kind = extension(path);
    let lines = match kind.as_deref() {
        Some("txt" | "md" | "text") => false,
        Some("jsonl") => true,
        _ if is_table(path) => return read_column(path),
        _ => {
            path.metadata().map_err(|error| Error::io(path, error))?;
            return Err(Error::file(
                path,
                "kind of text file not known; expected .txt, .jsonl (one {\"text\": ...} a line), .csv, .csv.zst or .parquet (column \"text\") or .safetensors (\"tokens\")",
            ));
        }
    };
    let text = String::from_utf8(read_bytes(path)?).map_err(|error| {
        Error::file(
            path,
            format!("not UTF-8 text: byte {} is the first that does not fit", error.utf8_error().valid_up_to()),
        )
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    not_empty(path, if lines { parse_lines(path, text)? } else { vec![text.to_owned()] })
}

/// The column "text" of a table; rows without one are passed over.
fn read_column(path: &Path) -> Result<Vec<String>> {
    let records = read_records(path, &["text"])?;
    not_empty(path, records.into_iter().filter_map(|record| record.values.into_iter().next().flatten()).collect())
}

fn not_empty(path: &Path, mut texts: Vec<String>) -> Result<Vec<String>> {
    texts.retain(|text| !text.trim().is_empty());
    if texts.is_empty() {
        return Err(Error::file(path, "holds no text"));
    }
    Ok(texts)
}

fn parse_lines(path: &Path, text: &str) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Line {
        text: String,
    }
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(at, line)| {
            serde_json::from_str::<Line>(line).map(|l| l.text).map_err(|error| {
                Error::file(
                    path,
                    format!("line {}: expected an object with a string \"text\": {}", at + 1, reason(&error)),
                )
            })
        })
        .collect()
}

/// serde's words without its own line number, which is always 1 here.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line 1 column ") {
        Some(at) => format!("{} (column {})", &text[..at], error.column()),
        None => text,
    }
}

/// Token ids of a safetensors file: the tensor "tokens" if there is one, else every tensor, one batch each, in the order
/// of their names. Tensors are `[rows, length]` (or `[length]`, one row) of I64, I32 or U32.
pub fn read_tokens(path: impl AsRef<Path>) -> Result<Vec<TokenBatch>> {
    let path = path.as_ref();
    let bytes = read_bytes(path)?;
    let file =
        SafeTensors::deserialize(&bytes).map_err(|e| Error::file(path, format!("not a safetensors file: {e}")))?;
    let mut names = file.names();
    names.sort_unstable();
    if names.contains(&"tokens") {
        names = vec!["tokens"];
    }
    let batches = names.into_iter().map(|name| {
        let view = file.tensor(name).map_err(|e| Error::file(path, format!("tensor {name:?}: {e}")))?;
        let rows = token_rows(&view).map_err(|what| Error::file(path, format!("tensor {name:?}: {what}")))?;
        Ok(TokenBatch { name: name.to_owned(), rows })
    });
    let batches: Vec<_> = batches.collect::<Result<_>>()?;
    if batches.iter().all(|b| b.rows.is_empty()) {
        return Err(Error::file(path, "holds no tokens"));
    }
    Ok(batches)
}

fn token_rows(view: &TensorView) -> Result<Vec<Vec<u32>>, String> {
    let length = match *view.shape() {
        [length] => length,
        [_, length] => length,
        ref shape => return Err(format!("token ids must have shape [rows, length], found {shape:?}")),
    };
    if length == 0 {
        return Err("rows of length 0".into());
    }
    let id = |at: usize, value: i64| {
        u32::try_from(value)
            .map_err(|_| format!("row {}, position {}: {value} is not a token id", at / length, at % length))
    };
    let data = view.data();
    // The view's data is as long as its shape says: the file was checked when it was opened.
    let ids: Vec<u32> = match view.dtype() {
        Dtype::I64 => words(data).enumerate().map(|(at, w)| id(at, i64::from_le_bytes(w))).collect::<Result<_, _>>()?,
        Dtype::I32 => {
            words(data).enumerate().map(|(at, w)| id(at, i32::from_le_bytes(w).into())).collect::<Result<_, _>>()?
        }
        Dtype::U32 => words(data).map(u32::from_le_bytes).collect(),
        other => return Err(format!("token ids must be I64, I32 or U32, found {other:?}")),
    };
    Ok(ids.chunks_exact(length).map(<[u32]>::to_vec).collect())
}

fn words<const N: usize>(data: &[u8]) -> impl Iterator<Item = [u8; N]> {
    data.as_chunks::<N>().0.iter().copied()
}

fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    read_at_most(path, MAX_BYTES)?
        .ok_or_else(|| Error::file(path, format!("more than the {MAX_BYTES} bytes that are read; use a part of it")))
}

fn extension(path: &Path) -> Option<String> {
    path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use std::fs;

    use super::*;

    fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn tensors(list: &[(&str, Dtype, &[usize], Vec<u8>)]) -> Vec<u8> {
        let views: HashMap<_, _> = list
            .iter()
            .map(|(name, dtype, shape, data)| {
                (name.to_string(), TensorView::new(*dtype, shape.to_vec(), data).unwrap())
            })
            .collect();
        safetensors::serialize(views, None).unwrap()
    }

    #[test]
    fn texts_and_lines() {
        let (_folder, path) = file("a.txt", "\u{feff}One.\n\nTwo.".as_bytes());
        assert_eq!(read_texts(&path).unwrap(), ["One.\n\nTwo."]);
        let (_folder, path) =
            file("a.jsonl", b"{\"text\": \"a\", \"n\": 1}\n\n{\"text\": \"b\\n\"}\n{\"text\": \" \"}\n");
        assert_eq!(read_texts(&path).unwrap(), ["a", "b\n"]);
    }

    #[test]
    fn a_column_of_a_table() {
        let (_folder, path) = file("a.csv", b"label,text\n1,one\n2,\n3,\"two\nlines\"\n");
        assert_eq!(read_texts(&path).unwrap(), ["one", "two\nlines"]);
        assert!(matches!(read_corpus(&path).unwrap(), Corpus::Texts(texts) if texts.len() == 2));
    }

    #[test]
    fn bad_texts_are_named() {
        for (name, bytes, expected) in [
            ("a.jsonl", &b"{\"text\": \"a\"}\n{\"txt\": 1}"[..], "line 2"),
            ("a.jsonl", b"{\"text\": 3}", "line 1"),
            ("a.jsonl", b"{\"text\": \"a\"", "line 1"),
            ("a.txt", b"ok \xff", "byte 3"),
            ("a.txt", b" \n", "no text"),
            ("a.jsonl", b"", "no text"),
            ("a.tsv", b"x", "expected .txt"),
            ("a.csv", b"txt\nx", "no column \"text\""),
            ("a.csv", b"text\n\n", "no text"),
        ] {
            let (_folder, path) = file(name, bytes);
            let message = read_texts(&path).unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} should say {expected:?}");
        }
    }

    #[test]
    fn token_tensors_in_name_order() {
        let i64s: Vec<u8> = [1i64, 2, 3, 4, 5, 6].iter().flat_map(|v| v.to_le_bytes()).collect();
        let i32s: Vec<u8> = [7i32, 8].iter().flat_map(|v| v.to_le_bytes()).collect();
        let bytes = tensors(&[("b", Dtype::I64, &[2, 3], i64s.clone()), ("a", Dtype::I32, &[2], i32s)]);
        let (_folder, path) = file("t.safetensors", &bytes);
        let batches = read_tokens(&path).unwrap();
        assert_eq!(batches[0], TokenBatch { name: "a".into(), rows: vec![vec![7, 8]] });
        assert_eq!(batches[1].rows, [[1, 2, 3], [4, 5, 6]]);
        // "tokens" alone counts where it exists.
        let u32s: Vec<u8> = [9u32, 10].iter().flat_map(|v| v.to_le_bytes()).collect();
        let bytes = tensors(&[("a", Dtype::I64, &[2, 3], i64s), ("tokens", Dtype::U32, &[1, 2], u32s)]);
        let (_folder, path) = file("t.safetensors", &bytes);
        assert_eq!(read_tokens(&path).unwrap(), [TokenBatch { name: "tokens".into(), rows: vec![vec![9, 10]] }]);
    }

    #[test]
    fn bad_tokens_are_named() {
        let negative: Vec<u8> = [1i64, -2].iter().flat_map(|v| v.to_le_bytes()).collect();
        for (bytes, expected) in [
            (tensors(&[("tokens", Dtype::I64, &[1, 2], negative)]), "position 1: -2"),
            (tensors(&[("tokens", Dtype::F32, &[1, 1], vec![0; 4])]), "I64, I32 or U32"),
            (tensors(&[("tokens", Dtype::U32, &[1, 1, 1], vec![0; 4])]), "[rows, length]"),
            (tensors(&[("tokens", Dtype::U32, &[2, 0], vec![])]), "length 0"),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(), "not a safetensors file"),
            (Vec::new(), "not a safetensors file"),
        ] {
            let (_folder, path) = file("t.safetensors", &bytes);
            let message = read_tokens(&path).unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} should say {expected:?}");
        }
    }

    #[test]
    fn token_rows_are_cut_to_the_context() {
        let batch = |name: &str, rows: &[&[u32]]| TokenBatch {
            name: name.into(),
            rows: rows.iter().map(|r| r.to_vec()).collect(),
        };
        let batches = [batch("a", &[&[1, 2, 3], &[4, 5, 6]]), batch("b", &[&[7, 8]])];
        assert_eq!(first_tokens(&batches, 2, 9).unwrap(), [[1, 2], [4, 5], [7, 8]]);
        assert_eq!(first_tokens(&batches, 3, 2).unwrap(), [[1, 2, 3], [4, 5, 6]]);
        let message = first_tokens(&batches, 3, 9).unwrap_err().to_string();
        assert!(message.contains("\"b\" have 2 tokens, 3 are needed"), "{message}");
    }
}
