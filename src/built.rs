//! What this program was built for, and from what.

use std::{env::consts, sync::LazyLock};

use serde::Serialize;

/// As `prunelens --version` and `prunelens doctor` say it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Built {
    /// What it computes on: `cpu`, and `cuda` if it was built with that feature.
    pub features: Vec<&'static str>,
    /// Processor, system and C library.
    pub target: String,
    /// What PRUNELENS_COMMIT said when it was built: a packaged crate knows no commit.
    pub commit: Option<&'static str>,
}

impl Built {
    pub fn new() -> Self {
        let library = match () {
            () if cfg!(target_env = "gnu") => "-gnu",
            () if cfg!(target_env = "musl") => "-musl",
            () => "",
        };
        Self {
            features: if cfg!(feature = "cuda") { vec!["cpu", "cuda"] } else { vec!["cpu"] },
            target: format!("{}-{}{library}", consts::ARCH, consts::OS),
            commit: option_env!("PRUNELENS_COMMIT").filter(|commit| !commit.is_empty()),
        }
    }

    /// "features cpu, target x86_64-linux-gnu, commit 0a1b2c": a line, or one for each with another separator.
    pub fn words(&self, separator: &str) -> String {
        let mut words = vec![format!("features {}", self.features.join(" ")), format!("target {}", self.target)];
        words.extend(self.commit.map(|commit| format!("commit {commit}")));
        words.join(separator)
    }
}

impl Default for Built {
    fn default() -> Self {
        Self::new()
    }
}

/// What `--version` prints; `-V` prints the version alone.
pub fn long_version() -> &'static str {
    static TEXT: LazyLock<String> =
        LazyLock::new(|| format!("{}\n{}", env!("CARGO_PKG_VERSION"), Built::new().words("\n")));
    &TEXT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_named_only_where_it_is_known() {
        let built = |commit| Built { features: vec!["cpu", "cuda"], target: "aarch64-macos".into(), commit };
        assert_eq!(built(None).words(", "), "features cpu cuda, target aarch64-macos");
        assert_eq!(built(Some("0a1b2c")).words("\n"), "features cpu cuda\ntarget aarch64-macos\ncommit 0a1b2c");
    }
}
