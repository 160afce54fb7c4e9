//! Patterns by which configs name modules: a regular expression, a full name, or a class.

use std::path::PathBuf;

use fancy_regex::{Regex, RegexBuilder};

use crate::{
    error::{Error, Result},
    model::config::Keys,
    text::shorten,
};

/// How often an expression may go back on one name. Those that configs have go back a few dozen times; one made to be slow would
/// take hours over the names of a large model.
const BACKTRACKS: usize = 10_000;

#[derive(Clone, Debug)]
pub enum Pattern {
    Regex(Expression),
    Name(String),
}

/// A regular expression, matched from the start of the name, as Python's `re.match` does.
#[derive(Clone, Debug)]
pub struct Expression {
    regex: Regex,
    /// The config and its key, for messages.
    path: PathBuf,
    key: String,
    text: String,
}

impl Expression {
    fn is_match(&self, module: &str) -> Result<bool> {
        self.regex.is_match(module).map_err(|_| {
            let (text, module) = (shorten(&self.text, 80), shorten(module, 80));
            let why =
                format!("the expression {text:?} takes too long on {module}; write one that goes back less often");
            Error::file(&self.path, format!("key {:?}: {why}", self.key))
        })
    }
}

impl Pattern {
    /// A regular expression; `key` is where the config has it.
    pub fn regex(keys: Keys, key: &str, text: &str) -> Result<Self> {
        let regex = RegexBuilder::new(&format!(r"\A(?:{text})")).backtrack_limit(BACKTRACKS).build();
        let wrong = |_| keys.refuse(key, &format!("expected a regular expression, found {:?}", shorten(text, 80)));
        let (path, key) = (keys.path.to_path_buf(), key.to_owned());
        Ok(Self::Regex(Expression { regex: regex.map_err(wrong)?, path, key, text: text.to_owned() }))
    }

    /// As compressed-tensors writes them: `re:` before a regular expression.
    pub fn parse(keys: Keys, key: &str, text: &str) -> Result<Self> {
        match text.strip_prefix("re:") {
            Some(regex) => Self::regex(keys, key, regex),
            None => Ok(Self::Name(text.to_owned())),
        }
    }

    /// Whether it means this module, a `Linear`. An expression that gives up on a name is refused.
    pub fn matches(&self, module: &str) -> Result<bool> {
        match self {
            Self::Regex(regex) => regex.is_match(module),
            Self::Name(name) => Ok(name == module || name == "Linear"),
        }
    }

    /// Whether it is the module's class alone.
    pub fn is_class(&self) -> bool {
        matches!(self, Self::Name(name) if name == "Linear")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    #[test]
    fn an_expression_that_is_made_to_be_slow_is_refused() {
        let value = json!({});
        let keys = Keys { value: &value, path: Path::new("config.json") };
        let matches =
            |text: &str| Pattern::regex(keys, "dynamic", text).unwrap().matches("model.layers.10.mlp.gate_proj");
        assert!(matches(r".*\.(?:gate|up)_proj$").unwrap());
        assert!(!matches(r"layers\.10").unwrap(), "from the start");
        // With what only going back can decide, as the libraries' own patterns have it.
        assert!(matches(r"(?!.*self_attn).*\.10\..*(\w)_proj").unwrap());
        let message = matches(r"(.|..|...)+\1=").unwrap_err().to_string();
        assert!(message.starts_with("config.json: key \"dynamic\": the expression"), "{message}");
        assert!(message.contains("takes too long on model.layers.10.mlp.gate_proj"), "{message}");
    }
}
