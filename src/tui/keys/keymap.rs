//! Keys to actions, by context: defaults from the table of actions, changes from a TOML file.

use std::{collections::HashMap, fmt, str::FromStr};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use prunelens_core::error::{Error, Result};

use crate::tui::keys::action::{ACTIONS, Action, ActionSpec, Context};

/// A key with its modifiers, spelled `ctrl-p`, `enter`, `]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub code: KeyCode,
    pub modifiers: KeyModifiers,
}

impl Key {
    pub fn new(code: KeyCode) -> Self {
        Self { code, modifiers: KeyModifiers::NONE }
    }
}

impl From<KeyEvent> for Key {
    fn from(event: KeyEvent) -> Self {
        // A character already says whether Shift was held, and terminals disagree on reporting it.
        let mut modifiers = event.modifiers & (KeyModifiers::CONTROL | KeyModifiers::ALT | KeyModifiers::SHIFT);
        if matches!(event.code, KeyCode::Char(_) | KeyCode::BackTab) {
            modifiers -= KeyModifiers::SHIFT;
        }
        Self { code: event.code, modifiers }
    }
}

impl From<Key> for KeyEvent {
    fn from(key: Key) -> Self {
        Self::new(key.code, key.modifiers)
    }
}

/// Names of keys that are not a character, as written and as shown.
const NAMED: &[(&str, &str, KeyCode)] = &[
    ("enter", "Enter", KeyCode::Enter),
    ("esc", "Esc", KeyCode::Esc),
    ("tab", "Tab", KeyCode::Tab),
    ("backtab", "Shift-Tab", KeyCode::BackTab),
    ("up", "↑", KeyCode::Up),
    ("down", "↓", KeyCode::Down),
    ("left", "←", KeyCode::Left),
    ("right", "→", KeyCode::Right),
    ("home", "Home", KeyCode::Home),
    ("end", "End", KeyCode::End),
    ("pageup", "PgUp", KeyCode::PageUp),
    ("pagedown", "PgDn", KeyCode::PageDown),
    ("backspace", "Backspace", KeyCode::Backspace),
    ("delete", "Del", KeyCode::Delete),
    ("space", "Space", KeyCode::Char(' ')),
    ("lt", "<", KeyCode::Char('<')),
    ("gt", ">", KeyCode::Char('>')),
];

impl FromStr for Key {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut modifiers = KeyModifiers::NONE;
        let mut name = text;
        loop {
            let (modifier, rest) = match name.split_once('-') {
                Some(("ctrl", rest)) if !rest.is_empty() => (KeyModifiers::CONTROL, rest),
                Some(("alt", rest)) if !rest.is_empty() => (KeyModifiers::ALT, rest),
                Some(("shift", rest)) if !rest.is_empty() => (KeyModifiers::SHIFT, rest),
                _ => break,
            };
            modifiers |= modifier;
            name = rest;
        }
        let mut characters = name.chars();
        let code = match (NAMED.iter().find(|n| n.0 == name), characters.next(), characters.next()) {
            (Some(named), ..) => named.2,
            (None, Some(c), None) => KeyCode::Char(c),
            _ => match name.strip_prefix('f').and_then(|n| n.parse().ok()) {
                Some(n @ 1..=12) => KeyCode::F(n),
                _ => {
                    return Err(Error::Usage(format!(
                        "key {text:?} is not understood; expected a character or a name such as enter, esc, left, pageup, f5, ctrl-p"
                    )));
                }
            },
        };
        Ok(Self { code, modifiers })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (modifier, name) in
            [(KeyModifiers::CONTROL, "Ctrl-"), (KeyModifiers::ALT, "Alt-"), (KeyModifiers::SHIFT, "Shift-")]
        {
            if self.modifiers.contains(modifier) {
                f.write_str(name)?;
            }
        }
        match (NAMED.iter().find(|n| n.2 == self.code), self.code) {
            (Some(named), _) => f.write_str(named.1),
            (None, KeyCode::Char(c)) if self.modifiers.contains(KeyModifiers::CONTROL) => {
                write!(f, "{}", c.to_uppercase())
            }
            (None, KeyCode::Char(c)) => write!(f, "{c}"),
            (None, code) => write!(f, "{code}"),
        }
    }
}

/// Which key does what where.
#[derive(Clone, Debug, PartialEq)]
pub struct Keymap {
    /// One entry a row of [`ACTIONS`], in its order.
    keys: Vec<Vec<Key>>,
    lookup: HashMap<(Context, Key), Action>,
}

impl Default for Keymap {
    fn default() -> Self {
        // Unreadable default keys cannot ship: a test reads every one of them.
        let keys = ACTIONS.iter().map(|s| s.keys.iter().filter_map(|k| k.parse().ok()).collect()).collect();
        Self::from_keys(keys)
    }
}

