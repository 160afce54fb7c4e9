//! Completion scripts and manual pages, made from the command line's definition.

use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory, builder::Resettable};
use prunelens_core::error::{Error, Result};

use super::Cli;
use crate::output;

#[derive(Args, Clone, Debug)]
pub struct CompletionsArgs {
    pub shell: clap_complete::Shell,
}

#[derive(Args, Clone, Debug)]
pub struct ManArgs {
    /// Write one page a command into this folder instead.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// `prunelens completions`.
pub fn completions(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "prunelens", &mut script);
    output::answer(&String::from_utf8_lossy(&script))
}

/// `prunelens man`.
pub fn man(args: &ManArgs) -> Result<()> {
    if let Some(folder) = &args.out {
        return write_pages(folder);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(described()).render(&mut page).map_err(|e| Error::invalid(e.to_string()))?;
    output::answer(&String::from_utf8_lossy(&page))
}

/// The pages are of a version, whatever it was built for.
fn described() -> Command {
    Cli::command().long_version(Resettable::Reset)
}

fn write_pages(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    clap_mangen::generate_to(described(), folder).map_err(|e| Error::io(folder, e))
}
