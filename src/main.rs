//! The program: parse, run, exit code.

use std::process::ExitCode;

use prunelens::{cli::Cli, interrupt, logging, output};

fn main() -> ExitCode {
    let cli = match Cli::asked() {
        Ok(cli) => cli,
        Err(error) => return output::refuse(&error),
    };
    output::report_panics();
    interrupt::outlive_file_limits();
    logging::start();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::fail(&error),
    }
}
