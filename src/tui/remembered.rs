//! What is remembered from one session to the next: names and explanations of latents, by the contents of the SAE that they
//! belong to, prompts, and where a session was left.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use prunelens_core::{
    digest::sha256,
    error::{Error, Result},
    files::write_with_folders,
    session::SessionSpec,
};
use serde::{Deserialize, Serialize};

use crate::tui::{
    state::{Explained, PROMPTS, SavedView},
    views,
};

/// No file of ours is anywhere near this long.
const MAX_BYTES: u64 = 64 << 20;

/// Sessions whose end is kept.
const LEFT: usize = 50;

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

/// Keep the name of a latent, or that it has none. Names that another program of this kind has given meanwhile stay.
pub fn keep_name(folder: &Path, (digest, sae): (&str, &str), latent: u32, name: Option<&str>) -> Result<()> {
    let path = names_file(folder, digest);
    let mut names = names(folder, digest)?;
    match name {
        Some(name) => drop(names.insert(latent, name.into())),
        None => drop(names.remove(&latent)),
    }
    let file = NamesFile { sae: sae.into(), names };
    let text = serde_json::to_string_pretty(&file).map_err(|e| Error::file(&path, e.to_string()))?;
    write_with_folders(path, text.as_bytes())
}

fn explained_file(folder: &Path, digest: &str) -> PathBuf {
    folder.join("explained").join(format!("{}.json", digest.get(..32).unwrap_or(digest)))
}

/// Explanations of latents of an SAE that were read from a file once.
pub fn explained(folder: &Path, digest: &str) -> Result<Explained> {
    let path = explained_file(folder, digest);
    let Some(bytes) = read(&path)? else { return Ok(Explained::default()) };
    serde_json::from_slice(&bytes)
        .map_err(|e| Error::file(&path, format!("explanations cannot be read: {e}; read them from their file again")))
}

/// Keep explanations of latents.
pub fn keep_explained(folder: &Path, digest: &str, explained: &Explained) -> Result<()> {
    let path = explained_file(folder, digest);
    let text = serde_json::to_vec(explained).map_err(|e| Error::file(&path, e.to_string()))?;
    write_with_folders(path, &text)
}

/// The file for where a session of these models was left.
fn left_file(folder: &Path, spec: &SessionSpec) -> PathBuf {
    let key = sha256(views::session(spec).to_string().as_bytes());
    folder.join("left").join(format!("{}.toml", key.get(..16).unwrap_or(&key)))
}

/// Where the last session of these models was left.
pub fn left(folder: &Path, spec: &SessionSpec) -> Result<Option<SavedView>> {
    let path = left_file(folder, spec);
    if path.is_file() { views::read(&path).map(Some) } else { Ok(None) }
}

/// The file of the session that was left last, if it is one of other models.
pub fn left_elsewhere(folder: &Path, spec: &SessionSpec) -> Option<PathBuf> {
    let last = files_by_age(&folder.join("left")).pop()?;
    (last != left_file(folder, spec)).then_some(last)
}

/// Keep where a session is left; the oldest of many are forgotten.
pub fn keep_left(folder: &Path, spec: &SessionSpec, view: &SavedView) -> Result<()> {
    let path = left_file(folder, spec);
    write_with_folders(&path, views::text(spec, view)?.as_bytes())?;
    let all = files_by_age(&folder.join("left"));
    for old in &all[..all.len().saturating_sub(LEFT)] {
        fs::remove_file(old).map_err(|e| Error::io(old, e))?;
    }
    Ok(())
}

/// Oldest first; none where there is no folder.
fn files_by_age(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let views = entries.filter(|entry| entry.path().extension().is_some_and(|e| e == "toml"));
    let mut all: Vec<_> =
        views.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
    all.sort();
    all.into_iter().map(|(_, path)| path).collect()
}

/// The step of the tour at which it was left: the first where nothing tells.
pub fn tour(folder: &Path) -> usize {
    fs::read_to_string(folder.join("tour")).ok().and_then(|step| step.trim().parse().ok()).unwrap_or(0)
}

