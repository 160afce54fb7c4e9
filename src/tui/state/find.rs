//! Looking for latents: by number, by what became of them, by a word, by likeness.

use std::collections::BTreeMap;

use super::{Change, Explained, Row};
use crate::engine::{Hit, Why, like};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Find {
    pub query: String,
    pub selected: usize,
    /// The word last asked for, and what came.
    pub asked: Option<(u64, String)>,
    pub waiting: bool,
    /// Enter came before anything was found: to go on as soon as something is.
    pub go: bool,
    pub hits: Vec<Hit>,
}

/// A latent found, and the reason in words.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub latent: u32,
    pub why: String,
}

/// Explanations listed for a word, at most.
const EXPLAINED: usize = 50;

type Fate = (&'static str, fn(&Change) -> bool);

/// What may have become of a latent, as one asks for it.
const FATES: [Fate; 4] = [
    ("died", |change| matches!(change, Change::Dead(_))),
    ("weakened", |change| matches!(change, Change::Down(..))),
    ("grew", |change| matches!(change, Change::Up(_))),
    ("new", |change| matches!(change, Change::New)),
];

impl Find {
    /// The latent whose number is typed.
    pub fn number(&self) -> Option<u32> {
        let query = self.query.trim();
        query.strip_prefix('#').unwrap_or(query).parse().ok()
    }

    /// The latent whose like is looked for.
    pub fn like(&self) -> Option<u32> {
        like(&self.query)
    }

    /// What became of no latent here, though it was asked for.
    pub fn none(&self, (rows, whole): (&[Row], bool)) -> Option<String> {
        let query = self.query.trim().to_lowercase();
        let (fate, is) = FATES.iter().find(|(fate, _)| query.len() > 2 && fate.starts_with(&query))?;
        let any = rows.iter().any(|row| row.change().as_ref().is_some_and(is));
        let what = if *fate == "new" { "is new" } else { *fate };
        (!any).then(|| format!("none {what} {}", here(whole)))
    }

    /// The word that the engine has to look for.
    pub fn word(&self) -> Option<&str> {
        let word = self.query.trim();
        (word.len() > 1 && self.number().is_none()).then_some(word)
    }

    /// What is there of the word is still to come.
    pub fn looks(&self) -> bool {
        self.word().is_some_and(|word| self.waiting || self.asked.as_ref().is_none_or(|(_, asked)| asked != word))
    }

    /// Everything found so far: by number, by name, by fate on this prompt, by word.
    pub fn found(
        &self,
        d_sae: usize,
        (rows, whole): (&[Row], bool),
        names: &BTreeMap<u32, String>,
        explained: &Explained,
    ) -> Vec<Found> {
        let query = self.query.trim().to_lowercase();
        let mut found = Vec::new();
        if let Some(latent) = self.number().filter(|latent| (*latent as usize) < d_sae) {
            found.push(Found { latent, why: "its number".into() });
        }
        if query.is_empty() {
            return found;
        }
        let named = names.iter().filter(|(_, name)| name.to_lowercase().contains(&query));
        found.extend(named.map(|(latent, name)| Found { latent: *latent, why: format!("named {name}") }));
        let told = explained.texts.iter().filter(|(latent, text)| {
            // Once is enough.
            let named = names.get(*latent).is_some_and(|name| name.to_lowercase().contains(&query));
            !named && (**latent as usize) < d_sae && text.to_lowercase().contains(&query)
        });
        let by =
            |(latent, text): (&u32, &String)| Found { latent: *latent, why: format!("{}: {text}", explained.from) };
        found.extend(told.take(EXPLAINED).map(by));
        for (fate, is) in FATES.iter().filter(|(fate, _)| query.len() > 2 && fate.starts_with(&query)) {
            let fated = rows.iter().filter(|row| row.change().as_ref().is_some_and(is));
            found.extend(fated.map(|row| Found { latent: row.latent, why: format!("{fate} {}", here(whole)) }));
        }
        let current = self.asked.as_ref().is_some_and(|(_, word)| self.word() == Some(word.as_str()));
        found.extend(
            self.hits.iter().filter(|_| current).map(|hit| Found { latent: hit.latent, why: reason(&hit.why) }),
        );
        found
    }
}

/// What the table is of.
fn here(whole: bool) -> &'static str {
    if whole { "on this prompt" } else { "on the selected token" }
}

fn reason(why: &Why) -> String {
    match why {
        Why::Fires { places: (there, of), share } => {
            format!("fires on {there} of {of} in the corpus, {:.0} % of all it does", share * 100.0)
        }
        Why::Promotes(logit) => format!("raises its logit by {logit:.2} a unit"),
        Why::Like { of, cosine } => format!("cosine {cosine:.3} of its decoder row with that of #{of}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(query: &str) -> Find {
        Find { query: query.into(), ..Find::default() }
    }

    #[test]
    fn a_query_is_a_number_a_name_or_a_word() {
        let names = BTreeMap::from([(7, "The Navy".to_owned())]);
        let found = |query: &str| {
            find(query)
                .found(10, (&[], false), &names, &Explained::default())
                .into_iter()
                .map(|f| f.latent)
                .collect::<Vec<_>>()
        };
        assert_eq!((found("3"), found("10"), found("navy"), found("")), (vec![3], vec![], vec![7], vec![]));
        assert_eq!((find("12").word(), find(" war ").word(), find("a").word()), (None, Some("war"), None));
    }

    #[test]
    fn hits_are_shown_of_the_word_they_are_of() {
        let hits = vec![Hit { latent: 4, why: Why::Promotes(1.5) }];
        let of = |query: &str| Find { asked: Some((1, "war".into())), hits: hits.clone(), ..find(query) };
        let found = |query: &str| of(query).found(10, (&[], false), &BTreeMap::new(), &Explained::default()).len();
        assert_eq!((found("war"), found("wars")), (1, 0));
    }

    #[test]
    fn explanations_are_found_beside_names_of_ones_own() {
        let texts = BTreeMap::from([(3, "naval forces".to_owned()), (4, "Navy ships".to_owned())]);
        let explained = Explained { from: "np".into(), texts };
        let names = BTreeMap::from([(3, "mine".to_owned())]);
        let found = |query: &str| find(query).found(10, (&[], false), &names, &explained);
        let why = |latent, why: &str| Found { latent, why: why.into() };
        assert_eq!(found("nav"), [why(3, "np: naval forces"), why(4, "np: Navy ships")]);
        assert_eq!(found("mine"), [why(3, "named mine")]);
        let names = BTreeMap::from([(3, "naval".to_owned())]);
        let both = find("nava").found(10, (&[], false), &names, &explained);
        assert_eq!(both, [why(3, "named naval")], "once is enough");
    }
}
