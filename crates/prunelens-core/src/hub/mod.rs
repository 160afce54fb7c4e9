//! Models and SAEs from the Hugging Face Hub, through the cache that the Python libraries use.
//!
//! A file that is in the cache is used as it is, without a look at the network. Downloads run on a thread of their own, so
//! that the user can end them at any time, whatever the network does.

mod cache;
mod download;
mod id;
mod remote;
mod select;
mod settings;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
};

pub use id::HubId;
pub use select::Kind;
pub use settings::{Access, Environment, HubSettings, Token};

use self::{
    cache::RepoCache,
    download::{Download, Watch, again},
    remote::{Info, Listed, Problem, Remote},
    select::{Selection, explain, select, shards},
};
use crate::{
    error::{Error, Result},
    progress::{Listener, Progress},
};

/// No index of shards is anywhere near this long.
const LONGEST_INDEX: u64 = 64 << 20;

/// The folder or file in the cache, fetched if it is not there.
pub fn fetch(settings: &HubSettings, id: &HubId, kind: Kind, listener: Listener) -> Result<PathBuf> {
    if let Some(path) = cached(settings, id, kind) {
        return Ok(path);
    }
    if settings.offline {
        return Err(Error::invalid(format!(
            "{id}: not in the cache {}, and the network is not to be touched; leave out --offline (HF_HUB_OFFLINE, \
             offline in the session file), or give a local folder",
            settings.cache.display()
        )));
    }
    let (all, own) = (settings.clone(), id.clone());
    aside(id, listener, move |watch| run(&all, &own, kind, watch))
}

/// Names of the files of a repository, as the hub lists them; those in the cache where the hub cannot be asked.
pub fn names(settings: &HubSettings, id: &HubId, listener: Listener) -> Result<Vec<String>> {
    let cached = RepoCache::new(&settings.cache, id).snapshot().map(|snapshot| files_below(&snapshot));
    if settings.offline {
        return cached.ok_or_else(|| {
            Error::invalid(format!(
                "{id}: nothing of it is in the cache {}, and the network is not to be touched; leave out --offline \
                 (HF_HUB_OFFLINE, offline in the session file), or give a local folder",
                settings.cache.display()
            ))
        });
    }
    let (all, own) = (settings.clone(), id.clone());
    let listed = aside(id, listener, move |watch| {
        let Info { files, .. } = listing(&Remote::new(&all)?, &own, watch)?;
        Ok(files.into_iter().map(|file| file.name).collect())
    });
    match (listed, cached) {
        (Err(error), Some(cached)) if !matches!(error, Error::Interrupted) => {
            tracing::warn!("{error}; going by what is in the cache");
            Ok(cached)
        }
        (listed, _) => listed,
    }
}

/// Models' repositories of which something is in the cache, by name.
pub fn repositories(settings: &HubSettings) -> Vec<String> {
    let name = |entry: fs::DirEntry| {
        let folder = entry.file_name().into_string().ok()?;
        let id = folder.strip_prefix("models--")?.replacen("--", "/", 1);
        HubId::parse(&id).filter(|parsed| parsed.repo == id).map(|parsed| parsed.repo)
    };
    let mut names: Vec<String> =
        fs::read_dir(&settings.cache).into_iter().flatten().flatten().filter_map(name).collect();
    names.sort();
    names
}

/// No repository's folders are nested deeper.
const DEEPEST: usize = 8;

fn files_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![(folder.to_path_buf(), String::new(), 0)];
    while let Some((folder, before, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = format!("{before}{}", entry.file_name().to_string_lossy());
            match entry.path().is_dir() {
                true if depth < DEEPEST => folders.push((entry.path(), format!("{name}/"), depth + 1)),
                true => {}
                false => found.push(name),
            }
        }
    }
    found
}

