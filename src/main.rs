//! The program: parse, set up, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use prunelens::{
    cli::{Cli, Command},
    doctor,
    error::Result,
    logging, output, pages,
};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return output::refuse(&error),
    };
    output::report_panics();
    logging::start();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::fail(&error),
    }
}

fn run(cli: Cli) -> Result<()> {
    match cli.command.unwrap_or_else(|| Command::Explore(Box::new(cli.explore))) {
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => pages::completions(&args),
        Command::Man(args) => pages::man(&args),
        _ => Ok(()),
    }
}
