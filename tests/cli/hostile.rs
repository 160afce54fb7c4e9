//! Bad input through the program: each is refused in words that help, with the right exit code, and nothing is lost.

mod corpus;
mod disk;
mod files;
#[cfg(target_os = "linux")]
mod full;
mod mutated;
mod names;
mod prompts;
mod sessions;

use std::path::Path;

use disk::limit;

use crate::support::{Place, Ran};

/// Load a model and an SAE, and do something short with them.
fn load(place: &Place, model: &Path, sae: &Path, more: &[&str]) -> Ran {
    let mut command = place.command();
    command.args(["prune", "sae", "--out", "out", "--model"]).arg(model).arg("--sae").arg(sae).args(more);
    let ran = Ran::from(command.output().unwrap());
    assert_eq!(place.path("out").exists(), ran.code == Some(0), "what failed leaves nothing: {ran:#?}");
    ran
}
