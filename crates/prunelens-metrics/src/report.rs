//! Result files in the shape SAEBench writes and its plotting code reads.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use candle_core::DType;
use prunelens_core::{
    error::{Error, Result},
    files::{create_folder, temporary_in, write_atomic},
    model::{HookPoint, Site},
    sae::{Activation, Sae, SaeConfig},
};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// One result file. Fields are SAEBench's, in its order.
#[derive(Clone, Debug, Serialize)]
pub struct ResultFile {
    /// The family: "core" ...
    pub eval_type_id: &'static str,
    /// Settings, in SAEBench's names.
    pub eval_config: Value,
    /// Shared by the files of one run.
    pub eval_id: String,
    /// When it was measured, in milliseconds since 1970.
    pub datetime_epoch_millis: u64,
    /// Category objects of flat numbers.
    pub eval_result_metrics: Value,
    /// A list of flat objects.
    pub eval_result_details: Value,
    /// What made the file.
    pub sae_bench_commit_hash: String,
    /// Name of the SAE.
    pub sae_lens_id: String,
    /// Name of the release it belongs to.
    pub sae_lens_release_id: String,
    /// Version of SAELens, where one was used.
    pub sae_lens_version: Option<String>,
    /// The SAE's config as SAELens 6 writes it.
    pub sae_cfg_dict: Value,
    /// Whatever else the family has; readers of SAEBench's files pass over it.
    pub eval_result_unstructured: Value,
}

/// Which SAE on which model a result belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Distinct for every variant, ratio and pruned model, so that no file replaces another's.
    pub release: String,
    /// "custom_sae" unless the SAE has an id of its own.
    pub sae_id: String,
    /// The model the SAE read, with its pruning: "demo (wanda:0.5)".
    pub model_name: String,
    /// The SAE's SAELens config.
    pub sae_config: Value,
}

/// What the files of one run have in common.
#[derive(Clone, Debug)]
pub struct RunStamp {
    /// One for all files of a run.
    pub eval_id: String,
    /// In milliseconds since 1970.
    pub datetime_epoch_millis: u64,
}

impl RunStamp {
    /// A new identity, at this moment.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            eval_id: uuid::Uuid::new_v4().to_string(),
            // SAEBench's own bound on the field.
            datetime_epoch_millis: u64::try_from(since.as_millis()).unwrap_or(u64::MAX).min(9_999_999_999_999),
        }
    }
}

impl ResultFile {
    /// A file without figures.
    pub fn new(eval_type_id: &'static str, identity: &Identity, stamp: &RunStamp) -> Self {
        Self {
            eval_type_id,
            eval_config: Value::Null,
            eval_id: stamp.eval_id.clone(),
            datetime_epoch_millis: stamp.datetime_epoch_millis,
            eval_result_metrics: Value::Null,
            eval_result_details: json!([]),
            sae_bench_commit_hash: concat!("prunelens ", env!("CARGO_PKG_VERSION")).into(),
            sae_lens_id: identity.sae_id.clone(),
            sae_lens_release_id: identity.release.clone(),
            sae_lens_version: None,
            sae_cfg_dict: identity.sae_config.clone(),
            eval_result_unstructured: json!({}),
        }
    }
}

impl Identity {
    /// `{release}_{sae_id}_eval_results.json`, as SAEBench names it; what a file name cannot hold becomes `_` too.
    pub fn file_name(&self) -> String {
        let safe = |c: char| if c.is_alphanumeric() || "._-+=".contains(c) { c } else { '_' };
        let stem: String = format!("{}_{}", self.release, self.sae_id).chars().map(safe).collect();
        const SUFFIX: &str = "_eval_results.json";
        // 255 bytes is the usual limit of a name; the end tells variants apart, so the start goes.
        let excess = (stem.len() + SUFFIX.len()).saturating_sub(255);
        let cut = (excess..=stem.len()).find(|&at| stem.is_char_boundary(at)).unwrap_or(stem.len());
        format!("{}{SUFFIX}", &stem[cut..])
    }
}

/// Write the files of one run to `folder/FAMILY/`; plotting code tells the family by the folder's name. A file of that name
/// with other settings or figures is kept under a name of its own. Gives the paths of the new ones.
pub fn write_results<'a>(
    folder: &Path,
    files: impl IntoIterator<Item = (&'a Identity, ResultFile)>,
) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for (identity, file) in files {
        let folder = folder.join(file.eval_type_id);
        create_folder(&folder)?;
        let path = folder.join(identity.file_name());
        let mut json = serde_json::to_vec_pretty(&file)
            .map_err(|e| Error::file(&path, format!("the results cannot be put in JSON: {e}")))?;
        json.push(b'\n');
        put(&path, &json)?;
        written.push(path);
    }
    Ok(written)
}

