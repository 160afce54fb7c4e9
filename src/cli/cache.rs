//! `prunelens cache`.

use clap::{Args, Subcommand};
use prunelens_core::{
    error::{Error, Result},
    text::bytes,
};
use serde_json::json;

use crate::{folders::Folders, output, words::ago};

#[derive(Args, Clone, Debug)]
pub struct CacheArgs {
    #[command(subcommand)]
    pub action: Option<CacheAction>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Subcommand)]
pub enum CacheAction {
    /// Remove all of it; it is made again when it is needed.
    Clear,
}

pub fn run(args: &CacheArgs) -> Result<()> {
    let folders =
        Folders::find().ok_or_else(|| Error::invalid("no home folder is known: set HOME or XDG_CACHE_HOME"))?;
    let cache = folders.made(None);
    if let Some(CacheAction::Clear) = args.action {
        let freed = cache.clear()?;
        return output::answer_as(args.json, &json!({ "freed_bytes": freed }), || format!("removed {}", bytes(freed)));
    }
    let entries = cache.entries();
    if args.json {
        let object = json!({ "folder": cache.folder().display().to_string(), "entries": entries });
        return output::answer(&output::json(&object)?);
    }
    let total: u64 = entries.iter().map(|entry| entry.bytes).sum();
    let mut text = format!("{}: {} in {} entries\n", cache.folder().display(), bytes(total), entries.len());
    for entry in &entries {
        text += &format!(
            "{:>10}  {:<6}  {:>11}  {}\n",
            bytes(entry.bytes),
            entry.kind,
            ago(entry.unused_seconds),
            entry.about
        );
    }
    output::answer(&output::printable(&text))
}
