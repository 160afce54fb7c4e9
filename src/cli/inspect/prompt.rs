//! The prompt of a command: an argument, a flag, or standard input.

use std::io::Read;

use clap::Args;
use prunelens_core::error::{Error, Result};

#[derive(Args, Clone, Debug, Default)]
pub struct PromptArgs {
    /// The prompt; `-` reads it from stdin.
    #[arg(value_name = "PROMPT", required_unless_present = "prompt_flag")]
    pub prompt: Option<String>,
    /// The same as a flag.
    #[arg(long = "prompt", value_name = "TEXT", conflicts_with = "prompt", id = "prompt_flag")]
    pub prompt_flag: Option<String>,
}

impl PromptArgs {
    /// Its text.
    pub fn text(&self) -> Result<String> {
        match self.prompt.as_deref().or(self.prompt_flag.as_deref()) {
            Some("-") => from_stdin(),
            Some(text) => Ok(text.to_owned()),
            None => Err(Error::Usage("a prompt is needed: give some text, or - to read it from stdin".into())),
        }
    }
}

/// No model reads as much at once.
const LONGEST: u64 = 16 << 20;

fn from_stdin() -> Result<String> {
    let mut text = String::new();
    std::io::stdin().take(LONGEST + 1).read_to_string(&mut text).map_err(|e| Error::io("stdin", e))?;
    match text.len() as u64 > LONGEST {
        true => Err(Error::invalid(format!("stdin: a prompt of more than {LONGEST} bytes; give a part of it"))),
        false => Ok(text),
    }
}
