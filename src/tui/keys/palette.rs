//! The command palette: every action, found by fuzzy matching of title and description.

use nucleo_matcher::{
    Config, Matcher, Utf32Str,
    pattern::{AtomKind, CaseMatching, Normalization, Pattern},
};

use crate::tui::keys::{
    action::{Action, ActionSpec, Context},
    keymap::{Key, Keymap},
};

/// A line of the palette.
#[derive(Clone, Debug)]
pub struct Entry {
    pub spec: &'static ActionSpec,
    pub action: Action,
    pub keys: Vec<Key>,
}

/// Commands that take a name behind their own.
const TAKING: [Action; 5] = [Action::SaveView, Action::Record, Action::Explanations, Action::Open, Action::Study];

/// A command with what is written behind its name: `save-view navy`.
pub fn with_argument(query: &str) -> Option<(Action, &str)> {
    let (id, argument) = query.trim_start().split_once(' ')?;
    let action = TAKING.into_iter().find(|action| action.spec().is_some_and(|spec| spec.id == id))?;
    Some((action, argument.trim())).filter(|(_, argument)| !argument.is_empty())
}

/// Commands that match, best first; all of them for an empty query.
pub fn find(keymap: &Keymap, query: &str) -> Vec<Entry> {
    let taking = with_argument(query).map(|(action, _)| action);
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
    if let Some(action) = taking {
        entries.retain(|entry| entry.action == action);
        return entries;
    }
    if query.trim().is_empty() {
        return entries;
    }
    let pattern = Pattern::parse(query, CaseMatching::Ignore, Normalization::Smart);
    let words = Pattern::new(query, CaseMatching::Ignore, Normalization::Smart, AtomKind::Substring);
    let mut matcher = Matcher::new(Config::DEFAULT);
    let mut buffer = Vec::new();
    let mut scored: Vec<_> = entries
        .into_iter()
        .filter_map(|entry| {
            let score = |text: &str, buffer: &mut Vec<char>, matcher: &mut Matcher| {
                pattern.score(Utf32Str::new(text, buffer), matcher)
            };
            // The id is what documents call it.
            let title = score(entry.spec.title, &mut buffer, &mut matcher)
                .or_else(|| score(entry.spec.id, &mut buffer, &mut matcher));
            let text = format!("{} {}", entry.spec.title, entry.spec.description);
            // A command that is spelled out comes first; a match in the title counts for more than one in the description,
            // where letters that lie apart say nothing.
            let score = match title {
                _ if entry.spec.id == query.trim() => u32::MAX,
                Some(score) => score + 1000,
                None => words.score(Utf32Str::new(&text, &mut buffer), &mut matcher)?,
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

    #[test]
    fn the_best_title_comes_first() {
        let keymap = Keymap::default();
        assert_eq!(find(&keymap, "crit")[0].action, Action::Criterion);
        assert_eq!(find(&keymap, "export")[0].action, Action::Export);
        assert_eq!(find(&keymap, "open")[0].action, Action::Open);
        assert!(find(&keymap, "asciinema").iter().any(|entry| entry.action == Action::Record));
        assert!(find(&keymap, "zzzzqqq").is_empty());
        assert!(find(&keymap, "nonsense").is_empty(), "letters here and there are no match");
        assert!(find(&keymap, "").len() > 20);
    }

    #[test]
    fn a_command_takes_a_name_behind_its_own() {
        assert_eq!(with_argument("save-view  a navy "), Some((Action::SaveView, "a navy")));
        assert_eq!((with_argument("save-view "), with_argument("help me")), (None, None));
        let found: Vec<_> = find(&Keymap::default(), "record demo.cast").iter().map(|entry| entry.action).collect();
        assert_eq!(found, [Action::Record]);
    }

    #[test]
    fn no_command_is_listed_twice() {
        let entries = find(&Keymap::default(), "");
        for (at, entry) in entries.iter().enumerate() {
            assert!(entries[..at].iter().all(|e| e.action != entry.action), "{}", entry.spec.id);
        }
    }
}