/// Longest earlier result that is compared with the new one.
const LONGEST: u64 = 256 << 20;
/// Earlier results kept beside a new one.
const KEPT: usize = 1000;

/// Names do not tell the rows, seeds and sizes of a run, so one name may be several runs', and of several processes at once.
/// Whatever is at the name is moved away and never written over, until the new result finds it free; then those go that say
/// what the new one says.
fn put(path: &Path, json: &[u8]) -> Result<()> {
    // A link is followed, and what is no plain file is written through to.
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        return match fs::canonicalize(path) {
            Ok(target) if target.is_file() => put(&target, json),
            _ => write_atomic(path, json),
        };
    }
    let unsaved = |error: io::Error| {
        let why = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => format!(
                "the disk is full and {} bytes are needed; an older file of this name is unchanged. Free some space or choose another folder",
                json.len()
            ),
            _ => format!("{error}; earlier results of this name are kept"),
        };
        Error::file(path, format!("not saved: {why}"))
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    let prepare = || {
        let mut temporary = temporary_in(folder)?;
        temporary.write_all(json)?;
        temporary.as_file().sync_all()?;
        Ok(temporary)
    };
    let mut new = prepare().map_err(unsaved)?;
    // As it will be read: numbers then compare equal if they are.
    let said = said(json);
    let mut aside = Vec::new();
    let again = loop {
        // Before it has the name: what others move away afterwards may be this very result.
        let again = copies(path, said.as_ref());
        match new.persist_noclobber(path) {
            Ok(_) => break again,
            Err(refused) if refused.error.kind() == io::ErrorKind::AlreadyExists => {
                aside.extend(set_aside(path)?);
                new = refused.file;
            }
            // Not every file system can tell whether a name is free while it gives it.
            Err(refused) => {
                aside.extend(set_aside(path)?);
                let again = copies(path, said.as_ref());
                refused.file.persist(path).map_err(|refused| unsaved(refused.error))?;
                break again;
            }
        }
    };
    if cfg!(unix) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(unsaved)?;
    }
    for (copy, bytes) in again {
        // One that cannot go stays; it does no harm.
        if fs::read(&copy).is_ok_and(|now| now == bytes) {
            let _ = fs::remove_file(copy);
        }
    }
    for kept in aside.iter().filter(|kept| kept.exists()) {
        tracing::info!("an earlier result with other settings is kept as {}", kept.display());
    }
    Ok(())
}

/// Rename what is at a name to `..._eval_results.1.json` and so on, which readers of results, SAEBench's too, pass over; `None`
/// where somebody else did.
fn set_aside(path: &Path) -> Result<Option<PathBuf>> {
    // Taken before it is renamed to: another process then takes another number.
    let take = |at: PathBuf| match File::create_new(&at) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => None,
        taken => Some(taken.map(|_| at.clone()).map_err(|e| Error::io(at, e))),
    };
    let free = (1..=KEPT).map(|n| numbered(path, n)).find_map(take).ok_or_else(|| {
        Error::file(
            path,
            format!("not written: {KEPT} earlier results of this name are beside it; choose another folder"),
        )
    })??;
    match fs::rename(path, &free) {
        Ok(()) => Ok(Some(free)),
        Err(error) => {
            let _ = fs::remove_file(&free);
            if error.kind() == io::ErrorKind::NotFound { Ok(None) } else { Err(Error::io(path, error)) }
        }
    }
}

/// Earlier results that say the same as the new one, which need not be kept.
fn copies(path: &Path, new: Option<&Said>) -> Vec<(PathBuf, Vec<u8>)> {
    let small = |at: &PathBuf| fs::metadata(at).is_ok_and(|found| found.is_file() && found.len() <= LONGEST);
    let kept = (1..=KEPT).map(|n| numbered(path, n)).filter(small).filter_map(|at| Some((fs::read(&at).ok()?, at)));
    let same = kept.filter(|(bytes, _)| new.is_some() && said(bytes).as_ref() == new);
    same.map(|(bytes, at)| (at, bytes)).collect()
}

