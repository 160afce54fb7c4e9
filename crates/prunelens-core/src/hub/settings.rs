//! Where the hub and its cache are, by the variables that the Python libraries read.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::error::{Error, Result};

/// Looks up a variable of the environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The hub as a session reaches it; where it cannot be reached, why.
pub type Access = Result<HubSettings, String>;

/// A secret: it can be sent, and not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// `None` for what cannot stand in a header.
    fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let sendable = !text.is_empty() && text.len() < 4096 && text.chars().all(|c| c.is_ascii_graphic());
        sendable.then(|| Self(text.to_owned()))
    }

    /// The value of an `Authorization` header.
    pub fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(set)")
    }
}

/// How the hub is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct HubSettings {
    /// The folder with `models--owner--name`.
    pub cache: PathBuf,
    /// Without a slash at its end.
    pub endpoint: String,
    /// Sent to the hub itself and to nobody else.
    pub token: Option<Token>,
    /// The variable or file that the token comes from.
    pub token_source: Option<String>,
    /// Take only what is in the cache.
    pub offline: bool,
    /// How long a server may keep silent.
    pub patience: Duration,
}

const ENDPOINT: &str = "https://huggingface.co";
/// What the Python library waits.
const PATIENCE: u64 = 10;
/// A token file is one line.
const LONGEST_TOKEN_FILE: u64 = 1 << 16;

impl HubSettings {
    /// `offline`: the user said so; `HF_HUB_OFFLINE` says it, too.
    pub fn new(offline: bool, environment: Environment) -> Result<Self> {
        let folder = |name: &str| environment(name).map(|text| expand(&text, environment));
        let home = match folder("HF_HOME") {
            Some(home) => Some(home),
            None => (folder("XDG_CACHE_HOME"))
                .or_else(|| environment("HOME").map(|home| Path::new(&home).join(".cache")))
                .map(|cache| cache.join("huggingface")),
        };
        let cache = (folder("HF_HUB_CACHE"))
            .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| home.as_ref().map(|home| home.join("hub")))
            .ok_or_else(|| Error::invalid("there is no place for the hub's cache: set HF_HOME or HOME"))?;
        let (token, token_source) = match token(home.as_deref(), environment) {
            Some((token, source)) => (Some(token), Some(source)),
            None => (None, None),
        };
        let endpoint = environment("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let server = endpoint.split_once("://").map_or(endpoint.as_str(), |(_, rest)| rest);
        if server.split('/').next().is_some_and(|server| server.contains('@')) {
            // Endpoints are part of messages.
            return Err(Error::invalid("HF_ENDPOINT holds a user's name or password; leave it out, and use HF_TOKEN"));
        }
        let patience = environment("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|text| text.parse::<u64>().ok());
        Ok(Self {
            cache,
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token,
            token_source,
            offline: offline || ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].iter().any(|v| is_true(v, environment)),
            patience: Duration::from_secs(patience.unwrap_or(PATIENCE).clamp(1, 3600)),
        })
    }
}

fn is_true(name: &str, environment: Environment) -> bool {
    environment(name).is_some_and(|text| ["1", "ON", "YES", "TRUE"].contains(&text.to_uppercase().as_str()))
}

/// A `~` in front is the home folder, as for the Python libraries.
fn expand(text: &str, environment: Environment) -> PathBuf {
    match (text.strip_prefix("~/"), environment("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(text),
    }
}

fn token(home: Option<&Path>, environment: Environment) -> Option<(Token, String)> {
    if is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN", environment) {
        return None;
    }
    for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
        if let Some(token) = environment(name).and_then(|text| Token::new(&text)) {
            return Some((token, name.into()));
        }
    }
    let path = match environment("HF_TOKEN_PATH") {
        Some(path) => expand(&path, environment),
        None => home?.join("token"),
    };
    let short = std::fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() < LONGEST_TOKEN_FILE);
    let text = short.then(|| std::fs::read_to_string(&path).ok()).flatten()?;
    Some((Token::new(&text)?, path.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> HubSettings {
        let find = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        HubSettings::new(false, &find).unwrap()
    }

    #[test]
    fn the_cache_is_where_python_has_it() {
        let cache = |variables: &[(&str, &str)]| settings(variables).cache.display().to_string();
        assert_eq!(cache(&[("HOME", "/home/me")]), "/home/me/.cache/huggingface/hub");
        assert_eq!(cache(&[("HOME", "/home/me"), ("XDG_CACHE_HOME", "/c")]), "/c/huggingface/hub");
        assert_eq!(cache(&[("HF_HOME", "/hf"), ("HOME", "/home/me")]), "/hf/hub");
        assert_eq!(cache(&[("HF_HOME", "~/hf"), ("HOME", "/home/me")]), "/home/me/hf/hub");
        assert_eq!(cache(&[("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/big")]), "/big");
        assert!(HubSettings::new(false, &|_| None).is_err());
    }

    #[test]
    fn endpoints_hold_no_secrets() {
        let with = |endpoint: &str| {
            let find = |name: &str| match name {
                "HF_HOME" => Some("/hf".to_owned()),
                "HF_ENDPOINT" => Some(endpoint.to_owned()),
                _ => None,
            };
            HubSettings::new(false, &find).map(|settings| settings.endpoint).map_err(|e| e.to_string())
        };
        assert_eq!(with("https://hub.test/mirror/"), Ok("https://hub.test/mirror".into()));
        let error = with("https://me:secret@hub.test").unwrap_err();
        assert!(error.contains("HF_ENDPOINT") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn offline_in_the_words_of_python() {
        for (value, expected) in [("1", true), ("True", true), ("yes", true), ("on", true), ("0", false), ("no", false)]
        {
            assert_eq!(settings(&[("HF_HOME", "/hf"), ("HF_HUB_OFFLINE", value)]).offline, expected, "{value}");
        }
        assert!(HubSettings::new(true, &|name| (name == "HF_HOME").then(|| "/hf".into())).unwrap().offline);
    }

    #[test]
    fn tokens_come_from_the_variable_or_the_file_and_are_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        std::fs::write(folder.path().join("token"), "hf_file\n").unwrap();
        let from_file = settings(&[("HF_HOME", home)]);
        assert_eq!(from_file.token.as_ref().unwrap().header(), "Bearer hf_file");
        let from_variable = settings(&[("HF_HOME", home), ("HF_TOKEN", " hf_variable ")]);
        assert_eq!(from_variable.token.as_ref().unwrap().header(), "Bearer hf_variable");
        assert_eq!(from_variable.token_source.as_deref(), Some("HF_TOKEN"));
        assert!(!format!("{from_variable:?}").contains("hf_"), "{from_variable:?}");
        assert_eq!(settings(&[("HF_HOME", home), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]).token, None);
        // What cannot be sent would end up in an error message.
        assert_eq!(settings(&[("HF_HOME", "/none"), ("HF_TOKEN", "a\nb")]).token, None);
    }
}
