//! Which scheme a folder's weights are stored by, and where that is said.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{SCHEMES, Scheme, Stored};
use crate::{
    error::Result,
    model::{config::Keys, weights::read_json},
    text::shorten,
};

/// What a scheme opens: what is said of it, and the file's tensors.
pub(super) struct Source<'a> {
    pub config: Keys<'a>,
    pub stored: Stored<'a>,
}

/// What is said of a scheme, and where.
pub(super) struct Said<'a> {
    value: Cow<'a, Value>,
    pub path: PathBuf,
    /// Whether it stands in a file of its own, beside the model's config.
    pub beside: bool,
    /// What users should know of its keys.
    pub warnings: Vec<String>,
}

impl<'a> Said<'a> {
    fn new(value: Cow<'a, Value>, path: PathBuf, beside: bool) -> Self {
        Self { value, path, beside, warnings: Vec::new() }
    }

    /// The scheme it names, or `unnamed`, and every key of it looked at.
    fn named(mut self, unnamed: &str, place: &str) -> Result<(&'static Scheme, Self)> {
        let scheme = named(self.keys(), unnamed)?;
        self.warnings = (scheme.check)(self.keys(), place)?;
        Ok((scheme, self))
    }

    pub fn keys(&self) -> Keys<'_> {
        Keys { value: &self.value, path: &self.path }
    }
}

/// Keys of `config.json` that say it: the second is MLX's.
const KEYS: [&str; 2] = ["quantization_config", "quantization"];

/// Files that say it in older folders, and whose they are where they name no method.
const FILES: [&str; 2] = ["quantize_config.json", "quant_config.json"];

/// The scheme of a folder, if its config or a file beside it names one.
pub(super) fn scheme<'a>(config: Keys<'a>, dir: Option<&Path>) -> Result<Option<(&'static Scheme, Said<'a>)>> {
    let of = |keys: Keys<'a>| KEYS.iter().find_map(|key| keys.get(key).map(|value| (*key, value)));
    // Of a model that sees images, its text part may say it.
    let text = || config.get("text_config").and_then(|value| of(Keys { value, ..config }));
    if let Some((key, value)) = of(config).or_else(text) {
        let said = Said::new(Cow::Borrowed(value), config.path.to_path_buf(), false);
        return said.named("mlx", &format!("{key}.")).map(Some);
    }
    for file in FILES {
        let Some(path) = dir.map(|dir| dir.join(file)).filter(|path| path.exists()) else { continue };
        let said = Said::new(Cow::Owned(read_json(&path)?), path, true);
        let awq = ["w_bit", "zero_point", "version"].iter().any(|key| said.keys().get(key).is_some());
        return said.named(if awq { "awq" } else { "gptq" }, "").map(Some);
    }
    Ok(None)
}

/// The scheme that a quantisation config names, or what it is where it names none.
fn named(keys: Keys, unnamed: &str) -> Result<&'static Scheme> {
    let method = keys.str_or("quant_method", unnamed)?;
    // auto-round writes the layouts of others, and says which.
    let method = match (method, keys.str_or("packing_format", "")?) {
        ("auto-round" | "intel/auto-round", "auto_round:auto_gptq") => "gptq",
        ("auto-round" | "intel/auto-round", "auto_round:auto_awq") => "awq",
        _ => method,
    };
    let known = SCHEMES.iter().find(|scheme| scheme.methods.contains(&method));
    known.ok_or_else(|| {
        let known: Vec<_> = SCHEMES.iter().flat_map(|scheme| scheme.methods).copied().collect();
        keys.refuse(
            "quant_method",
            &format!(
                "its weights are compressed by {}, which is not read; expected {}, or take the folder before compression",
                shorten(method, 40),
                known.join(", ")
            ),
        )
    })
}

/// Refuse a config whose weights are compressed in a way that is not read, and say which of its keys are not known.
pub fn check_quantisation(config: Keys) -> Result<Vec<String>> {
    Ok(scheme(config, None)?.map_or_else(Vec::new, |(_, said)| said.warnings))
}

impl<'a> Source<'a> {
    /// Bits of a code, by whichever of its names the config uses.
    pub fn bits(&self, allowed: &[u64]) -> Result<u32> {
        bits(self.config, allowed)
    }
}

/// `bits`, one of those that a layout can hold.
pub(super) fn bits(keys: Keys, allowed: &[u64]) -> Result<u32> {
    let key = one_of(keys, "bits", "w_bit")?;
    let found = keys.get(key).and_then(Value::as_u64).filter(|bits| allowed.contains(bits));
    let expected = || {
        let found = keys.get(key).map_or("nothing".into(), |v| shorten(&v.to_string(), 40));
        keys.refuse(key, &format!("expected bits of a code among {allowed:?} in quantization_config, found {found}"))
    };
    found.map(|bits| bits as u32).ok_or_else(expected)
}

/// Whichever of two names for one thing a config has; both only where they say the same.
fn one_of<'a>(keys: Keys, name: &'a str, other: &'a str) -> Result<&'a str> {
    match (keys.get(name), keys.get(other)) {
        (Some(a), Some(b)) if a != b => {
            let found = shorten(&b.to_string(), 40);
            Err(keys
                .refuse(other, &format!("expected what {name} says, {}, found {found}", shorten(&a.to_string(), 40))))
        }
        (Some(_), _) => Ok(name),
        _ => Ok(other),
    }
}

/// `group_size`: how many inputs share a scale; `None` for all of a row.
pub(super) fn group_size(keys: Keys) -> Result<Option<usize>> {
    let key = one_of(keys, "group_size", "q_group_size")?;
    match super::signed(keys, key) {
        Some(-1) => Ok(None),
        Some(n) if (1..=1 << 24).contains(&n) => Ok(Some(n as usize)),
        _ => {
            let found = keys.get(key).map_or("nothing".into(), |v| shorten(&v.to_string(), 40));
            Err(keys.refuse(
                key,
                &format!("expected a group size in quantization_config, or -1 for whole rows, found {found}"),
            ))
        }
    }
}
