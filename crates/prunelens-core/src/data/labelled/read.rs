//! Reading data sets that were handed in.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::{ABOUT, About, Dataset, LabelledText, TEST, TRAIN};
use crate::{
    data::read_records,
    error::{Error, Result},
    text::{safe, shorten},
};

/// The data sets below `folder`, or those of them named (by folder or by name), in the order of their folders. `folder`
/// may be a data set itself.
pub fn read_datasets(folder: &Path, wanted: &[String]) -> Result<Vec<Dataset>> {
    let folders = dataset_folders(folder)?.into_iter();
    let described =
        folders.map(|folder| read_about(&folder).map(|about| (folder, about))).collect::<Result<Vec<_>>>()?;
    let chosen = wanted_of(folder, described, wanted)?.into_iter();
    let datasets: Vec<_> = chosen.map(|(folder, about)| read_dataset(&folder, about)).collect::<Result<_>>()?;
    let mut names = BTreeSet::new();
    match datasets.iter().find(|d| !names.insert(&d.about.name)) {
        Some(twice) => Err(Error::file(
            twice.folder.join(ABOUT),
            format!("another data set is called {:?} too; their results would be mixed up", safe(&twice.about.name)),
        )),
        None => Ok(datasets),
    }
}

/// Those of some data sets that are named, by folder or by name; all, if none is. `place` is where they are.
pub(crate) fn wanted_of(
    place: &Path,
    described: Vec<(PathBuf, About)>,
    wanted: &[String],
) -> Result<Vec<(PathBuf, About)>> {
    let is = |folder: &Path, about: &About, name: &str| about.name == name || folder.file_name() == Some(name.as_ref());
    if let Some(missing) = wanted.iter().find(|name| !described.iter().any(|(f, about)| is(f, about, name))) {
        let found: Vec<_> = described.iter().map(|(_, about)| safe(&about.name)).collect();
        return Err(Error::file(
            place,
            format!("holds no data set {:?}; found {}", shorten(missing, 60), found.join(", ")),
        ));
    }
    let chosen = |(f, a): &(PathBuf, About)| wanted.is_empty() || wanted.iter().any(|name| is(f, a, name));
    Ok(described.into_iter().filter(chosen).collect())
}

fn dataset_folders(folder: &Path) -> Result<Vec<PathBuf>> {
    if folder.join(TRAIN).exists() {
        return Ok(vec![folder.to_path_buf()]);
    }
    let entries = fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        if path.join(TRAIN).exists() {
            folders.push(path);
        }
    }
    folders.sort();
    if folders.is_empty() {
        return Err(Error::file(
            folder,
            format!(
                "holds no labelled texts; expected a folder a data set with {TRAIN} and {TEST} (`prunelens data labels` makes them)"
            ),
        ));
    }
    Ok(folders)
}

fn read_about(folder: &Path) -> Result<About> {
    const MAX_BYTES: u64 = 1 << 20;
    let path = folder.join(ABOUT);
    let mut about = match fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => About::default(),
        Err(error) => return Err(Error::io(&path, error)),
        Ok(found) if found.len() > MAX_BYTES => return Err(Error::file(&path, "too large for a description")),
        Ok(_) => {
            let text = fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
            serde_json::from_str(&text).map_err(|e| Error::file(&path, shorten(&e.to_string(), 200)))?
        }
    };
    if about.name.is_empty() {
        about.name = folder.file_name().map_or_else(|| "texts".into(), |name| name.to_string_lossy().into_owned());
    }
    Ok(about)
}

