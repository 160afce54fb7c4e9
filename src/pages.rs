//! Completion scripts and manual pages, made from the command line's definition.

use std::path::Path;

use clap::CommandFactory;

use crate::{
    cli::{Cli, CompletionsArgs, ManArgs},
    error::{Error, Result},
    output,
};

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
    clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(|e| Error::invalid(e.to_string()))?;
    output::answer(&String::from_utf8_lossy(&page))
}

fn write_pages(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(|e| Error::io(folder, e))
}