impl Keymap {
    fn from_keys(keys: Vec<Vec<Key>>) -> Self {
        let mut lookup = HashMap::new();
        for (spec, keys) in ACTIONS.iter().zip(&keys) {
            for &key in keys {
                lookup.entry((spec.context, key)).or_insert(spec.action);
            }
        }
        Self { keys, lookup }
    }

    /// The defaults with the changes of a TOML text: `action-id = "key"` or `action-id = ["key", "key"]`. A key that is given to one
    /// action is taken from those that have it by default: of the same screen, and of every screen where the action is to be had.
    pub fn with_changes(text: &str, origin: &str) -> Result<Self> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Keys {
            One(String),
            Many(Vec<String>),
        }
        let changes: HashMap<String, Keys> =
            toml::from_str(text).map_err(|e| Error::invalid(format!("keys {origin}: {}", e.to_string().trim_end())))?;
        let mut keys = Self::default().keys;
        let mut changed = vec![false; keys.len()];
        for (id, change) in changes {
            let at = ACTIONS.iter().position(|s| s.id == id).ok_or_else(|| {
                Error::invalid(format!("keys {origin}: there is no action {id:?}; the help overlay lists them"))
            })?;
            let names = match change {
                Keys::One(name) => vec![name],
                Keys::Many(names) => names,
            };
            let named = |e: Error| Error::invalid(format!("keys {origin}: {id}: {e}"));
            keys[at] = names.iter().map(|n| n.parse().map_err(named)).collect::<Result<_>>()?;
            changed[at] = true;
        }
        let mut owner: HashMap<(Context, Key), &str> = HashMap::new();
        for (at, spec) in ACTIONS.iter().enumerate().filter(|(at, _)| changed[*at]) {
            for &key in &keys[at] {
                if let Some(other) = owner.insert((spec.context, key), spec.id) {
                    return Err(Error::invalid(format!(
                        "keys {origin}: {key} is bound to both {other} and {}",
                        spec.id
                    )));
                }
            }
        }
        for (at, spec) in ACTIONS.iter().enumerate().filter(|(at, _)| !changed[*at]) {
            // A screen's own default would be found before what was given to an action of every screen.
            let wider = spec.context.wider();
            keys[at].retain(|&key| !wider.iter().any(|&context| owner.contains_key(&(context, key))));
        }
        Ok(Self::from_keys(keys))
    }

    /// The action of a key in the first of these contexts that knows it.
    pub fn action(&self, chain: &[Context], key: Key) -> Option<Action> {
        chain.iter().find_map(|&context| self.lookup.get(&(context, key)).copied())
    }

    /// Rows of the table with their keys as they are now.
    pub fn rows(&self) -> impl Iterator<Item = (&'static ActionSpec, &[Key])> {
        ACTIONS.iter().zip(&self.keys).map(|(spec, keys)| (spec, keys.as_slice()))
    }

    /// Keys of the first row with this action in one of these contexts, as text; empty if it has none.
    pub fn key_of(&self, action: Action, chain: &[Context]) -> String {
        self.rows()
            .find(|(s, keys)| s.action == action && chain.contains(&s.context) && !keys.is_empty())
            .map(|(_, keys)| keys[0].to_string())
            .unwrap_or_default()
    }

    /// Footer entries of these contexts, of what does something, in the order of the table. Neighbours with the same words become one.
    pub fn hints(&self, chain: &[Context], offers: impl Fn(Action) -> bool) -> Vec<Hint> {
        let mut hints: Vec<Hint> = Vec::new();
        for (spec, keys) in self.rows() {
            let (Some(words), Some(&key)) = (spec.hint, keys.first()) else { continue };
            // A key that a nearer context takes does something else here.
            if !chain.contains(&spec.context) || self.action(chain, key) != Some(spec.action) || !offers(spec.action) {
                continue;
            }
            match hints.iter_mut().find(|hint| hint.words == words) {
                Some(hint) if hints_pair(spec.action) => hint.keys = join(&hint.keys, &key.to_string()),
                Some(_) => {}
                None => hints.push(Hint { keys: key.to_string(), words, context: spec.context }),
            }
        }
        hints
    }

    /// The key tables of docs/keys.md; the ids are those of key files.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        for context in Context::ALL {
            out += &format!("**{}**\n\n| key | id | |\n|---|---|---|\n", context.title());
            for (spec, keys) in self.rows().filter(|(s, _)| s.context == context) {
                let keys: Vec<_> = keys.iter().map(|k| format!("`{k}`").replace('|', "\\|")).collect();
                out += &format!("| {} | `{}` | {} |\n", keys.join(" "), spec.id, spec.description);
            }
            out.push('\n');
        }
        out
    }
}

/// An entry of the footer.
#[derive(Clone, Debug, PartialEq)]
pub struct Hint {
    pub keys: String,
    pub words: &'static str,
    /// In which the key is looked up.
    pub context: Context,
}

/// Whether an action has a counterpart whose key belongs beside its own in the footer.
fn hints_pair(action: Action) -> bool {
    use Action as A;
    matches!(
        action,
        A::TokenRight
            | A::LatentDown
            | A::NextLatent
            | A::NextText
            | A::NextLayer
            | A::SquareRight
            | A::ScrollDown
            | A::RatioUp
            | A::RatioFineUp
            | A::ViewNext
            | A::ValueNext
    )
}

