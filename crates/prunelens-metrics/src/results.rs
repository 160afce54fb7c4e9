//! Result files read back: this program's, SAEBench's, and whatever else lies beside them.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use prunelens_core::{
    compare::Variant,
    error::{Error, Result},
    text::shorten,
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

/// The figures of one result file.
#[derive(Clone, Debug)]
pub struct ResultFigures {
    /// The file.
    pub path: PathBuf,
    /// "core", "absorption_first_letter" ...
    pub family: String,
    /// What was measured: the release and the SAE's id, else the file's name.
    pub release: String,
    /// Name of the model.
    pub model: Option<String>,
    /// Where the release names one.
    pub variant: Option<Variant>,
    /// Of the SAE.
    pub architecture: Option<String>,
    /// Size of the dictionary.
    pub d_sae: Option<u64>,
    /// In milliseconds since 1970.
    pub when: Option<u64>,
    /// Identity that files of one run share.
    pub run: Option<String>,
    /// Settings of the measurement.
    pub config: Value,
    /// Category, name and value; `None` where undefined.
    pub figures: Vec<(String, String, Option<f64>)>,
}

/// What a folder holds.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// By family, model and release.
    pub files: Vec<ResultFigures>,
    /// Files that look like results and are none, and why.
    pub passed_over: Vec<(PathBuf, String)>,
}

/// Files looked at, folders below each other, and the size of a file.
const MOST: usize = 10_000;
const DEEPEST: usize = 8;
const LONGEST: u64 = 512 << 20;
/// Figures of one file.
const FIGURES: usize = 2000;
const SUFFIX: &str = "_eval_results.json";

/// All result files of a folder and its subfolders, or one file.
pub fn find(place: &Path) -> Result<Found> {
    let metadata = fs::metadata(place).map_err(|e| Error::io(place, e))?;
    let mut paths = Vec::new();
    if metadata.is_dir() {
        walk(place, 0, &mut paths)?;
    } else {
        paths.push(place.to_path_buf());
    }
    let mut found = Found::default();
    for path in paths {
        match read(&path) {
            Ok(file) => found.files.push(file),
            Err(why) => found.passed_over.push((path, why)),
        }
    }
    if found.files.is_empty() {
        let why =
            found.passed_over.first().map(|(path, why)| format!("; {}: {why}", path.display())).unwrap_or_default();
        return Err(Error::file(place, format!("holds no result files (their names end in {SUFFIX}){why}")));
    }
    let order = |f: &ResultFigures| (f.family.clone(), f.model.clone(), f.variant, f.release.clone(), f.path.clone());
    found.files.sort_by_key(order);
    Ok(found)
}

fn walk(folder: &Path, depth: usize, paths: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if paths.len() >= MOST {
            return Ok(());
        }
        // Links to folders are passed by: they may lead back here.
        let Ok(kind) = entry.file_type() else { continue };
        let path = entry.path();
        if kind.is_dir() && depth < DEEPEST {
            // A subfolder that may not be read hides nothing that can be shown.
            let _ = walk(&path, depth + 1, paths);
        } else if !kind.is_dir() && entry.file_name().to_string_lossy().ends_with(SUFFIX) {
            paths.push(path);
        }
    }
    Ok(())
}

/// What is read of a file; everything may be missing or of another kind.
#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    eval_type_id: Value,
    #[serde(default)]
    eval_config: Value,
    #[serde(default)]
    eval_id: Value,
    #[serde(default)]
    datetime_epoch_millis: Value,
    #[serde(default)]
    eval_result_metrics: Value,
    #[serde(default)]
    sae_lens_id: Value,
    #[serde(default)]
    sae_lens_release_id: Value,
    #[serde(default)]
    sae_cfg_dict: Value,
    /// Large, and not shown.
    #[serde(default, rename = "eval_result_details")]
    _details: IgnoredAny,
    #[serde(default, rename = "eval_result_unstructured")]
    _unstructured: IgnoredAny,
}

