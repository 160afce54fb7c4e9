//! Rows of the table of latents.

use std::{cmp::Ordering, collections::BTreeSet, collections::HashMap};

use prunelens_core::compare::{Match, Variant};

use crate::tui::state::{Pair, Shown};

/// What rows are ordered by, largest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    By(Variant),
    /// How far `pruned` is from `original`, either way.
    Difference,
}

impl Sort {
    pub fn next(self, variants: &[Variant]) -> Self {
        let all: Vec<_> =
            Variant::ALL.into_iter().filter(|v| variants.contains(v)).map(Self::By).chain([Self::Difference]).collect();
        let at = all.iter().position(|&s| s == self).map_or(0, |at| (at + 1) % all.len());
        all[at]
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::By(variant) => variant.name(),
            Self::Difference => "difference",
        }
    }
}

/// Which pruning a latent owes its loss to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The model's: it is lost in `transfer` already.
    Model,
    /// The SAE's: `transfer` still has it.
    Sae,
}

/// From `original` to `pruned`, as a share of the original.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    Same,
    Up(f32),
    /// And which pruning took more of it.
    Down(f32, Cause),
    /// Fired, and no longer does.
    Dead(Cause),
    /// Did not fire, and does now.
    New,
    /// Fires in neither.
    Absent,
}

/// One latent of the shared dictionary at a token, or over the whole prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub latent: u32,
    /// Activations in the order of [`Variant::ALL`]; `None` where there is no such variant or no match in it.
    pub values: [Option<f32>; 4],
    /// The same in the second prompt, where there is one.
    pub second: Option<[Option<f32>; 4]>,
    pub matched: Option<Match>,
    /// Activation at each setting of the grid.
    pub path: Option<Vec<f32>>,
}

impl Row {
    pub fn value(&self, variant: Variant) -> Option<f32> {
        self.values[variant as usize]
    }

    pub fn change(&self) -> Option<Change> {
        let (before, after) = (self.value(Variant::Original)?, self.value(Variant::Pruned)?);
        let on_model = self.value(Variant::Transfer).unwrap_or(before);
        let cause = match (on_model > 0.0, after > 0.0) {
            (false, _) => Cause::Model,
            (true, false) => Cause::Sae,
            _ if before - on_model > on_model - after => Cause::Model,
            _ => Cause::Sae,
        };
        Some(match (before > 0.0, after > 0.0) {
            (false, false) => Change::Absent,
            (false, true) => Change::New,
            (true, false) => Change::Dead(cause),
            (true, true) => match (after - before) / before {
                share if share.abs() < 0.005 => Change::Same,
                share if share > 0.0 => Change::Up(share),
                share => Change::Down(-share, cause),
            },
        })
    }

    /// From the first prompt to the second: what it is in the second, less what it is in the first.
    pub fn between(&self, variant: Variant) -> Option<f32> {
        Some(self.second?[variant as usize]? - self.value(variant)?)
    }

    /// Two prompts are told apart by what the original SAE says of them.
    fn key(&self, sort: Sort) -> f32 {
        match sort {
            Sort::By(variant) => {
                let second = self.second.and_then(|values| values[variant as usize]).unwrap_or(0.0);
                self.value(variant).unwrap_or(0.0).max(second)
            }
            Sort::Difference if self.second.is_some() => self.between(Variant::Original).unwrap_or(0.0).abs(),
            Sort::Difference => {
                let [before, after] = [Variant::Original, Variant::Pruned].map(|v| self.value(v).unwrap_or(0.0));
                (after - before).abs()
            }
        }
    }

    /// The order of rows: by the column asked for, then by what the latent meant before, then by number.
    fn cmp(&self, other: &Self, sort: Sort) -> Ordering {
        let by = |sort| other.key(sort).total_cmp(&self.key(sort));
        by(sort)
            .then_with(|| by(Sort::By(Variant::Original)))
            .then_with(|| by(Sort::By(Variant::Transfer)))
            .then_with(|| self.latent.cmp(&other.latent))
    }
}

#[derive(Clone, Debug)]
pub struct Table {
    pub rows: Vec<Row>,
    pub sort: Sort,
    /// Over the whole prompt instead of at the selected token.
    pub whole: bool,
    /// The order is that of earlier values: it is put right when the user next moves.
    pub disordered: bool,
}

impl Default for Table {
    fn default() -> Self {
        Self { rows: Vec::new(), sort: Sort::By(Variant::Original), whole: false, disordered: false }
    }
}

