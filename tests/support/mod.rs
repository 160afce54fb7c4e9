//! What tests share: the binary with a home of its own, and fixture models to spoil.

// Each test binary uses its own part of this.
#![allow(dead_code)]

pub mod device;
pub mod layered;
pub mod poison;
#[cfg(unix)]
pub mod screen;
pub mod stand_in;

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use candle_core::{DType, Tensor};
use prunelens_core::{
    error::Result,
    session::{DeviceSpec, Session, SessionSpec},
};
use prunelens_metrics::{Job, Step};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;
use tempfile::TempDir;

pub const GPT2: &str = "models/gpt2";
pub const LLAMA: &str = "models/llama";
/// A TopK SAE of the GPT-2 fixture, in the old layout.
pub const SAE: &str = "saes/gpt2/OAI-v5-32k-resid_post-gpt2/v5_32k_layer_1.pt";

/// The folder of all fixtures: PRUNELENS_FIXTURES where the tests run elsewhere than they were built.
pub fn fixtures() -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    std::env::var_os("PRUNELENS_FIXTURES").map_or_else(built, PathBuf::from)
}

/// A model, an SAE or their numbers.
pub fn fixture(path: &str) -> PathBuf {
    fixtures().join("parity").join(path)
}

/// What metrics are tried on.
pub fn metrics_fixture(path: &str) -> PathBuf {
    fixtures().join("metrics").join(path)
}

/// The numbers of a tensor of any type.
pub fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

pub fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The demo on the device in PRUNELENS_DEVICE, else on the processor, whatever else the machine has: a GPU's sums are in another
/// order, and its models in bf16.
pub fn demo_spec() -> SessionSpec {
    let asked = std::env::var("PRUNELENS_DEVICE").ok().filter(|name| name != "stand-in");
    SessionSpec { device: asked.map_or(DeviceSpec::Cpu, |name| name.parse().unwrap()), ..SessionSpec::demo() }
}

pub fn session(spec: SessionSpec) -> Session {
    Session::load(&spec, &mut |_| Ok(())).unwrap()
}

/// A job to its end; what it wrote.
pub fn finish(job: &mut dyn Job, results: &Path) -> Result<Vec<Value>> {
    while job.step(&mut || Ok(()))? == Step::More {}
    Ok(job.finish(results)?.iter().map(|path| read_json(path)).collect())
}

pub fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A browser of this machine, if there is one.
pub fn browser() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    let folders = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>())?;
    let found = folders.iter().flat_map(|folder| names.map(|name| folder.join(name))).find(|path| path.is_file());
    if found.is_none() {
        eprintln!("skipped: no Chromium is installed here");
    }
    found
}

/// A page as the browser understood it.
pub fn shown_by(browser: &Path, page: &Path) -> String {
    let profile = tempfile::tempdir().unwrap();
    let shown = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(!dom.is_empty(), "{}", String::from_utf8_lossy(&shown.stderr));
    dom
}

/// A home folder, and a place for files, that go away with the test.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// A copy of a fixture folder that may be changed.
    pub fn copy(&self, fixture_folder: &str, name: &str) -> PathBuf {
        self.copy_of(&fixture(fixture_folder), name)
    }

    pub fn copy_of(&self, from: &Path, name: &str) -> PathBuf {
        let to = self.path(name);
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
        to
    }

    /// The program, with nothing of this machine's settings.
    pub fn command(&self) -> Command {
        let mut command = Command::new(program());
        isolate(&self.path("home"), |name, value| {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        });
        command.current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    /// Run it with these arguments.
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ran {
        Ran::from(self.command().args(args).output().unwrap())
    }
}

/// The program as it was built with the tests, or another one that `PRUNELENS_TEST_PROGRAM` names: a release, say.
pub fn program() -> PathBuf {
    std::env::var_os("PRUNELENS_TEST_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_prunelens").into(), PathBuf::from)
}