/// Work with the network, on a thread of its own while the listener hears of it.
fn aside<T: Send + 'static>(
    id: &HubId,
    listener: Listener,
    work: impl FnOnce(&Watch) -> Result<T> + Send + 'static,
) -> Result<T> {
    let watch = Arc::new(Watch::default());
    watch.wait_for(Some(format!("asking for {id}")));
    let own = watch.clone();
    let ended = |ended| {
        watch.stop.store(true, Relaxed);
        ended
    };
    crate::progress::aside("download", move || work(&own), || listener(progress(id, &watch)).map_err(ended))
}

/// The folder or file in the cache, if all of it is there.
pub fn cached(settings: &HubSettings, id: &HubId, kind: Kind) -> Option<PathBuf> {
    let snapshot = RepoCache::new(&settings.cache, id).snapshot()?;
    let has = |name: &str| snapshot.join(name).is_file();
    let Selection { index, target, .. } = select(kind, &id.inside, &has)?;
    if let Some(index) = index {
        let shards = shards(&index, &read_index(&snapshot.join(&index)).ok()?)?;
        if !shards.iter().all(|name| has(name)) {
            return None;
        }
    }
    Some(snapshot.join(target))
}

fn progress(id: &HubId, watch: &Watch) -> Progress {
    let waiting = watch.waiting.lock().ok().and_then(|waiting| waiting.clone());
    match waiting {
        Some(what) => Progress::step(what),
        None => Progress {
            what: format!("downloading {id}"),
            done: watch.done.load(Relaxed),
            total: watch.total.load(Relaxed),
            unit: "bytes",
        },
    }
}

/// What the hub has of a repository.
fn listing(remote: &Remote, id: &HubId, watch: &Watch) -> Result<Info> {
    again(watch, |_| remote.info(id)).map_err(|problem| match problem {
        Problem::Final(error) => error,
        Problem::Passing(why) => Error::invalid(format!("{id}: {why}; try again, or give a local folder")),
    })
}

/// The whole of a download.
fn run(settings: &HubSettings, id: &HubId, kind: Kind, watch: &Watch) -> Result<PathBuf> {
    let remote = Remote::new(settings)?;
    let Info { commit, files } = listing(&remote, id, watch)?;
    let find = |name: &str| files.iter().find(|file| file.name == name);
    let Some(selection) = select(kind, &id.inside, &|name| find(name).is_some()) else {
        let names: Vec<String> = files.iter().map(|file| file.name.clone()).collect();
        return Err(Error::invalid(format!("{id}: {}", explain(kind, id, &names))));
    };
    let cache = RepoCache::new(&settings.cache, id);
    let snapshot = cache.snapshot_of(&commit)?;
    let download = Download { id, commit: &commit, cache: &cache, remote: &remote, watch };
    let get = |names: &[String]| {
        let listed: Vec<&Listed> = names.iter().filter_map(|name| find(name)).collect();
        let size: u64 = listed.iter().filter_map(|file| file.size).fold(0, u64::saturating_add);
        watch.total.store(watch.done.load(Relaxed).saturating_add(size), Relaxed);
        watch.wait_for(None);
        listed.into_iter().try_for_each(|file| download.file(file))
    };
    tracing::info!(%id, commit, files = selection.files.len(), "downloading");
    get(&selection.files)?;
    if let Some(index) = &selection.index {
        let path = snapshot.join(index);
        let bad = || Error::file(&path, "expected \"weight_map\" with plain names of files that the repository has");
        let shards = shards(index, &read_index(&path)?).ok_or_else(bad)?;
        if !shards.iter().all(|name| find(name).is_some()) {
            return Err(bad());
        }
        get(&shards)?;
    }
    cache.remember(&commit)?;
    Ok(snapshot.join(selection.target))
}

fn read_index(path: &Path) -> Result<Vec<u8>> {
    let len = fs::metadata(path).map_err(|e| Error::io(path, e))?.len();
    if len > LONGEST_INDEX {
        return Err(Error::file(path, format!("{len} bytes are too many for an index")));
    }
    fs::read(path).map_err(|e| Error::io(path, e))
}
