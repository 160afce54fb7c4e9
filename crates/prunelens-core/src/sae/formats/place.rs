//! What the path of an SAE tells about it: releases that keep no config are known by their folders' names.

use std::path::Path;

/// The names on an SAE's path, outermost first; those of a hub cache's `models--owner--name` folders included.
pub struct Place(Vec<String>);

impl Place {
    /// The names on a path, made absolute.
    pub fn of(path: &Path) -> Self {
        let full = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        Self(full.components().map(|c| c.as_os_str().to_string_lossy().into_owned()).collect())
    }

    /// The innermost name that contains a text.
    pub fn find(&self, text: &str) -> Option<&str> {
        self.0.iter().rev().map(String::as_str).find(|name| name.contains(text))
    }

    /// The innermost name for which a value is found.
    pub fn find_map<T>(&self, of: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.0.iter().rev().find_map(|name| of(name))
    }

    /// The number behind `layer_` in a name.
    pub fn layer(&self) -> Option<usize> {
        self.find_map(|name| digits(name.strip_prefix("layer_")?))
    }

    /// The last `n` names as one, for people.
    pub fn name(&self, n: usize) -> String {
        let names = &self.0[self.0.len().saturating_sub(n)..];
        crate::text::safe(&names.join("/"))
    }
}

/// The number that a text begins with.
pub fn digits(text: &str) -> Option<usize> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}
