//! `prunelens render`.

use std::path::PathBuf;

use clap::Args;

use super::{DisplayArgs, SessionArgs, values};

#[derive(Args, Clone, Debug)]
pub struct RenderArgs {
    /// Size of the screen in cells.
    #[arg(long, value_name = "WxH", default_value = "120x36", value_parser = values::size)]
    pub size: (u16, u16),
    /// Keys to press: text, and names such as <tab>, <enter> or <wait> (for the engine) in angle brackets.
    #[arg(long, value_name = "SCRIPT", default_value = "<wait>")]
    pub keys: String,
    /// File to write; its ending says what: .svg, .txt or .cast.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    #[command(flatten)]
    pub session: SessionArgs,
    #[command(flatten)]
    pub display: DisplayArgs,
}
