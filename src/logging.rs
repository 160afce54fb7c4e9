//! Logs go to a file in the state folder, never to the screen.

use std::{fs, path::Path, sync::Mutex};

use tracing_subscriber::EnvFilter;

use crate::folders::Folders;

/// A log beyond this size is set aside at the next start, replacing the one set aside before.
const KEEP: u64 = 4 << 20;

/// Variable with a filter such as `debug` or `prunelens=trace`.
pub const FILTER: &str = "PRUNELENS_LOG";

/// Start logging. A log that cannot be written must not keep the program from working: then there is none.
pub fn start() {
    let Some(folders) = Folders::find() else { return };
    let Ok(file) = open(&folders.log_file()) else { return };
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new("warn,prunelens=info"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(Mutex::new(file))
        // A full disk must not be reported on the screen, for every line again.
        .log_internal_errors(false)
        .finish();
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        tracing::info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), "start");
    }
}

fn open(path: &Path) -> std::io::Result<fs::File> {
    if let Some(folder) = path.parent() {
        make(folder)?;
    }
    if fs::metadata(path).is_ok_and(|found| found.len() > KEEP) {
        fs::rename(path, path.with_extension("log.old"))?;
    }
    fs::OpenOptions::new().create(true).append(true).open(path)
}

/// The state folder, which also gets prompts and names of latents: its owner's alone, unless it is there already.
fn make(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state").join("prunelens.log");
        open(&path).unwrap().set_len(KEEP + 1).unwrap();
        assert_eq!(open(&path).unwrap().metadata().unwrap().len(), 0);
        assert_eq!(fs::metadata(path.with_extension("log.old")).unwrap().len(), KEEP + 1);
    }

    #[cfg(unix)]
    #[test]
    fn the_state_folder_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        open(&state.join("prunelens.log")).unwrap();
        assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