pub fn keep_tour(folder: &Path, step: usize) -> Result<()> {
    write_with_folders(folder.join("tour"), format!("{step}\n").as_bytes())
}

/// Prompts, the last one last.
pub fn prompts(folder: &Path) -> Result<Vec<String>> {
    let Some(bytes) = read(&folder.join("prompts.jsonl"))? else { return Ok(Vec::new()) };
    // A line that is no text is not worth more than itself.
    Ok(String::from_utf8_lossy(&bytes).lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// Keep a prompt as the last one, behind those that are there; the oldest of many are forgotten.
pub fn keep_prompt(folder: &Path, prompt: &str) -> Result<()> {
    let path = folder.join("prompts.jsonl");
    let mut all = prompts(folder)?;
    all.retain(|earlier| earlier != prompt);
    all.push(prompt.into());
    let mut text = String::new();
    for prompt in &all[all.len().saturating_sub(PROMPTS)..] {
        text += &serde_json::to_string(prompt).map_err(|e| Error::file(&path, e.to_string()))?;
        text.push('\n');
    }
    write_with_folders(path, text.as_bytes())
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
        let keep = |latent, name| keep_name(folder.path(), ("a", "an SAE"), latent, name);
        keep(7, Some("navy \"blue\"\n")).unwrap();
        let given = BTreeMap::from([(7, "navy \"blue\"\n".to_owned())]);
        assert_eq!(names(folder.path(), "a").unwrap(), given);
        keep(8, Some("ships")).unwrap();
        keep(7, None).unwrap();
        let both = BTreeMap::from([(8, "ships".to_owned())]);
        assert_eq!(names(folder.path(), "a").unwrap(), both, "what is not spoken of stays");
        assert_eq!(names(folder.path(), "b").unwrap(), BTreeMap::new());
        fs::write(names_file(folder.path(), "a"), "{").unwrap();
        assert!(names(folder.path(), "a").unwrap_err().to_string().contains("move the file away"));
        assert!(keep(9, Some("x")).is_err(), "a file that cannot be read is not written over");
    }

    #[test]
    fn where_a_session_was_left_is_kept_by_its_models() {
        let folder = tempfile::tempdir().unwrap();
        let (demo, mut other) = (SessionSpec::demo(), SessionSpec::demo());
        other.compress = "magnitude:0.3".parse().unwrap();
        let view: SavedView = toml::from_str("prompt = \"navy\"\nknob = \"ratio:0.3\"\ncriterion = \"wanda\"").unwrap();
        assert_eq!((left(folder.path(), &demo).unwrap(), left_elsewhere(folder.path(), &demo)), (None, None));
        keep_left(folder.path(), &demo, &view).unwrap();
        assert_eq!(left(folder.path(), &demo).unwrap(), Some(view));
        assert_eq!(left(folder.path(), &other).unwrap(), None);
        assert_eq!(left_elsewhere(folder.path(), &demo), None);
        assert_eq!(left_elsewhere(folder.path(), &other), Some(left_file(folder.path(), &demo)));
    }

    #[test]
    fn explanations_are_kept_by_the_contents_of_an_sae() {
        let folder = tempfile::tempdir().unwrap();
        let explained = Explained { from: "np".into(), texts: BTreeMap::from([(7, "ships".into())]) };
        keep_explained(folder.path(), "a", &explained).unwrap();
        assert_eq!(super::explained(folder.path(), "a").unwrap(), explained);
        assert_eq!(super::explained(folder.path(), "b").unwrap(), Explained::default());
    }

    #[test]
    fn the_last_prompts_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let all: Vec<String> = (0..PROMPTS + 5).map(|n| format!("prompt\n{n}")).collect();
        all.iter().for_each(|prompt| keep_prompt(folder.path(), prompt).unwrap());
        let kept = prompts(folder.path()).unwrap();
        assert_eq!((kept.len(), kept.first(), kept.last()), (PROMPTS, all.get(5), all.last()));
        keep_prompt(folder.path(), &all[7]).unwrap();
        let kept = prompts(folder.path()).unwrap();
        assert_eq!((kept.len(), kept.last()), (PROMPTS, Some(&all[7])), "each once");
    }
}
