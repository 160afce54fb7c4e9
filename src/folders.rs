//! Where the program keeps its files, by the XDG rules.

use std::path::PathBuf;

use etcetera::BaseStrategy;
use prunelens_core::cache::Cache;

/// Folders of this program; none of them need exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    pub config: PathBuf,
    pub cache: PathBuf,
    pub state: PathBuf,
    pub results: PathBuf,
}

impl Folders {
    /// From the environment; `None` where it names no home folder.
    pub fn find() -> Option<Self> {
        let base = etcetera::choose_base_strategy().ok()?;
        let name = env!("CARGO_PKG_NAME");
        Some(Self {
            config: base.config_dir().join(name),
            cache: base.cache_dir().join(name),
            state: base.state_dir().unwrap_or_else(|| base.cache_dir()).join(name),
            results: base.data_dir().join(name).join("results"),
        })
    }

    /// What took long to make, `limit` bytes of it at most.
    pub fn made(&self, limit: Option<u64>) -> Cache {
        Cache::new(self.cache.join("made"), limit.unwrap_or(4 << 30))
    }

    /// A user's own theme of this name.
    pub fn theme(&self, name: &str) -> PathBuf {
        self.config.join("themes").join(format!("{name}.toml"))
    }

    /// A user's own keys.
    pub fn keys_file(&self) -> PathBuf {
        self.config.join("keys.toml")
    }

    pub fn log_file(&self) -> PathBuf {
        self.state.join("prunelens.log")
    }
}
