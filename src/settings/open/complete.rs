//! What the last word of `:open` can go on to: flags, paths, ids of the hub, presets.

use std::{fs, path::Path};

use clap::{Arg, CommandFactory};
use prunelens_core::{
    hub::{self, Environment, HubSettings},
    prune::Compress,
};

use super::Line;
use crate::presets::{self, Family};

/// What is worth a look; more is typed sooner than read.
const MOST: usize = 200;

/// Whole words in place of the last one of a line, the likeliest first.
pub fn complete(line: &str, environment: Environment) -> Vec<String> {
    let (before, word) = split(line);
    let command = Line::command();
    let flags = || command.get_arguments().filter(|arg| arg.get_long().is_some());
    let flag = before.last().and_then(|word| word.strip_prefix("--"));
    let arg = flag.and_then(|name| flags().find(|arg| arg.get_long() == Some(name)));
    let mut found = match arg.filter(|arg| !arg.is_require_equals_set()) {
        Some(arg) => values(arg, word, environment),
        None if word.starts_with('-') => flags().filter_map(|arg| Some(format!("--{}", arg.get_long()?))).collect(),
        None if before.is_empty() => {
            let mut all = names();
            all.extend(paths(word).into_iter().filter(|path| path.ends_with('/') || path.ends_with(".toml")));
            all
        }
        None => Vec::new(),
    };
    found.retain(|candidate| candidate.starts_with(word) && candidate != word);
    found.dedup();
    found.truncate(MOST);
    found
}

/// The words before the last one, which may be empty, and that.
fn split(line: &str) -> (Vec<&str>, &str) {
    let mut words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
    match line.ends_with(' ') || line.is_empty() {
        true => (words, ""),
        false => {
            let last = words.pop().unwrap_or_default();
            (words, last)
        }
    }
}

/// The line with its last word in place of the one there is.
pub fn with(line: &str, word: &str) -> String {
    let (_, last) = split(line);
    format!("{}{word}", &line[..line.len() - last.len()])
}

fn values(arg: &Arg, word: &str, environment: Environment) -> Vec<String> {
    let possible: Vec<String> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    if !possible.is_empty() {
        return possible;
    }
    match arg.get_id().as_str() {
        "session" => {
            let mut all = names();
            all.extend(paths(word));
            all
        }
        "model" | "pruned_model" | "sae" | "trained_sae" => {
            let mut all = paths(word);
            all.extend(ids(arg.get_id().as_str(), environment));
            all
        }
        "compress" => Compress::examples(),
        "device" | "jobs_device" => ["auto", "cpu", "cuda", "cuda:0"].map(String::from).to_vec(),
        "calibration" | "text" | "corpus" | "results" => paths(word),
        _ => Vec::new(),
    }
}

fn names() -> Vec<String> {
    presets::families().iter().flat_map(Family::presets).map(|preset| preset.name).collect()
}

/// Of repositories in the cache, then of presets.
fn ids(of: &str, environment: Environment) -> Vec<String> {
    let mut all = HubSettings::new(true, environment).map(|settings| hub::repositories(&settings)).unwrap_or_default();
    all.extend(presets::families().iter().flat_map(Family::presets).filter_map(|preset| match of {
        "model" => preset.model,
        "pruned_model" => preset.pruned_model,
        "sae" => preset.sae,
        _ => preset.trained_sae,
    }));
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|id| seen.insert(id.clone()));
    all
}

/// Files and folders that a path can go on to; folders end in a slash. Hidden ones only where they are meant.
pub fn paths(word: &str) -> Vec<String> {
    let (folder, name) = word.rsplit_once('/').map_or(("", word), |(folder, name)| (&word[..=folder.len()], name));
    let entries = fs::read_dir(if folder.is_empty() { Path::new(".") } else { Path::new(folder) });
    let mut found: Vec<String> = entries
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let own = entry.file_name().into_string().ok()?;
            let fits = own.starts_with(name) && (name.starts_with('.') || !own.starts_with('.'));
            // One with a blank in it would have to be quoted.
            let plain = fits && !own.chars().any(|c| c.is_control() || c.is_whitespace() || "'\"\\".contains(c));
            plain.then(|| format!("{folder}{own}{}", if entry.path().is_dir() { "/" } else { "" }))
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(line: &str) -> Vec<String> {
        complete(line, &|_| None)
    }

    #[test]
    fn flags_values_and_presets() {
        assert_eq!(completed("--trained"), ["--trained-sae"]);
        assert!(completed("--sae x --comp").contains(&"--compress".to_owned()));
        assert_eq!(completed("--dtype b"), ["bf16"]);
        assert!(completed("--compress sparse").iter().all(|rule| rule.starts_with("sparsegpt:")));
        assert!(completed("gpt2-small/resid/1").contains(&"gpt2-small/resid/11".to_owned()));
        assert!(completed("--model openai").contains(&"openai-community/gpt2".to_owned()));
        assert!(completed("--ratio ").is_empty() && completed("gpt2-small/resid/8 x").is_empty());
    }

    #[test]
    fn paths_and_what_is_in_the_hubs_cache() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["saes/layer_1", "saes/layer_2", "hub/models--owner--name", "hub/models--a--b--c", "with blank"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("study.toml"), "").unwrap();
        let at = folder.path().display().to_string();
        assert_eq!(completed(&format!("--sae {at}/sa")), [format!("{at}/saes/")]);
        assert_eq!(completed(&format!("--sae {at}/saes/layer_")), ["1", "2"].map(|n| format!("{at}/saes/layer_{n}/")));
        assert!(completed(&format!("--sae {at}/with")).is_empty());
        assert_eq!(completed(&format!("{at}/s")), [format!("{at}/saes/"), format!("{at}/study.toml")]);
        let cache = |name: &str| (name == "HF_HUB_CACHE").then(|| format!("{at}/hub"));
        assert_eq!(complete("--model owner", &cache), ["owner/name"]);
    }

    #[test]
    fn the_last_word_is_replaced() {
        assert_eq!(with("--sae a", "abc"), "--sae abc");
        assert_eq!(with("--sae ", "abc"), "--sae abc");
        assert_eq!(with("", "abc"), "abc");
    }
}