/// The variables that keep the program away from this machine's settings: set, or removed where `None`.
pub fn isolate(home: &Path, mut set: impl FnMut(&str, Option<&OsStr>)) {
    set("HOME", Some(home.as_os_str()));
    set("TERM", Some("xterm-256color".as_ref()));
    set("LC_ALL", Some("C.UTF-8".as_ref()));
    set("PRUNELENS_DEVICE", Some("cpu".as_ref()));
    // No test asks the real hub: what one serves to itself is at an endpoint of its own.
    set("HF_ENDPOINT", Some("http://127.0.0.1:9".as_ref()));
    let removed = [
        "XDG_CONFIG_HOME",
        "XDG_CACHE_HOME",
        "XDG_STATE_HOME",
        "XDG_DATA_HOME",
        "NO_COLOR",
        "COLORTERM",
        "FORCE_COLOR",
        "CLICOLOR",
        "CLICOLOR_FORCE",
        "TMUX",
        "STY",
        "COLUMNS",
        "LINES",
        "PRUNELENS_LOG",
        "PRUNELENS_THEME",
        "PRUNELENS_RESULTS",
        "PRUNELENS_THREADS",
        "RUST_BACKTRACE",
        "HF_HOME",
        "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE",
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "HF_TOKEN_PATH",
        "HF_HUB_OFFLINE",
        "TRANSFORMERS_OFFLINE",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN",
        "HF_HUB_DOWNLOAD_TIMEOUT",
        "ALL_PROXY",
        "all_proxy",
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
    ];
    removed.into_iter().for_each(|name| set(name, None));
}

/// What a run left.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("only UTF-8 is printed");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Ran {
    /// It ended well and complained about nothing.
    #[track_caller]
    pub fn done(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        // What a busy machine is waited for is no complaint.
        let complaints = self.err.lines().filter(|line| !line.ends_with(" so far"));
        assert_eq!(complaints.count(), 0, "{self:#?}");
        self
    }

    /// It failed as promised: this exit code, one message with these words, nothing on stdout, no panic, and nothing
    /// that a terminal would act on.
    #[track_caller]
    pub fn refused(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert_eq!(self.out, "", "{self:#?}");
        assert!(self.err.starts_with("prunelens: "), "{self:#?}");
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in {self:#?}");
        }
        for word in ["panicked", "RUST_BACKTRACE", "unwrap", "src/"] {
            assert!(!self.err.contains(word), "{word:?} is in {self:#?}");
        }
        self.printable()
    }

    #[track_caller]
    pub fn printable(self) -> Self {
        let unsafe_character = |c: char| c.is_control() && c != '\n';
        assert!(!self.out.contains(unsafe_character) && !self.err.contains(unsafe_character), "{self:#?}");
        self
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }
}

/// Tensors of a file in f32, to change and write back.
pub struct Tensors(pub BTreeMap<String, (Vec<usize>, Vec<f32>)>);

impl Tensors {
    /// Only the f32 tensors; buffers of other types are left out.
    pub fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensor = |(name, view): (String, TensorView)| {
            let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
            (view.dtype() == Dtype::F32).then(|| (name, (view.shape().to_vec(), values)))
        };
        Self(file.tensors().into_iter().filter_map(tensor).collect())
    }

    pub fn get(&mut self, name: &str) -> &mut (Vec<usize>, Vec<f32>) {
        self.0.get_mut(name).unwrap_or_else(|| panic!("no tensor {name}"))
    }

    pub fn write(&self, path: &Path) {
        let bytes: HashMap<&String, Vec<u8>> = self
            .0
            .iter()
            .map(|(name, (_, values))| (name, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
            .collect();
        let views = self
            .0
            .iter()
            .map(|(name, (shape, _))| (name, TensorView::new(Dtype::F32, shape.clone(), &bytes[name]).unwrap()));
        let note = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize_to_file(views, Some(note), path).unwrap();
    }

    /// Change the tensors of a file in place.
    pub fn edit(path: &Path, change: impl FnOnce(&mut Self)) {
        let mut tensors = Self::read(path);
        change(&mut tensors);
        tensors.write(path);
    }
}

/// Change a JSON file in place.
pub fn edit_json(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut json = read_json(path);
    change(&mut json);
    fs::write(path, serde_json::to_vec(&json).unwrap()).unwrap();
}
