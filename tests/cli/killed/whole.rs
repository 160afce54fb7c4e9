//! Whether a file is whole, by what its kind says of its own end.

use std::{
    fs,
    path::{Path, PathBuf},
};

use prunelens_core::cache::Cache;
use safetensors::SafeTensors;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// All files in a folder and below.
pub fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] }).collect()
}

/// Being written: in a temporary folder, or a temporary file itself.
pub fn is_temporary(path: &Path) -> bool {
    path.iter().any(|part| part.to_str().is_some_and(|part| part.starts_with(".prunelens-")))
}

pub fn whole(path: &Path) -> Result<(), String> {
    let Ok(bytes) = fs::read(path) else { return Ok(()) };
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    let text = || String::from_utf8(bytes.clone()).map_err(|e| e.to_string());
    let ends = |end: &str| text()?.trim_end().ends_with(end).then_some(()).ok_or(format!("it does not end in {end}"));
    let json = |text: &str| serde_json::from_str::<Value>(text).map(drop).map_err(|e| e.to_string());
    // A claim is made in its place, where only one worker can make it: a torn one counts for nothing.
    let claim = path.parent().is_some_and(|folder| folder.ends_with("claims"));
    if is_temporary(path) || claim {
        return Ok(());
    }
    match extension {
        "json" => json(&text()?),
        // It grows by a line a report, and the last may be half written: readers pass it over.
        "jsonl" if path.ends_with("training.jsonl") => {
            let text = text()?;
            let lines: Vec<&str> = text.split_inclusive('\n').collect();
            lines.iter().filter(|line| line.ends_with('\n')).try_for_each(|line| json(line))
        }
        "jsonl" | "cast" => text()?.lines().try_for_each(json),
        "toml" => toml::from_str::<toml::Table>(&text()?).map(drop).map_err(|e| e.to_string()),
        "safetensors" => SafeTensors::deserialize(&bytes).map(drop).map_err(|e| e.to_string()),
        "parquet" => {
            (bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1")).then_some(()).ok_or("no parquet".to_owned())
        }
        "job" => with_header(&bytes),
        "cache" => kept(path, &bytes),
        "svg" => ends("</svg>"),
        "html" => ends("</html>"),
        "xml" => ends("</testsuites>"),
        "csv" | "md" | "txt" => ends("").and_then(|()| bytes.ends_with(b"\n").then_some(()).ok_or("cut".into())),
        _ => Ok(()),
    }
}

/// A line of JSON, and what follows it.
fn header(bytes: &[u8]) -> Result<(Value, &[u8]), String> {
    let at = bytes.iter().position(|b| *b == b'\n').ok_or("it has no header")?;
    Ok((serde_json::from_slice(&bytes[..at]).map_err(|e| e.to_string())?, &bytes[at + 1..]))
}

/// An entry of the cache is whole where the cache takes it.
fn kept(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let (header, rest) = header(bytes)?;
    let (Some(kind), Some(key)) = (header["kind"].as_str(), header["key"].as_str()) else {
        return Err(format!("{header} names no entry"));
    };
    let taken = Cache::new(path.parent().unwrap(), u64::MAX).get(kind, key);
    (taken.as_deref() == Some(rest)).then_some(()).ok_or(format!("{} bytes follow {header}", rest.len()))
}

/// A line of JSON that says how many bytes follow, and their SHA-256.
fn with_header(bytes: &[u8]) -> Result<(), String> {
    let (header, rest) = header(bytes)?;
    let sum: String = Sha256::digest(rest).iter().map(|b| format!("{b:02x}")).collect();
    let same = header["bytes"] == rest.len() && header["sha256"] == sum;
    same.then_some(()).ok_or(format!("{} bytes follow {header}", rest.len()))
}
