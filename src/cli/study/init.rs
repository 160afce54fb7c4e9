//! `prunelens study init`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use prunelens_core::error::Result;

use crate::cli::session_file;

#[derive(Args, Clone, Debug)]
pub struct InitArgs {
    /// Where to write it; `-` prints it.
    #[arg(value_name = "FILE", default_value = "-")]
    pub file: PathBuf,
    /// What it begins with.
    #[arg(long, value_name = "NAME", value_enum, default_value_t = Preset::Demo)]
    pub preset: Preset,
    /// Replace the file if it exists.
    #[arg(long)]
    pub force: bool,
}

/// Studies to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// The demo, all of it: a few minutes.
    Demo,
    /// A first look at a model of one's own.
    Quick,
    /// What arXiv 2507.15977 measured.
    Paper,
}

impl Preset {
    pub fn text(self) -> &'static str {
        match self {
            Self::Demo => include_str!("../../study/presets/demo.toml"),
            Self::Quick => include_str!("../../study/presets/quick.toml"),
            Self::Paper => include_str!("../../study/presets/paper.toml"),
        }
    }
}

pub fn run(args: &InitArgs) -> Result<()> {
    session_file::write(args.preset.text(), &args.file, args.force)
}