/// Settings and figures of a result file.
#[derive(Debug, PartialEq)]
struct Said {
    config: Value,
    figures: Value,
}

fn said(json: &[u8]) -> Option<Said> {
    let mut value: Value = serde_json::from_slice(json).ok()?;
    let mut take = |key: &str| Some(value.get_mut(key)?.take());
    Some(Said { config: take("eval_config")?, figures: take("eval_result_metrics")? })
}

fn numbered(path: &Path, n: usize) -> PathBuf {
    path.with_extension(format!("{n}.json"))
}

/// The SAE's config as SAELens 6 writes it, from whatever layout it was read, with the hook at which it is used. `model`
/// names the model where the SAE's own file does not.
pub fn sae_cfg_dict(sae: &Sae, hook: HookPoint, model: &str) -> Value {
    let (config, source) = (&sae.config, &sae.config.source);
    let v6 = source.get("metadata").and_then(Value::as_object);
    let mut out = match (v6, source) {
        (Some(_), Value::Object(source)) => source.clone(),
        _ => from_flat(sae),
    };
    out.insert("metadata".into(), Value::Object(metadata(config, hook, model, v6)));
    let architecture = out.shift_remove("architecture").unwrap_or_else(|| config.architecture.into());
    out.insert("architecture".into(), architecture);
    Value::Object(out)
}

/// Top level of a config that SAELens 6 did not write.
fn from_flat(sae: &Sae) -> Map<String, Value> {
    let config = &sae.config;
    let reshape = if config.hook.site == Site::Z { "hook_z" } else { "none" };
    let mut out = Map::new();
    let mut set = |key: &str, value: Value| drop(out.insert(key.into(), value));
    set("d_in", config.d_in.into());
    set("d_sae", config.d_sae.into());
    set("dtype", "float32".into());
    set("device", "cpu".into());
    set("apply_b_dec_to_input", config.apply_b_dec_to_input.into());
    set("normalize_activations", config.normalize.name().into());
    set("reshape_activations", reshape.into());
    set("metadata", Value::Null);
    if let Activation::TopK { k, rescale_by_decoder_norm } = sae.activation {
        set("k", k.into());
        set("rescale_acts_by_decoder_norm", rescale_by_decoder_norm.into());
    }
    out
}

/// What SAELens keeps about where an SAE belongs: `known` from the SAE's file, the rest filled in.
fn metadata(
    config: &SaeConfig,
    hook: HookPoint,
    model: &str,
    known: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    let old = |key: &str| config.source.get(key).cloned().unwrap_or_default();
    let model_name = old("model_name");
    let mut out = known.cloned().unwrap_or_default();
    for (key, value) in [
        ("model_name", if model_name.is_string() { model_name } else { model.into() }),
        ("hook_name", hook.to_string().into()),
        ("hook_layer", hook.layer.into()),
        ("hook_head_index", Value::Null),
        ("prepend_bos", config.prepend_bos.into()),
        ("context_size", old("context_size")),
        ("dataset_path", old("dataset_path")),
        ("dataset_trust_remote_code", Value::Null),
        ("model_from_pretrained_kwargs", json!({})),
        ("exclude_special_tokens", Value::Null),
    ] {
        let moved = config.hook != hook && key.starts_with("hook_");
        if moved || !out.contains_key(key) {
            out.insert(key.into(), value);
        }
    }
    out
}

/// SAEBench's name of the type a model computes in.
pub fn llm_dtype(dtype: DType) -> &'static str {
    match dtype {
        DType::BF16 => "bfloat16",
        DType::F16 => "float16",
        _ => "float32",
    }
}

/// A number for a result file: -1 stands for what is undefined, as in SAEBench's files.
pub fn number(value: f64) -> Value {
    if value.is_finite() { value.into() } else { Value::from(-1) }
}

