//! Published layouts of SAE files.

mod saelens;
mod save;

use std::path::Path;

pub use saelens::{FromConfig, from_weights};
pub use save::save;

use super::Sae;
use crate::error::{Error, Result};

/// Read an SAE from the folder that holds it; the layout is told by its contents.
pub fn load(dir: &Path) -> Result<Sae> {
    if !dir.exists() {
        return Err(Error::file(dir, "no such folder; give the folder of one SAE"));
    }
    if dir.join("cfg.json").exists() && dir.join("sae_weights.safetensors").exists() {
        return saelens::load(dir);
    }
    let mut found: Vec<String> = std::fs::read_dir(dir)
        .map(|entries| entries.flatten().map(|e| crate::text::shorten(&e.file_name().to_string_lossy(), 40)).collect())
        .unwrap_or_default();
    found.sort();
    found.truncate(6);
    Err(Error::file(
        dir,
        format!("not an SAE folder this version reads: expected cfg.json and sae_weights.safetensors, found {found:?}"),
    ))
}
