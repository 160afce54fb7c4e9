//! What a job's outcome depends on beside its parameters: a saved state goes on only where all of it is the same.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use prunelens_core::{
    demo::sets,
    digest::sha256,
    hub::{HubSettings, Kind},
    sae::Knob,
    session::{Session, SessionSpec, Source},
};
use serde_json::{Map, Value, json};

use super::{Defaults, Family, JobSpec, ParamValue, params};

/// Files up to this size are known by their content, larger ones by size and time of change.
const READ_WHOLE: u64 = 64 << 20;
/// Files of a folder that are looked at, and folders in folders.
const MOST_FILES: usize = 1000;
const DEEPEST: usize = 3;

/// The session's part, as an object that can be compared and read.
pub fn of_session(session: &Session) -> Value {
    let mut said = of_spec(&session.spec, &mut PathDigests::new());
    said["hook"] = json!(session.hook.to_string());
    said["space"] = json!(session.space.name());
    said["device"] = json!(format!("{:?}", session.models.original.device.location()));
    // Sessions without another knob keep their names.
    match session.setting.knob {
        Knob::Ratio(_) => drop(said.as_object_mut().and_then(|said| said.shift_remove("knob"))),
        _ => said["knob"] = json!(session.setting.key()),
    }
    said
}

/// Files and folders that were looked at, so that those of many sessions are read once.
pub type PathDigests = HashMap<PathBuf, Value>;

/// The same of a session that is not loaded, as far as its settings tell it: not the device, nor what an SAE's config says.
pub fn of_spec(spec: &SessionSpec, seen: &mut PathDigests) -> Value {
    // What the hub gave is in its cache by now, in a folder named by its commit.
    let hub = spec.hub.clone().map(|settings| HubSettings { offline: true, ..settings });
    let mut known = |path: &Path| seen.entry(path.to_path_buf()).or_insert_with(|| of_path(path)).clone();
    let mut source = |s: &Source, kind| match s.locate(kind, &hub, &mut |_| Ok(())) {
        Ok(Some(path)) => known(&path),
        Ok(None) => "demo".into(),
        Err(_) => format!("{s:?}").into(),
    };
    let model = source(&spec.model, Kind::Model);
    let pruned_model = spec.pruned_model.as_ref().map(|s| source(s, Kind::Model));
    let sae = spec.sae.as_ref().map(|s| source(s, Kind::Sae));
    let trained_sae = spec.trained_sae.as_ref().map(|s| source(s, Kind::Sae));
    let mut file = |path: &Option<PathBuf>| path.as_deref().map(&mut known);
    let mut of = json!({
        // Another version may compute or save otherwise.
        "program": env!("CARGO_PKG_VERSION"),
        "model": model,
        "pruned_model": pruned_model,
        "compress": spec.compress.to_string(),
        "calibration": file(&spec.calibration),
        "hook": spec.hook.map(|hook| hook.to_string()),
        "space": null,
        "sae": sae,
        "trained_sae": trained_sae,
        "ratio": spec.ratio,
        "criterion": spec.criterion.name(),
        "processing": format!("{:?}", spec.processing),
        "norm_scaling_factor": spec.norm_scaling_factor,
        "device": null,
        "dtype": spec.dtype.map(|dtype| dtype.as_str()),
        "bos": spec.bos,
        "text": file(&spec.text),
        "knob": spec.knob.to_string(),
    });
    // Only where they are asked for: jobs that rest on the usual ones have been measured before these could be chosen.
    let sizes = [("calibration_rows", spec.calibration_rows), ("calibration_length", spec.calibration_length)];
    for (name, size) in sizes.into_iter().filter_map(|(name, size)| Some((name, size?))) {
        of[name] = size.into();
    }
    of
}

/// The part of the files that a job's own parameters name, and of the data that are built in.
pub fn of_files(family: &Family, spec: &JobSpec) -> Value {
    let mut files = Map::new();
    for param in family.params {
        let known = match spec.params.0.get(param.name) {
            Some(ParamValue::Text(path)) if param.kind.is_place(path) => of_path(Path::new(path)),
            // Where nothing is chosen there are no others.
            _ if param.kind == params::Kind::Data => json!({ "demo": { "sha256": sets::digest() } }),
            _ => continue,
        };
        files.insert(param.name.to_owned(), known);
    }
    Value::Object(files)
}

