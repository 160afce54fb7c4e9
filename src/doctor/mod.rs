//! `prunelens doctor`: what the program finds on this machine.

mod advice;
mod machine;
mod surroundings;
mod terminal;

use prunelens_core::{
    hub::HubSettings,
    session::{Session, SessionSpec},
};
use serde::Serialize;

use self::{advice::Found, surroundings::Surroundings};
use crate::{built::Built, folders::Folders, process::status_mb, settings as config};

/// Everything the command reports. What cannot be known is null, never guessed.
#[derive(Debug, Serialize)]
pub struct Report {
    version: &'static str,
    built: Built,
    cpu: machine::Cpu,
    memory: machine::Memory,
    gpu: machine::Gpu,
    terminal: terminal::Terminal,
    surroundings: Surroundings,
    folders: Option<Places>,
    hub: Option<Hub>,
    session: Option<Loaded>,
    /// What to do next.
    next: Vec<String>,
}

/// A loaded session: what stays, and the most that the process had while loading it.
#[derive(Debug, Serialize)]
struct Loaded {
    parts_mb: Vec<(String, f64)>,
    stays_mb: f64,
    peak_rss_mb: Option<f64>,
}

impl Loaded {
    fn of(session: &Session) -> Self {
        let mb = |bytes: u64| bytes as f64 / 1e6;
        let parts = session.memory();
        Self {
            stays_mb: mb(parts.iter().map(|(_, bytes)| bytes).sum()),
            parts_mb: parts.into_iter().map(|(name, bytes)| (name, mb(bytes))).collect(),
            peak_rss_mb: status_mb("VmHWM:"),
        }
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let part = |(name, mb): &(String, f64)| ("uses", format!("{mb:9.1} MB  {name}"));
        let mut lines: Vec<_> = self.parts_mb.iter().map(part).collect();
        lines.push(("stays", format!("{:9.1} MB", self.stays_mb)));
        lines.extend(self.peak_rss_mb.map(|mb| ("peak", format!("{mb:9.1} MB  of the process"))));
        lines
    }
}

/// How models and SAEs that are named by a hub id are found.
#[derive(Debug, Serialize)]
struct Hub {
    cache: String,
    endpoint: String,
    /// The variable or file that it comes from; never the token.
    token_from: Option<String>,
    offline: bool,
}

impl Hub {
    fn find() -> Option<Self> {
        let HubSettings { cache, endpoint, token_source, offline, .. } =
            HubSettings::new(false, &config::environment).ok()?;
        Some(Self { cache: cache.display().to_string(), endpoint, token_from: token_source, offline })
    }

    fn lines(&self) -> [(&'static str, String); 3] {
        let online = if self.offline { "offline, as HF_HUB_OFFLINE says" } else { self.endpoint.as_str() };
        let token = match &self.token_from {
            Some(source) => format!("set, from {source}"),
            None => "not set (HF_TOKEN); needed for gated and private repositories".into(),
        };
        [("hub", online.to_owned()), ("hub cache", self.cache.clone()), ("hub token", token)]
    }
}

#[derive(Debug, Serialize)]
struct Places {
    config: String,
    cache: String,
    state: String,
    results: String,
    log: String,
}

impl Report {
    /// As a session of `spec` would have it, with what uses memory where one is loaded.
    pub fn find(session: Option<&Session>, spec: &SessionSpec) -> Self {
        let surroundings = Surroundings::find(&config::environment);
        let (memory, gpu, terminal) =
            (machine::Memory::find(), machine::Gpu::find(&spec.libraries), terminal::Terminal::find());
        let found = Found {
            surroundings,
            cuda: gpu.built_with_cuda,
            gpu: gpu.is_there(),
            driver: gpu.driver_version.is_some(),
            missing: &gpu.missing,
            available: memory.available_bytes,
            terminal: terminal.present,
        };
        Self {
            version: env!("CARGO_PKG_VERSION"),
            built: Built::new(),
            cpu: machine::Cpu::find(),
            next: advice::advice(&found),
            memory,
            gpu,
            terminal,
            surroundings,
            folders: Folders::find().map(|folders| Places {
                log: folders.log_file().display().to_string(),
                config: folders.config.display().to_string(),
                cache: folders.cache.display().to_string(),
                state: folders.state.display().to_string(),
                results: std::path::absolute(&spec.results)
                    .unwrap_or_else(|_| spec.results.clone())
                    .display()
                    .to_string(),
            }),
            hub: Hub::find(),
            session: session.map(Loaded::of),
        }
    }

    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![("version", format!("{}, {}", self.version, self.built.words(", ")))];
        lines.extend(self.cpu.lines());
        lines.extend(self.memory.lines());
        lines.extend(self.gpu.lines());
        lines.extend(self.terminal.lines());
        match &self.folders {
            Some(Places { config, cache, state, results, log }) => {
                let places =
                    [("config", config), ("cache", cache), ("state", state), ("results", results), ("log", log)];
                lines.extend(places.map(|(name, path)| (name, path.clone())));
            }
            None => lines.push(("folders", "none: HOME is not set".into())),
        }
        lines.extend(self.hub.iter().flat_map(Hub::lines));
        lines.extend(self.session.iter().flat_map(Loaded::lines));
        lines.extend(self.next.iter().map(|advice| ("next", advice.clone())));
        lines
    }
}
