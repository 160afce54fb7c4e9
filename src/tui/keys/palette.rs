//! The command palette: every action, found by fuzzy matching of title and description.

use nucleo_matcher::{
    Config, Matcher, Utf32Str,
    pattern::{CaseMatching, Normalization, Pattern},
};

use crate::tui::keys::{
    action::{ActionSpec, Context},
    keymap::{Key, Keymap},
};

/// A line of the palette.
#[derive(Clone, Debug)]
pub struct Entry {
    pub spec: &'static ActionSpec,
    pub action: super::action::Action,
    pub keys: Vec<Key>,
}

/// Commands that match, best first; all of them for an empty query.
pub fn find(keymap: &Keymap, query: &str) -> Vec<Entry> {
    let mut seen = Vec::new();
    let mut entries = Vec::new();
    for (spec, keys) in keymap.rows() {
        // Moving about in the list itself is not a command, and each command is listed once.
        let listed = !matches!(
            spec.context,
            Context::List | Context::Confirm | Context::Form | Context::Reader | Context::Detail | Context::Ratio
        );
        if listed && !seen.contains(&spec.action) {
            seen.push(spec.action);
            entries.push(Entry { spec, action: spec.action, keys: keys.to_vec() });
        }
    }
    if query.trim().is_empty() {
        return entries;
    }
    let pattern = Pattern::parse(query, CaseMatching::Ignore, Normalization::Smart);
    let mut matcher = Matcher::new(Config::DEFAULT);
    let mut buffer = Vec::new();
    let mut scored: Vec<_> = entries
        .into_iter()
        .filter_map(|entry| {
            let title = pattern.score(Utf32Str::new(entry.spec.title, &mut buffer), &mut matcher);
            let text = format!("{} {}", entry.spec.title, entry.spec.description);
            // A match in the title counts for more than one in the description.
            let score = match title {
                Some(score) => score + 1000,
                None => pattern.score(Utf32Str::new(&text, &mut buffer), &mut matcher)?,
            };
            Some((score, entry))
        })
        .collect();
    scored.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    scored.into_iter().map(|(_, entry)| entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::keys::action::Action;

    #[test]
    fn the_best_title_comes_first() {
        let keymap = Keymap::default();
        assert_eq!(find(&keymap, "crit")[0].action, Action::Criterion);
        assert_eq!(find(&keymap, "export")[0].action, Action::Export);
        assert!(find(&keymap, "zzzzqqq").is_empty());
        assert!(find(&keymap, "").len() > 20);
    }

    #[test]
    fn no_command_is_listed_twice() {
        let entries = find(&Keymap::default(), "");
        for (at, entry) in entries.iter().enumerate() {
            assert!(entries[..at].iter().all(|e| e.action != entry.action), "{}", entry.spec.id);
        }
    }
}
