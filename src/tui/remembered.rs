//! What is remembered from one session to the next: names of latents, by the contents of the SAE that they belong to, and
//! prompts.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use prunelens_core::error::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::export::write_atomically;

/// Prompts kept.
const PROMPTS: usize = 200;
/// No file of ours is anywhere near this long.
const MAX_BYTES: u64 = 64 << 20;

/// Names of latents as a file has them.
#[derive(Serialize, Deserialize)]
struct NamesFile {
    /// As users know it; the file's name is the digest of its contents.
    sae: String,
    names: BTreeMap<u32, String>,
}

fn names_file(folder: &Path, digest: &str) -> PathBuf {
    folder.join("names").join(format!("{}.json", digest.get(..32).unwrap_or(digest)))
}

/// Names given to latents of an SAE; none where there is no file.
pub fn names(folder: &Path, digest: &str) -> Result<BTreeMap<u32, String>> {
    let path = names_file(folder, digest);
    let Some(bytes) = read(&path)? else { return Ok(BTreeMap::new()) };
    let file: NamesFile = serde_json::from_slice(&bytes).map_err(|e| {
        Error::file(&path, format!("names of latents cannot be read: {e}; move the file away to begin anew"))
    })?;
    Ok(file.names)
}

/// Keep names of latents.
pub fn keep_names(folder: &Path, digest: &str, sae: &str, names: &BTreeMap<u32, String>) -> Result<()> {
    let path = names_file(folder, digest);
    let file = NamesFile { sae: sae.into(), names: names.clone() };
    let text = serde_json::to_string_pretty(&file).map_err(|e| Error::file(&path, e.to_string()))?;
    write_atomically(&path, text.as_bytes())
}

/// Prompts, the last one last.
pub fn prompts(folder: &Path) -> Result<Vec<String>> {
    let Some(bytes) = read(&folder.join("prompts.jsonl"))? else { return Ok(Vec::new()) };
    // A line that is no text is not worth more than itself.
    Ok(String::from_utf8_lossy(&bytes).lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// Keep prompts, the last one last.
pub fn keep_prompts(folder: &Path, prompts: &[String]) -> Result<()> {
    let path = folder.join("prompts.jsonl");
    let mut text = String::new();
    for prompt in &prompts[prompts.len().saturating_sub(PROMPTS)..] {
        text += &serde_json::to_string(prompt).map_err(|e| Error::file(&path, e.to_string()))?;
        text.push('\n');
    }
    write_atomically(&path, text.as_bytes())
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::metadata(path) {
        Ok(found) if found.len() > MAX_BYTES => {
            Err(Error::file(path, format!("{} bytes are more than are read", found.len())))
        }
        Ok(_) => fs::read(path).map(Some).map_err(|e| Error::io(path, e)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_by_the_contents_of_an_sae() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(names(folder.path(), "a").unwrap(), BTreeMap::new());
        let given = BTreeMap::from([(7, "navy \"blue\"\n".to_owned())]);
        keep_names(folder.path(), "a", "an SAE", &given).unwrap();
        assert_eq!(names(folder.path(), "a").unwrap(), given);
        assert_eq!(names(folder.path(), "b").unwrap(), BTreeMap::new());
        fs::write(names_file(folder.path(), "a"), "{").unwrap();
        assert!(names(folder.path(), "a").unwrap_err().to_string().contains("move the file away"));
    }

    #[test]
    fn the_last_prompts_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let all: Vec<String> = (0..PROMPTS + 5).map(|n| format!("prompt\n{n}")).collect();
        keep_prompts(folder.path(), &all).unwrap();
        let kept = prompts(folder.path()).unwrap();
        assert_eq!((kept.len(), kept.first(), kept.last()), (PROMPTS, all.get(5), all.last()));
    }
}