impl Table {
    /// Latents active in `original`, `transfer` or `pruned`, and `pinned` even where it is not. With `keep`, rows stay
    /// where they are and new ones come last.
    pub fn fill(&mut self, shown: &Shown, pair: Option<&Pair>, token: usize, pinned: Option<u32>, keep: bool) {
        let first = Reading::new(shown, if self.whole { shown.ordinary() } else { vec![token] });
        let second = pair.and_then(|pair| {
            let shown = pair.shown.as_ref()?;
            Some(Reading::new(shown, if self.whole { shown.ordinary() } else { Vec::from_iter(pair.beside(token)) }))
        });
        let active: BTreeSet<u32> =
            [Some(&first), second.as_ref()].into_iter().flatten().flat_map(|r| r.fires.keys().copied()).collect();
        let row = |latent| row(&first, second.as_ref(), latent);
        let mut rows: Vec<Row> = active.into_iter().map(row).collect();
        rows.sort_by(|a, b| a.cmp(b, self.sort));
        self.disordered = false;
        if keep {
            let place: HashMap<u32, usize> = self.rows.iter().enumerate().map(|(at, r)| (r.latent, at)).collect();
            let sorted: Vec<u32> = rows.iter().map(|r| r.latent).collect();
            rows.sort_by_key(|r| place.get(&r.latent).copied().unwrap_or(usize::MAX));
            self.disordered = rows.iter().zip(sorted).any(|(r, l)| r.latent != l);
        }
        if let Some(latent) = pinned.filter(|p| rows.iter().all(|r| r.latent != *p)) {
            rows.insert(0, row(latent));
        }
        self.rows = rows;
    }

    pub fn position(&self, latent: u32) -> Option<usize> {
        self.rows.iter().position(|r| r.latent == latent)
    }

    /// Latents that fire in `original`, in `transfer`, and those of the latter that still fire in `pruned`.
    pub fn active(&self) -> [usize; 3] {
        let fires = |r: &&Row, v| r.value(v).is_some_and(|x| x > 0.0);
        let on_model = self.rows.iter().filter(|r| fires(r, Variant::Transfer));
        let left = on_model.clone().filter(|r| fires(r, Variant::Pruned)).count();
        [self.rows.iter().filter(|r| fires(r, Variant::Original)).count(), on_model.count(), left]
    }
}

const SHARED: [Variant; 3] = [Variant::Original, Variant::Transfer, Variant::Pruned];

/// A prompt, those of its tokens that rows are of, and on which of them each latent of the shared dictionary fires.
struct Reading<'a> {
    shown: &'a Shown,
    tokens: Vec<usize>,
    fires: HashMap<u32, Vec<usize>>,
}

impl<'a> Reading<'a> {
    fn new(shown: &'a Shown, tokens: Vec<usize>) -> Self {
        let mut fires: HashMap<u32, Vec<usize>> = HashMap::new();
        for &token in &tokens {
            let views = SHARED.iter().filter_map(|&v| shown.comparison.view(v));
            let active: BTreeSet<u32> = views.flat_map(|v| v.latents.row(token).0.iter().copied()).collect();
            active.into_iter().for_each(|latent| fires.entry(latent).or_default().push(token));
        }
        Self { shown, tokens, fires }
    }

    /// Tokens that a latent's row is of.
    fn at(&self, latent: u32) -> &[usize] {
        self.fires.get(&latent).unwrap_or(&self.tokens)
    }

    /// Largest activations in the order of [`Variant::ALL`]; none where there is no token to be active on.
    fn values(&self, latent: u32, matched: Option<Match>) -> [Option<f32>; 4] {
        let largest = |variant, number| {
            let view = self.shown.comparison.view(variant).filter(|_| !self.tokens.is_empty())?;
            Some(self.at(latent).iter().map(|&t| view.latents.get(t, number)).fold(0.0, f32::max))
        };
        let [original, transfer, pruned] = SHARED.map(|v| largest(v, latent));
        [original, transfer, pruned, matched.and_then(|m| largest(Variant::Trained, m.latent))]
    }
}

/// A latent's largest values over the tokens.
fn row(first: &Reading, second: Option<&Reading>, latent: u32) -> Row {
    let matches = |reading: &Reading| reading.shown.comparison.matches.get(&latent).copied();
    // A match is known where the latent fires.
    let matched = matches(first).or_else(|| second.and_then(matches));
    let mut path: Option<Vec<f32>> = None;
    for values in first.at(latent).iter().filter_map(|&t| first.shown.current_paths()?.get(t, latent)) {
        let path = path.get_or_insert_with(|| vec![0.0; values.len()]);
        path.iter_mut().zip(values).for_each(|(most, &v)| *most = most.max(v));
    }
    let second = second.map(|second| second.values(latent, matched));
    Row { latent, values: first.values(latent, matched), second, matched, path }
}