fn read(path: &Path) -> Result<ResultFigures, String> {
    let metadata = fs::metadata(path).map_err(|e| e.to_string())?;
    if !metadata.is_file() || metadata.len() > LONGEST {
        return Err(format!("not a file of at most {} MiB", LONGEST >> 20));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes)).map_err(|e| e.to_string())?;
    replace_bare_words(&mut bytes);
    let raw: Raw = serde_json::from_slice(&bytes).map_err(|e| shorten(&e.to_string(), 200))?;
    let text = |value: &Value| value.as_str().map(|text| shorten(text, 500));
    let family = text(&raw.eval_type_id).ok_or("it has no eval_type_id")?;
    let figures = figures(&raw.eval_result_metrics);
    if figures.is_empty() {
        return Err("it has no eval_result_metrics".into());
    }
    let stem = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = stem.strip_suffix(SUFFIX).unwrap_or(&stem).to_owned();
    let release = match (text(&raw.sae_lens_release_id), text(&raw.sae_lens_id)) {
        (Some(release), Some(id)) if id != "custom_sae" => format!("{release} {id}"),
        (Some(release), _) => release,
        _ => shorten(&stem, 500),
    };
    Ok(ResultFigures {
        path: path.to_path_buf(),
        family,
        variant: release.split(['_', ' ']).rev().find_map(|part| part.parse().ok()),
        release,
        model: text(&raw.eval_config["model_name"]).filter(|name| !name.is_empty()),
        architecture: text(&raw.sae_cfg_dict["architecture"]),
        d_sae: raw.sae_cfg_dict["d_sae"].as_u64(),
        when: raw.datetime_epoch_millis.as_u64(),
        run: text(&raw.eval_id),
        config: raw.eval_config,
        figures,
    })
}

/// Numbers of the category objects. -1 may stand for what is undefined, and may be a figure: it stays.
fn figures(metrics: &Value) -> Vec<(String, String, Option<f64>)> {
    let categories = metrics.as_object().into_iter().flatten();
    let all = categories.flat_map(|(category, values)| {
        let values = values.as_object().into_iter().flatten();
        values
            .filter(|(_, value)| value.is_number() || value.is_null() || **value == "")
            .map(|(name, value)| (shorten(category, 100), shorten(name, 100), value.as_f64().filter(|v| v.is_finite())))
    });
    all.take(FIGURES).collect()
}

/// Python writes `NaN` and `Infinity` bare, which is no JSON: they become null. Lengths stay, so that messages name the
/// right place.
fn replace_bare_words(bytes: &mut [u8]) {
    let (mut at, mut in_string) = (0, false);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'N' | b'I' | b'-' if !in_string => {
                let word = [&b"NaN"[..], b"Infinity", b"-Infinity"].into_iter().find(|w| bytes[at..].starts_with(w));
                if let Some(word) = word {
                    let place = &mut bytes[at..at + word.len()];
                    place.fill(b' ');
                    // "NaN" is too short for "null"; a zero there would be a lie, so it is an empty string.
                    let instead: &[u8] = if place.len() < 4 { b"\"\"" } else { b"null" };
                    place[..instead.len()].copy_from_slice(instead);
                    at += word.len() - 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_words_become_json() {
        let mut bytes = br#"{"a": NaN, "b": [-Infinity, Infinity, -1], "NaN \" Infinity": "NaN"}"#.to_vec();
        replace_bare_words(&mut bytes);
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["a"], "");
        assert_eq!(value["b"], serde_json::json!([null, null, -1]));
        assert_eq!(value["NaN \" Infinity"], "NaN");
        for odd in [&b"\\"[..], b"\"", b"\"\\", b"-", b"-Infinit", b"N", b""] {
            replace_bare_words(&mut odd.to_vec());
        }
    }

    #[test]
    fn files_of_strangers_do_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let good = r#"{"eval_type_id": "core\u001b[2J", "eval_result_metrics": {"a\u001b": {"b": Infinity, "c": 1, "d": "x", "e": {}}}, "sae_cfg_dict": 3, "eval_config": []}"#;
        write("good_eval_results.json", good);
        let deep = "[".repeat(100_000);
        for (at, text) in
            ["", "[]", "{", "null", "{\"eval_type_id\": 3}", "{\"eval_type_id\": \"x\"}", &deep].iter().enumerate()
        {
            write(&format!("bad{at}_eval_results.json"), text);
        }
        write("bad8_eval_results.json", r#"{"eval_type_id": "core", "eval_result_metrics": {"a": 3}}"#);
        fs::create_dir(folder.path().join("dir_eval_results.json")).unwrap();
        write("notes.txt", "");
        let found = find(folder.path()).unwrap();
        assert_eq!((found.files.len(), found.passed_over.len()), (1, 8), "{found:?}");
        let file = &found.files[0];
        assert!(!file.family.contains('\u{1b}'));
        let figures: Vec<_> = file.figures.iter().map(|(_, name, value)| (name.as_str(), *value)).collect();
        assert_eq!(figures, [("b", None), ("c", Some(1.0))]);
        assert!(find(&folder.path().join("notes.txt")).is_err());
        assert!(find(&folder.path().join("missing")).is_err());
    }
}
