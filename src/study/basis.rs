//! What figures rest on: those of other rows, masks or models are never laid beside each other.

use prunelens_core::digest::sha256;
use prunelens_metrics::MetricTable;
use serde::Serialize;
use serde_json::Value;

/// Settings that figures must share to be compared, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Basis(Vec<(String, String)>);

/// Settings that differ from place to place and cell to cell by plan.
const BY_PLAN: [&str; 9] =
    ["others on", "hook", "read at", "sae pruning", "passes", "ratios", "criteria", "seed", "known to"];

/// What a session's fingerprint says of its rows and its model.
const SESSION: [(&str, &str); 6] = [
    ("/session/text", "text's contents"),
    ("/session/model", "model's files"),
    ("/session/dtype", "dtype"),
    ("/session/bos", "bos"),
    ("/session/processing", "processing"),
    ("/files", "files of the metric"),
];

impl Basis {
    /// Of a cell's table and what the cell is of.
    pub fn of(table: &MetricTable, of: &Value) -> Self {
        let kept = table.settings.iter().filter(|(name, _)| !BY_PLAN.contains(&name.as_str()));
        let said = kept.map(|(name, value)| (name.clone(), without_seed(value).to_owned()));
        let known = SESSION.iter().filter_map(|(place, name)| Some((of.pointer(place)?, *name)));
        let files = known.filter(|(value, _)| !value.is_null()).map(|(value, name)| {
            let value = contents(value);
            let word = value.as_str().map_or_else(|| sha256(value.to_string().as_bytes())[..8].to_owned(), Into::into);
            (name.to_owned(), word)
        });
        Self(said.chain(files).collect())
    }

    /// In which settings two differ, with both values.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let find = |all: &Self, name: &str| all.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
        let mut names: Vec<&String> = self.0.iter().map(|(name, _)| name).collect();
        names.extend(other.0.iter().map(|(name, _)| name).filter(|name| !self.0.iter().any(|(n, _)| n == *name)));
        let differ = |name: &&String| find(self, name) != find(other, name);
        let word = |value: Option<String>| value.unwrap_or_else(|| "not said".into());
        let said = |name: &String| format!("{name}: {} | {}", word(find(self, name)), word(find(other, name)));
        names.into_iter().filter(differ).map(said).collect()
    }

    /// The value of a setting.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// Seeds repeat a measurement, and are no other measurement.
fn without_seed(text: &str) -> &str {
    match text.rsplit_once(", seed ") {
        Some((rest, seed)) if seed.bytes().all(|c| c.is_ascii_digit()) => rest,
        _ => text,
    }
}

/// Where something lies and when it was changed say nothing of what it holds.
const ELSEWHERE: [&str; 3] = ["path", "changed", "program"];

fn contents(value: &Value) -> Value {
    match value {
        Value::Object(all) => {
            let kept = all.iter().filter(|(name, _)| !ELSEWHERE.contains(&name.as_str()));
            Value::Object(kept.map(|(name, value)| (name.clone(), contents(value))).collect())
        }
        Value::Array(all) => all.iter().map(contents).collect(),
        other => other.clone(),
    }
}

/// Whether a cell of another machine or version is of the same. What is not on this machine cannot be compared, and is taken to be.
pub fn is_same_elsewhere(here: &Value, there: &Value) -> bool {
    match (here, there) {
        (Value::Object(a), Value::Object(b)) => {
            let unknown = |all: &serde_json::Map<String, Value>| {
                all.contains_key("path") && all.get("content").is_some_and(Value::is_null)
            };
            let names = || a.keys().chain(b.keys()).filter(|name| !ELSEWHERE.contains(&name.as_str()));
            unknown(a)
                || names().all(|name| match (a.get(name), b.get(name)) {
                    (Some(a), Some(b)) => is_same_elsewhere(a, b),
                    _ => false,
                })
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same_elsewhere(a, b))
        }
        _ => here == there,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn basis(rows: &str, text: &str) -> Basis {
        let settings = [("rows", rows), ("hook", "blocks.1.hook_resid_post"), ("prompts", "9 tokens, seed 3")];
        let table = MetricTable {
            settings: settings.map(|(name, value)| (name.into(), value.into())).into(),
            ..MetricTable::default()
        };
        Basis::of(&table, &json!({"session": {"text": {"path": text, "content": {"sha256": text}}}}))
    }

    #[test]
    fn rows_and_texts_decide_and_places_and_seeds_do_not() {
        assert_eq!(basis("16", "a"), basis("16", "a"));
        assert_eq!(basis("16", "a").differences(&basis("64", "a")), ["rows: 16 | 64"]);
        let said = basis("16", "a").differences(&basis("16", "b"));
        assert!(said.len() == 1 && said[0].starts_with("text's contents: "), "{said:?}");
        assert_eq!(basis("16", "a").get("prompts"), Some("9 tokens"));
    }

    #[test]
    fn the_same_files_elsewhere_are_the_same() {
        let of = |path: &str, content: Value, program: &str| json!({"program": program, "model": {"path": path, "content": content}, "ratio": 0.25});
        let known = || json!({"sha256": "1"});
        assert!(is_same_elsewhere(&of("/a", known(), "1.0"), &of("/b", known(), "1.1")));
        assert!(!is_same_elsewhere(&of("/a", known(), "1.0"), &of("/a", json!({"sha256": "2"}), "1.0")));
        assert!(is_same_elsewhere(&of("/a", Value::Null, "1.0"), &of("/b", known(), "1.0")), "it is not here");
        let mut other = of("/a", known(), "1.0");
        other["ratio"] = json!(0.5);
        assert!(!is_same_elsewhere(&of("/a", known(), "1.0"), &other));
    }
}
