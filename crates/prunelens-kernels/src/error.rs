//! Errors a user can act on: each names the file, tensor, key or flag, what was expected and what was found.

use std::path::{Path, PathBuf};

/// What the library's functions give.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong, with what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that is not what it should be.
    #[error("{}: {what}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What was expected and found, and what to do.
        what: String,
    },
    /// Anything the user asked for that cannot be done; the text says what to do instead.
    #[error("{0}")]
    Invalid(String),
    /// Wrong use of the command line (exit code 2).
    #[error("{0}")]
    Usage(String),
    /// A newer request made this one pointless, or the user cancelled it.
    #[error("interrupted")]
    Interrupted,
    /// An operation of candle failed.
    #[error("tensor computation failed: {}{}", of_candle(.0), advice(.0))]
    Tensor(#[from] candle_core::Error),
}

impl Error {
    /// Reading or writing a file failed.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().to_path_buf(), source }
    }

    /// A file holds something else than was expected.
    pub fn file(path: impl AsRef<Path>, what: impl Into<String>) -> Self {
        Self::File { path: path.as_ref().to_path_buf(), what: what.into() }
    }

    /// Something asked for cannot be done.
    pub fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid(what.into())
    }

    /// Exit code of the process when this error ends it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Interrupted => 130,
            _ => 1,
        }
    }
}

/// What the driver calls a fault of a kernel. After one it refuses everything that this program asks of the GPU.
const FAULTS: [&str; 5] = [
    "ERROR_ASSERT",
    "ERROR_ILLEGAL_ADDRESS",
    "ERROR_MISALIGNED_ADDRESS",
    "ERROR_LAUNCH_FAILED",
    "ERROR_ILLEGAL_INSTRUCTION",
];

/// What candle says of an error, without the way through the program that it adds where RUST_BACKTRACE is set.
pub(crate) fn of_candle(error: &candle_core::Error) -> String {
    match error {
        candle_core::Error::WithBacktrace { inner, .. } => of_candle(inner),
        _ => error.to_string(),
    }
}

fn advice(error: &candle_core::Error) -> &'static str {
    let text = error.to_string();
    if FAULTS.iter().any(|fault| text.contains(fault)) {
        "; the GPU does nothing more for this program: start it again, or use --device cpu"
    } else if text.contains("ERROR_OUT_OF_MEMORY") {
        "; the GPU's memory is full: close what else uses it (nvidia-smi), ask for less (--dtype bf16, a smaller --batch), or use \
         --device cpu"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_that_is_lost_is_told_from_a_failure() {
        let text = |why: &str| Error::from(candle_core::Error::Msg(why.into())).to_string();
        assert!(text("DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, \"...\")").ends_with("use --device cpu"));
        assert!(text("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"...\")").contains("memory is full"));
        assert!(text("shape mismatch").ends_with("shape mismatch"));
    }

    #[test]
    fn where_in_the_program_an_error_came_from_is_not_said() {
        let error = candle_core::Error::WithBacktrace {
            inner: Box::new(candle_core::Error::Msg("no driver".into())),
            backtrace: Box::new(std::backtrace::Backtrace::force_capture()),
        };
        assert_eq!(Error::from(error).to_string(), "tensor computation failed: no driver");
    }
}
