//! `prunelens cache`.

use clap::{Args, Subcommand};
use prunelens_core::error::{Error, Result};
use serde_json::json;

use crate::{folders::Folders, output};

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
        return match args.json {
            true => output::answer(&output::json(&json!({ "freed_bytes": freed }))?),
            false => output::answer(&format!("removed {}", megabytes(freed))),
        };
    }
    let entries = cache.entries();
    if args.json {
        let object = json!({ "folder": cache.folder().display().to_string(), "entries": entries });
        return output::answer(&output::json(&object)?);
    }
    let total: u64 = entries.iter().map(|entry| entry.bytes).sum();
    let mut text = format!("{}: {} in {} entries\n", cache.folder().display(), megabytes(total), entries.len());
    for entry in &entries {
        text += &format!(
            "{:>10}  {:<6}  {:>9}  {}\n",
            megabytes(entry.bytes),
            entry.kind,
            age(entry.unused_seconds),
            entry.about
        );
    }
    output::answer(&output::printable(&text))
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / f64::from(1 << 20))
}

/// How long ago, roughly.
fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}