fn join(first: &str, second: &str) -> String {
    if first.chars().all(|c| "↑↓←→".contains(c)) {
        format!("{first}{second}")
    } else {
        format!("{first} {second}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_key_is_readable_and_bound_once_in_its_context() {
        let mut seen = HashMap::new();
        for spec in ACTIONS {
            for name in spec.keys {
                let key: Key = name.parse().unwrap();
                if let Some(other) = seen.insert((spec.context, key), spec.id) {
                    panic!("{name} means both {other} and {} in {:?}", spec.id, spec.context);
                }
            }
        }
    }

    #[test]
    fn nothing_is_shadowed_by_accident() {
        let keymap = Keymap::default();
        let deliberate = [Context::Detail, Context::Ratio];
        for chain in [
            [Context::Explore, Context::Global, Context::Always],
            [Context::Latent, Context::OnLatent, Context::Global],
            [Context::Predictions, Context::OnLatent, Context::Global],
            [Context::Generation, Context::OnLatent, Context::Global],
            [Context::Metrics, Context::Global, Context::Always],
            [Context::Atlas, Context::Global, Context::Always],
            [Context::Layers, Context::Global, Context::Always],
            [Context::Study, Context::Global, Context::Always],
            [Context::Reader, Context::Global, Context::Always],
            [Context::Failed, Context::Global, Context::Always],
        ] {
            for (spec, keys) in
                keymap.rows().filter(|(s, _)| chain.contains(&s.context) && !deliberate.contains(&s.context))
            {
                for &key in keys {
                    assert_eq!(keymap.action(&chain, key), Some(spec.action), "{key} of {} in {chain:?}", spec.id);
                }
            }
        }
    }

    #[test]
    fn keys_read_back_as_written() {
        for (text, shown) in
            [("ctrl-p", "Ctrl-P"), ("]", "]"), ("left", "←"), ("G", "G"), ("-", "-"), ("alt-enter", "Alt-Enter")]
        {
            assert_eq!(text.parse::<Key>().unwrap().to_string(), shown);
        }
        assert!("nonsense".parse::<Key>().is_err());
    }

    #[test]
    fn shift_does_not_matter_for_characters() {
        let event = KeyEvent::new(KeyCode::Char('G'), KeyModifiers::SHIFT);
        assert_eq!(Keymap::default().action(&[Context::Explore], event.into()), Some(Action::LastLatent));
    }

    #[test]
    fn a_key_file_changes_keys_and_names_its_mistakes() {
        let keymap = Keymap::with_changes("quit = ['Q', 'ctrl-q']", "k.toml").unwrap();
        let action = |key: &str| keymap.action(&[Context::Global], key.parse().unwrap());
        assert_eq!((action("Q"), action("q")), (Some(Action::Quit), None));
        let error = |text| Keymap::with_changes(text, "k.toml").unwrap_err().to_string();
        assert!(error("qit = 'q'").contains("qit"));
        let taken = Keymap::with_changes("sort = 's'\nquit = 'f5'", "k.toml").unwrap();
        let action = |context, key: &str| taken.action(&[context], key.parse().unwrap());
        assert_eq!(action(Context::Explore, "s"), Some(Action::Sort));
        assert_eq!(action(Context::OnLatent, "s"), Some(Action::Edit), "elsewhere it is what it was");
        assert_eq!(action(Context::Global, "f5"), Some(Action::Quit));
        assert!(taken.rows().any(|(spec, keys)| spec.id == "edit" && keys.is_empty()), "it has gone to another");
        let wide = Keymap::with_changes("quit = ['h', 'n']\nlog = 'o'\nsort = 'o'", "k.toml").unwrap();
        let action = |context, key: &str| wide.action(&[context, Context::Global], key.parse().unwrap());
        assert_eq!(action(Context::Explore, "h"), Some(Action::Quit), "no screen's default hides it");
        assert_eq!(action(Context::Explore, "o"), Some(Action::Sort), "what a screen was given goes before it");
        assert_eq!(action(Context::Confirm, "n"), Some(Action::KeepRunning), "there it would do nothing");
        assert!(error("quit = 'm'\nhelp = 'm'").contains("bound to both"));
        let unknown = error("quit = 'f13'");
        assert!(unknown.contains("k.toml: quit") && unknown.contains("\"f13\" is not understood"), "{unknown}");
        assert!(error("quit = 3").contains("line 1"));
    }

    #[test]
    fn hints_join_pairs() {
        let hints = Keymap::default().hints(&[Context::Explore, Context::Global, Context::Always], |_| true);
        let has = |keys: &str, words: &str| hints.iter().any(|hint| hint.keys == keys && hint.words == words);
        assert!(has("←→", "token") && has("[ ]", "knob"), "{hints:?}");
    }
}
