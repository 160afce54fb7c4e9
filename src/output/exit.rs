//! How the process ends: the message and the exit code.

use std::{io::Write, process::ExitCode};

use prunelens_core::error::Error;

use super::printable;

/// The work failed: say why on stderr.
pub fn fail(error: &Error) -> ExitCode {
    tracing::error!("{error}");
    complain(&error.to_string());
    ExitCode::from(error.exit_code())
}

/// The process ends because a signal asked it to, and everything is saved: with the code that shells give it.
pub fn end_by(signal: i32) -> ! {
    std::process::exit(128 + signal)
}

/// What clap ended with: help and version are answers, the rest is wrong use.
pub fn refuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Styled for a terminal; a reader who has gone is no error.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    complain(text.strip_prefix("error: ").unwrap_or(&text).trim_end());
    ExitCode::from(2)
}

fn complain(message: &str) {
    // Nobody is left to tell if stderr is closed.
    let _ = writeln!(std::io::stderr(), "prunelens: {}", printable(message));
}

/// Give panics a report that a user can pass on; errors never get a backtrace.
pub fn report_panics() {
    let hooks = color_eyre::config::HookBuilder::default()
        .panic_section("This is a bug in prunelens; the log file (see `prunelens doctor`) has what led to it.")
        .display_env_section(false);
    hooks.into_hooks().0.install();
}
