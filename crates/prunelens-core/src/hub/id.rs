//! Names of things on the Hugging Face Hub.

use std::fmt;

/// `owner/name[:folder][@revision]` or `owner/name/folder/or/file[@revision]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HubId {
    /// `owner/name`.
    pub repo: String,
    /// A folder or file in the repository; empty: all of it.
    pub inside: String,
    /// A branch, tag or commit; default: `main`.
    pub revision: Option<String>,
}

/// What a user does not type, and what no URL or path needs.
const LONGEST: usize = 512;

impl HubId {
    /// `None` where this cannot be one, such as for paths that begin with `/` or `.`.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > LONGEST || text.chars().any(|c| crate::text::is_unsafe(c) || c == '\\') {
            return None;
        }
        let (rest, revision) = match text.rsplit_once('@') {
            Some((rest, revision)) => (rest, Some(revision)),
            None => (text, None),
        };
        let (owner, rest) = rest.split_once('/')?;
        let (name, inside) = match rest.find(['/', ':']) {
            Some(at) => (&rest[..at], Some(&rest[at + 1..])),
            None => (rest, None),
        };
        // A slash at the end changes nothing.
        let inside = match inside {
            Some("") if rest.ends_with('/') => None,
            inside => inside.map(|inside| inside.strip_suffix('/').unwrap_or(inside)),
        };
        let good = is_name(owner) && is_name(name) && inside.is_none_or(is_inside) && revision.is_none_or(is_inside);
        good.then(|| Self {
            repo: format!("{owner}/{name}"),
            inside: inside.unwrap_or_default().to_owned(),
            revision: revision.map(str::to_owned),
        })
    }

    /// Branch, tag or commit; `main` unless another was named.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    /// The last name in it: of the folder or file, else of the repository.
    pub fn name(&self) -> &str {
        let path = if self.inside.is_empty() { &self.repo } else { &self.inside };
        path.rsplit_once('/').map_or(path, |(_, name)| name)
    }

    /// Another place in the same repository.
    pub fn at(&self, inside: &str) -> Self {
        Self { inside: inside.to_owned(), ..self.clone() }
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repo)?;
        if !self.inside.is_empty() {
            write!(f, "/{}", self.inside)?;
        }
        self.revision.as_ref().map_or(Ok(()), |revision| write!(f, "@{revision}"))
    }
}

/// An owner or a repository, by the Hub's rules. `--` stands for `/` in the cache, so it must not occur.
fn is_name(part: &str) -> bool {
    (1..=96).contains(&part.len())
        && !part.starts_with(['.', '-'])
        && !part.contains("..")
        && !part.contains("--")
        && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

/// A relative path that stays where it begins.
pub fn is_inside(path: &str) -> bool {
    path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
        && !path.chars().any(|c| c.is_control() || matches!(c, '\\' | ':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let parts = |text: &str| {
            let id = HubId::parse(text).unwrap_or_else(|| panic!("{text}"));
            (id.repo.clone(), id.inside.clone(), id.revision().to_owned(), id.to_string())
        };
        let is = |text: &str, repo: &str, inside: &str, revision: &str, shown: &str| {
            assert_eq!(parts(text), (repo.into(), inside.into(), revision.into(), shown.into()), "{text}");
        };
        is("openai-community/gpt2", "openai-community/gpt2", "", "main", "openai-community/gpt2");
        is("a/b:c/d@v1", "a/b", "c/d", "v1", "a/b/c/d@v1");
        is("a/b/c/d/@refs/pr/1", "a/b", "c/d", "refs/pr/1", "a/b/c/d@refs/pr/1");
        is("a/b@0123abc", "a/b", "", "0123abc", "a/b@0123abc");
        let file = "ckkissane/attn/gpt2-small_L0_lr1.20e-03_l11.80e+00_v9.pt";
        is(file, "ckkissane/attn", "gpt2-small_L0_lr1.20e-03_l11.80e+00_v9.pt", "main", file);
    }

    #[test]
    fn what_is_none() {
        for text in [
            "",
            "gpt2",
            "/a/b",
            "./a/b",
            "../a",
            "~/a",
            "a/",
            "/a",
            "a//b",
            "a/b:",
            "a/b//c",
            "a/b/../c",
            "a/b:/etc",
            "a/b@",
            "a/b@../x",
            "a b/c",
            "a\\b/c",
            "C:\\a/b",
            "a--b/c",
            "a/b..c",
            "a/b\u{1b}",
            "a/b/c:d",
            "a/.b",
        ] {
            assert_eq!(HubId::parse(text), None, "{text}");
        }
    }
}