/// [`key`] of a job on a session, whichever of its defaults are spelled out.
pub fn of_job(family: &Family, spec: &JobSpec, session: &Session) -> String {
    let spec = Defaults::of(family, session).canonical(spec);
    key(&spec, &of_session(session), &of_files(family, &spec))
}

/// A name for all of it together, fit for a file.
pub fn key(spec: &JobSpec, session: &Value, files: &Value) -> String {
    // Objects keep the order in which they were made, parameters are sorted by name.
    let text = json!([spec, session, files]).to_string();
    let digest = sha256(text.as_bytes());
    let name: String = spec.family.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(40).collect();
    format!("{name}-{}", &digest[..16])
}

/// A file or folder: where it is and what it holds. What cannot be read is told by whoever needs it.
pub fn of_path(path: &Path) -> Value {
    let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let mut found = json!({ "path": place.display().to_string() });
    if place.is_dir() {
        found["files"] = of_folder(&place, DEEPEST);
    } else {
        found["content"] = of_file(&place);
    }
    found
}

/// Files by name, those of subfolders too.
fn of_folder(folder: &Path, depth: usize) -> Value {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|e| e.file_name()).collect();
    names.sort();
    let file = |name: &std::ffi::OsString| {
        let path = folder.join(name);
        let known = match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() && depth > 0 => of_folder(&path, depth - 1),
            _ => size_and_time(&path),
        };
        (name.to_string_lossy().into_owned(), known)
    };
    Value::Object(names.iter().take(MOST_FILES).map(file).collect())
}

fn of_file(path: &Path) -> Value {
    let small = fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() <= READ_WHOLE);
    let digest = small.then(|| digest(path)).flatten();
    digest.map_or_else(|| size_and_time(path), |digest| json!({ "sha256": digest }))
}

fn digest(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(READ_WHOLE + 1).read_to_end(&mut bytes).ok()?;
    Some(sha256(&bytes))
}

/// Only compared, never reckoned with: a clock that jumps does no harm.
fn size_and_time(path: &Path) -> Value {
    let Ok(metadata) = fs::metadata(path) else { return Value::Null };
    let changed = metadata.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
    json!({ "bytes": metadata.len(), "changed": changed.map(|t| t.as_nanos().to_string()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text.txt");
        fs::write(&path, "one").unwrap();
        let before = of_path(&path);
        fs::write(&path, "one").unwrap();
        assert_eq!(of_path(&path), before, "written again with the same content");
        fs::write(&path, "two").unwrap();
        assert_ne!(of_path(&path), before);
        assert_ne!(of_path(folder.path()), before);
        assert!(of_path(&folder.path().join("missing"))["content"].is_null());
    }

    #[test]
    fn data_that_are_built_in_are_known_by_content_and_the_same_by_name_and_by_default() {
        let of = |family: &str, data: Option<&str>| {
            let spec = JobSpec::new(family);
            let spec = data.map_or(spec.clone(), |data| spec.with("data", ParamValue::Text(data.into())));
            of_files(spec.family(crate::FAMILIES).unwrap(), &spec)
        };
        for family in ["sparse_probing", "scr", "tpp", "ravel"] {
            let built_in = of(family, None);
            assert_eq!(built_in["data"]["demo"]["sha256"], sets::digest());
            assert_eq!(of(family, Some("demo")), built_in);
            assert!(of(family, Some("/nowhere/demo"))["data"]["path"].is_string());
        }
        assert_eq!(of("core", None), json!({}));
    }

    #[test]
    fn keys_differ_with_every_part_and_are_fit_for_files() {
        let spec = JobSpec::new("core");
        let key = |spec: &JobSpec, session: Value| key(spec, &session, &Value::Null);
        let first = key(&spec, json!({"model": "a"}));
        assert_eq!(first, key(&spec, json!({"model": "a"})));
        assert_ne!(first, key(&spec, json!({"model": "b"})));
        assert_ne!(first, key(&spec.clone().with("rows", ParamValue::Number(3.0)), json!({"model": "a"})));
        assert!(
            key(&JobSpec::new("../../x\u{1b}/"), Value::Null).chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        );
    }
}
