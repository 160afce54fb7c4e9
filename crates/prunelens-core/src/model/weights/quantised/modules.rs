//! Patterns by which configs name modules: a regular expression, a full name, or a class.

use fancy_regex::Regex;

use crate::{error::Result, model::config::Keys, text::shorten};

#[derive(Clone, Debug)]
pub enum Pattern {
    /// Matched from the start of the name, as Python's `re.match` does.
    Regex(Regex),
    Name(String),
}

impl Pattern {
    /// A regular expression; `key` is where the config has it.
    pub fn regex(keys: Keys, key: &str, text: &str) -> Result<Self> {
        let regex = Regex::new(&format!(r"\A(?:{text})"));
        let wrong = |_| keys.refuse(key, &format!("expected a regular expression, found {:?}", shorten(text, 80)));
        regex.map(Self::Regex).map_err(wrong)
    }

    /// As compressed-tensors writes them: `re:` before a regular expression.
    pub fn parse(keys: Keys, key: &str, text: &str) -> Result<Self> {
        match text.strip_prefix("re:") {
            Some(regex) => Self::regex(keys, key, regex),
            None => Ok(Self::Name(text.to_owned())),
        }
    }

    /// Whether it means this module, a `Linear`. An expression that gives up on a name does not mean it.
    pub fn matches(&self, module: &str) -> bool {
        match self {
            Self::Regex(regex) => regex.is_match(module).unwrap_or(false),
            Self::Name(name) => name == module || name == "Linear",
        }
    }

    /// Whether it is the module's class alone.
    pub fn is_class(&self) -> bool {
        matches!(self, Self::Name(name) if name == "Linear")
    }
}
