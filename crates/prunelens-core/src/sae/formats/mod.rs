//! Published layouts of SAE files. Which one a folder or file is, its contents say.

mod dictionary_learning;
mod gemma_scope;
mod gemma_scope_2;
mod kissane;
mod llama_scope;
mod openai;
mod parts;
mod place;
mod saelens;
mod saelens_keys;
mod save;
mod sparsify;

use std::path::Path;

pub use place::Place;
pub use saelens::{FromConfig, from_weights, told};
pub use save::save;

use prunelens_kernels::with_f32;

use super::Sae;
use crate::{
    error::{Error, Result},
    model::{HookPoint, weights::Weights},
};

/// What a user says about an SAE where its files do not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given {
    /// Where it reads.
    pub hook: Option<HookPoint>,
    /// Average-norm factor of files that need one from outside (`expected_average_only_in`).
    pub norm_scaling_factor: Option<f64>,
}

/// Read an SAE from its folder, or from its file where the format is a single one.
pub fn load(path: &Path) -> Result<Sae> {
    load_given(path, &Given::default())
}

/// The same, with what the files leave open.
pub fn load_given(path: &Path, given: &Given) -> Result<Sae> {
    if !path.exists() {
        return Err(Error::file(path, "no such file or folder; give the folder of one SAE, or its file"));
    }
    let sae = if path.is_dir() { folder(path, given) } else { file(path, given) }?;
    check_decoder(path, &sae)?;
    Ok(sae)
}

/// Files that make a folder an SAE of one layout.
pub struct Folder {
    /// As its makers call it.
    pub name: &'static str,
    /// Together they tell the layout. The last has the weights.
    pub needs: &'static [&'static str],
    /// Read where they are there.
    pub optional: &'static [&'static str],
    /// The same, at the top of a repository of many SAEs.
    pub repository: &'static [&'static str],
    /// Reads the folder.
    pub load: fn(&Path, &Given) -> Result<Sae>,
}

/// Tensors that make a file an SAE of one layout.
pub struct File {
    /// As its makers call it.
    pub name: &'static str,
    /// How it is called, for those who look for one.
    pub example: &'static str,
    /// Whether it is one, by its tensors and its name.
    pub is: fn(&Path, &Weights) -> bool,
    /// Reads the file, whose tensors are given.
    pub load: fn(&Path, &Weights, &Given) -> Result<Sae>,
}

/// The first that fits is taken. Loader, hub, and fuzz targets all go by these; a new layout is a file and a line here.
pub static FOLDERS: [Folder; 7] = [
    saelens::FORMAT,
    sparsify::FORMAT,
    llama_scope::FORMAT,
    llama_scope::R1,
    gemma_scope_2::FORMAT,
    gemma_scope::FORMAT,
    dictionary_learning::FORMAT,
];
/// The first that fits is taken.
pub static FILES: [File; 3] = [openai::FORMAT, gemma_scope::FILE, kissane::FORMAT];

impl Folder {
    /// Of the folder whose members `has` knows.
    pub fn of(has: impl Fn(&str) -> bool) -> Option<&'static Self> {
        FOLDERS.iter().find(|folder| folder.needs.iter().all(|name| has(name)))
    }

    /// The folder that a member's path stands for.
    pub fn containing<'a>(&self, path: &'a str) -> Option<&'a str> {
        self.needs.iter().find_map(|name| {
            let folder = path.strip_suffix(name)?;
            if folder.is_empty() { Some(folder) } else { folder.strip_suffix('/') }
        })
    }
}

fn folder(dir: &Path, given: &Given) -> Result<Sae> {
    if let Some(folder) = Folder::of(|name| dir.join(name).exists()) {
        return (folder.load)(dir, given);
    }
    let missing = |folder: &Folder| {
        let exists = |name: &&str| dir.join(name).exists();
        let (present, missing): (Vec<&str>, Vec<&str>) = folder.needs.iter().copied().partition(exists);
        (!present.is_empty())
            .then(|| format!("{} is there, but not {} ({})", present[0], missing.join(" and "), folder.name))
    };
    let almost: Vec<String> = FOLDERS.iter().filter_map(missing).collect();
    let almost = if almost.is_empty() { String::new() } else { format!("; {}", almost.join("; ")) };
    let mut found: Vec<String> = std::fs::read_dir(dir)
        .map(|entries| entries.flatten().map(|e| crate::text::shorten(&e.file_name().to_string_lossy(), 40)).collect())
        .unwrap_or_default();
    found.sort();
    found.truncate(6);
    let folders = FOLDERS.iter().map(|folder| format!("{} ({})", folder.name, folder.needs.join(" and ")));
    let files = FILES.iter().map(|file| format!("{} ({})", file.name, file.example));
    let known: Vec<String> = folders.chain(files).collect();
    Err(Error::file(dir, format!("not the folder of an SAE: found {found:?}{almost}; known are {}", known.join(", "))))
}

fn file(path: &Path, given: &Given) -> Result<Sae> {
    let name = path.to_string_lossy();
    // A file of a folder stands for the folder.
    let member = FOLDERS.iter().find_map(|folder| folder.containing(&name)).map(|dir| match dir {
        "" if path.is_absolute() => Path::new("/"),
        "" => Path::new("."),
        dir => Path::new(dir),
    });
    let is_config = path.extension().is_some_and(|e| e == "json");
    if let Some(dir) = member.filter(|dir| is_config || Folder::of(|name| dir.join(name).exists()).is_some()) {
        return folder(dir, given);
    }
    let weights = Weights::open(path)?;
    if let Some(file) = FILES.iter().find(|file| (file.is)(path, &weights)) {
        return (file.load)(path, &weights, given);
    }
    let some: Vec<_> = weights.names().take(6).map(|n| crate::text::shorten(n, 40)).collect();
    Err(Error::file(path, format!("not a known SAE file: its tensors are {some:?}")))
}

/// Whether a file has all these tensors.
fn has(weights: &Weights, names: &[&str]) -> bool {
    names.iter().all(|name| weights.shape(name).is_some())
}

/// Decoder rows of zeros are pruned ones; what is not finite was refused when read. Nothing at all in a matrix is a
/// damaged file.
fn check_decoder(path: &Path, sae: &Sae) -> Result<()> {
    let empty = with_f32(&sae.w_dec, |w| w.iter().all(|v| *v == 0.0))?;
    if empty { Err(Error::file(path, "its decoder holds nothing but zeros")) } else { Ok(()) }
}
