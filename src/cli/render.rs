//! `prunelens render`.

use std::path::PathBuf;

use clap::Args;

use super::{DisplayArgs, SessionArgs, values};

#[derive(Args, Clone, Debug)]
pub struct RenderArgs {
    /// Size of the screen in cells.
    #[arg(long, value_name = "WxH", default_value = "120x36", value_parser = values::size)]
    pub size: (u16, u16),
    #[arg(
        long,
        value_name = "SCRIPT",
        default_value = "<wait>",
        help = "Keys to press: text, and names in angle brackets such as <tab>, <enter>, <ctrl-p>, <wait> (until the engine has answered) and <job> (until no job is left)"
    )]
    pub keys: String,
    /// File to write; its ending says what: .svg, .txt or .cast.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// A prompt to begin with.
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    #[command(flatten)]
    pub session: SessionArgs,
    #[command(flatten)]
    pub display: DisplayArgs,
}