fn read_dataset(folder: &Path, mut about: About) -> Result<Dataset> {
    let train = read_split(&folder.join(TRAIN))?;
    let test = read_split(&folder.join(TEST))?;
    let path = folder.join(ABOUT);
    let labels: BTreeSet<&String> = train.iter().map(|t| &t.label).collect();
    if about.classes.is_empty() {
        about.classes = labels.iter().map(|label| (*label).clone()).collect();
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = about.classes.iter().find(|class| !seen.insert(*class)) {
        return Err(Error::file(&path, format!("class {:?} is listed twice", shorten(twice, 60))));
    }
    if let Some(alone) = about.scr_pairs.iter().flatten().find(|class| !about.classes.contains(class)) {
        return Err(Error::file(&path, format!("the pair with {:?} is not of its classes", shorten(alone, 60))));
    }
    if about.scr_pairs.iter().any(|[a, b]| a == b) || about.spurious_values.as_ref().is_some_and(|[a, b]| a == b) {
        return Err(Error::file(&path, "a pair is of one value twice"));
    }
    Ok(Dataset { folder: folder.to_path_buf(), about, train, test })
}

fn read_split(path: &Path) -> Result<Vec<LabelledText>> {
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let texts = read_records(path, &["text", "label", "spurious"])?.into_iter().map(|record| {
        let place = record.place;
        let mut values = record.values.into_iter();
        let mut value = || values.next().flatten();
        let (text, label, spurious) = (value(), value(), value());
        let need = |value: Option<String>, name: &str| {
            value.ok_or_else(|| Error::file(path, format!("{place}: the {name} is missing")))
        };
        let (text, label) = (need(text, "\"text\"")?, need(label, "\"label\"")?);
        Ok(LabelledText { text, label, spurious, place: format!("{file} {place}") })
    });
    let texts: Vec<_> = texts.collect::<Result<_>>()?;
    if texts.is_empty() {
        return Err(Error::file(path, "holds no texts"));
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    const TEXTS: &str =
        "{\"text\": \"a\", \"label\": 1}\n{\"text\": \"b\", \"label\": \"x\", \"spurious\": true, \"more\": 0}\n";

    #[test]
    fn data_sets_by_name_and_by_folder() {
        let folder = folder(&[
            ("b/train.jsonl", TEXTS),
            ("b/test.jsonl", TEXTS),
            ("a/train.jsonl", TEXTS),
            ("a/test.jsonl", TEXTS),
            ("a/dataset.json", "{\"name\": \"of/someone\", \"classes\": [\"x\", \"1\"]}"),
            ("ravel/ravel_city_entity_attributes.json", "{}"),
        ]);
        let all = read_datasets(folder.path(), &[]).unwrap();
        assert_eq!(all.iter().map(|d| &d.about.name[..]).collect::<Vec<_>>(), ["of/someone", "b"]);
        assert_eq!(
            (&all[0].about.classes[..], &all[1].about.classes[..]),
            (&["x".to_owned(), "1".into()][..], &["1".to_owned(), "x".into()][..])
        );
        assert_eq!(
            (&all[0].train[1].place[..], all[0].train[1].spurious.as_deref()),
            ("train.jsonl line 2", Some("true"))
        );
        for (wanted, name) in [("a", "of/someone"), ("of/someone", "of/someone"), ("b", "b")] {
            let found = read_datasets(folder.path(), &[wanted.into()]).unwrap();
            assert!(found.len() == 1 && found[0].about.name == name);
        }
        assert_eq!(read_datasets(&folder.path().join("b"), &[]).unwrap()[0], all[1]);
        let message = read_datasets(folder.path(), &["c".into()]).unwrap_err().to_string();
        assert!(message.contains("no data set \"c\"; found of/someone, b"), "{message}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let with = |name: &str, text: &str| {
            let mut files = vec![("d/train.jsonl", TEXTS), ("d/test.jsonl", TEXTS)];
            files.retain(|(file, _)| *file != name);
            files.push((name, text));
            let folder = folder(&files);
            read_datasets(folder.path(), &[]).unwrap_err().to_string()
        };
        for (name, text, expected) in [
            ("d/train.jsonl", "{\"text\": \"a\", \"label\": 1}\n{\"text\": \"a\"}", "line 2: the \"label\" is missing"),
            ("d/test.jsonl", "{\"label\": \"a\"}", "line 1: the \"text\" is missing"),
            ("d/test.jsonl", "", "holds no texts"),
            ("d/dataset.json", "{", "dataset.json"),
            ("d/dataset.json", "{\"class\": []}", "unknown field"),
            ("d/dataset.json", "{\"classes\": [\"1\", \"1\"]}", "listed twice"),
            ("d/dataset.json", "{\"scr_pairs\": [[\"1\", \"2\"]]}", "\"2\" is not of its classes"),
            ("d/dataset.json", "{\"spurious_values\": [\"1\", \"1\"]}", "twice"),
        ] {
            let message = with(name, text);
            assert!(message.contains(expected) && message.contains(name), "{message:?} should say {expected:?}");
        }
        let empty = tempfile::tempdir().unwrap();
        assert!(read_datasets(empty.path(), &[]).unwrap_err().to_string().contains("no labelled texts"));
        assert!(read_datasets(&empty.path().join("no"), &[]).is_err());
        let twice = folder(&[
            ("a/train.jsonl", TEXTS),
            ("a/test.jsonl", TEXTS),
            ("b/train.jsonl", TEXTS),
            ("b/test.jsonl", TEXTS),
            ("b/dataset.json", "{\"name\": \"a\"}"),
        ]);
        assert!(read_datasets(twice.path(), &[]).unwrap_err().to_string().contains("called \"a\" too"));
    }
}