/// [`number`], rounded to the 10 decimals SAEBench gives for single latents.
pub fn rounded(value: f64) -> Value {
    // Formatting rounds the exact value, which scaling by 1e10 would not.
    number(format!("{value:.10}").parse().unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(release: &str) -> Identity {
        Identity {
            release: release.into(),
            sae_id: "custom_sae".into(),
            model_name: "m".into(),
            sae_config: Value::Null,
        }
    }

    fn file(rows: usize) -> ResultFile {
        ResultFile {
            eval_type_id: "core",
            eval_config: json!({ "rows": rows }),
            eval_id: String::new(),
            datetime_epoch_millis: 0,
            eval_result_metrics: json!({ "a": { "b": 0.1 + 0.2 } }),
            eval_result_details: json!([]),
            sae_bench_commit_hash: String::new(),
            sae_lens_id: String::new(),
            sae_lens_release_id: String::new(),
            sae_lens_version: None,
            sae_cfg_dict: Value::Null,
            eval_result_unstructured: Value::Null,
        }
    }

    #[test]
    fn file_names() {
        assert_eq!(identity("tiny").file_name(), "tiny_custom_sae_eval_results.json");
        assert_eq!(identity("a/b c:0.5\u{1b}[").file_name(), "a_b_c_0.5___custom_sae_eval_results.json");
        let long = identity(&"ü".repeat(400)).file_name();
        assert!(long.len() <= 255 && long.ends_with("ü_custom_sae_eval_results.json"));
    }

    #[test]
    fn an_earlier_result_is_kept_if_it_says_something_else() {
        let folder = tempfile::tempdir().unwrap();
        let identity = identity("m");
        for rows in [8, 8, 16, 8] {
            write_results(folder.path(), [(&identity, file(rows))]).unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(folder.path().join("core"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let name = identity.file_name();
        let numbered = |n: usize| name.replace(".json", &format!(".{n}.json"));
        // The first result of 8 rows went when the same was measured again.
        assert_eq!(names, [numbered(2), name.clone()]);
        let rows = |name: &str| -> Value {
            serde_json::from_slice(&fs::read(folder.path().join("core").join(name)).unwrap()).unwrap()
        };
        assert_eq!(rows(&name)["eval_config"]["rows"], 8);
        assert_eq!(rows(&names[0])["eval_config"]["rows"], 16);
    }

    /// Threads stand for processes: each has its files opened by itself.
    #[test]
    fn results_that_are_written_at_once_are_all_kept() {
        const WRITERS: usize = 8;
        const EACH: usize = 6;
        let folder = tempfile::tempdir().unwrap();
        let identity = identity("m");
        let start = std::sync::Barrier::new(WRITERS);
        let write = &|writer: usize| {
            start.wait();
            for at in 0..EACH {
                // Two of them say the same, of runs of their own.
                let file = ResultFile { eval_id: format!("{writer} {at}"), ..file(writer / 2 * EACH + at) };
                write_results(folder.path(), [(&identity, file)]).unwrap();
            }
        };
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                scope.spawn(move || write(writer));
            }
        });
        let entries = fs::read_dir(folder.path().join("core")).unwrap();
        let rows: std::collections::BTreeSet<u64> = entries
            .map(|entry| {
                let found: Value = serde_json::from_slice(&fs::read(entry.unwrap().path()).unwrap()).unwrap();
                found["eval_config"]["rows"].as_u64().unwrap()
            })
            .collect();
        assert_eq!(rows.into_iter().collect::<Vec<_>>(), (0..(WRITERS / 2 * EACH) as u64).collect::<Vec<_>>());
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let identity = identity("m");
        let (core, target) = (folder.path().join("core"), folder.path().join("elsewhere.json"));
        fs::create_dir(&core).unwrap();
        let link = core.join(identity.file_name());
        std::os::unix::fs::symlink(&target, &link).unwrap();
        for rows in [8, 16] {
            write_results(folder.path(), [(&identity, file(rows))]).unwrap();
        }
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "the link is still one");
        let rows = |path: &Path| said(&fs::read(path).unwrap()).unwrap().config["rows"].as_u64();
        assert_eq!((rows(&target), rows(&numbered(&target, 1))), (Some(16), Some(8)));
    }

    #[test]
    fn numbers_are_finite_and_rounded_as_python_does() {
        assert_eq!(number(f64::NAN), Value::from(-1));
        assert_eq!(number(f64::NEG_INFINITY), Value::from(-1));
        assert_eq!(rounded(f64::INFINITY), Value::from(-1));
        assert_eq!(rounded(0.115_702_480_077_743_53), Value::from(0.115_702_480_1));
        assert_eq!(rounded(3.0).to_string(), "3.0");
    }

    #[test]
    fn a_stamp_is_a_uuid_and_a_time() {
        let stamp = RunStamp::now();
        assert_eq!(stamp.eval_id.len(), 36);
        assert!(stamp.datetime_epoch_millis > 1_700_000_000_000);
    }
}
