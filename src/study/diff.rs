//! Two studies figure by figure: another version of the program, another compression, another day.

use prunelens_core::compare::Variant;
use prunelens_metrics::Better;
use serde::Serialize;

use super::{
    Place, VariantAt,
    results::{Measured, Missing, Point, Results},
};

/// What tells two studies apart.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Diff {
    /// Cells that both have.
    pub paired: usize,
    /// Figures that both have and that are no further apart than is counted.
    pub same: usize,
    pub changed: Vec<Change>,
    pub incomparable: Vec<Incomparable>,
    /// Cells of one of them.
    pub only_left: Vec<Name>,
    pub only_right: Vec<Name>,
    /// Cells of which several are there.
    pub unclear: Vec<Missing>,
    /// Compressions that were laid beside each other, by session.
    pub compressions: Vec<(String, [String; 2])>,
    /// Cells of both whose `trained` was left out: one study has trained it, and the other was given one.
    pub trained_apart: usize,
}

/// A figure that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    pub place: Place,
    pub metric: String,
    pub category: String,
    pub figure: String,
    /// Of the hook.
    pub layer: Option<usize>,
    #[serde(flatten)]
    pub of: VariantAt,
    pub seed: Option<u64>,
    pub better: Better,
    pub left: Option<f64>,
    pub right: Option<f64>,
}

/// A cell of both that was measured on other grounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Incomparable {
    #[serde(flatten)]
    pub cell: Name,
    /// Settings with both values.
    pub differs: Vec<String>,
}

/// Which cell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Name {
    pub place: Place,
    pub name: String,
}

impl Diff {
    /// Figures count as other ones from `beyond` on, as a share of the larger.
    pub fn of(left: &Results, right: &Results, beyond: f64) -> Self {
        let mut diff = Self { compressions: compressions(left, right), ..Self::default() };
        let mut used = vec![false; right.measured.len()];
        for cell in &left.measured {
            let Some(at) = partner(cell, right, &diff.compressions) else {
                diff.only_left.push(Name::of(cell));
                continue;
            };
            used[at] = true;
            diff.paired += 1;
            let other = &right.measured[at];
            let differs = cell.basis.differences(&other.basis);
            match differs.is_empty() {
                true => diff.figures(cell, other, beyond),
                false => diff.incomparable.push(Incomparable { cell: Name::of(cell), differs }),
            }
        }
        let rest = right.measured.iter().zip(used).filter(|(_, used)| !used);
        diff.only_right = rest.map(|(cell, _)| Name::of(cell)).collect();
        diff.unclear = left.missing.iter().chain(&right.missing).cloned().collect();
        diff
    }

    fn figures(&mut self, left: &Measured, right: &Measured, beyond: f64) {
        let apart = !trained_alike(&left.place, &right.place);
        let counts = |point: &Point| !(apart && point.of.variant == Variant::Trained);
        let [points, others] = [left, right].map(|cell| cell.points().into_iter().filter(counts).collect::<Vec<_>>());
        let both = [left, right].iter().all(|cell| cell.table.variants.contains(&Variant::Trained));
        self.trained_apart += usize::from(apart && both);
        let new = others.iter().filter(|other| !points.iter().any(|point| point.is_of(other)));
        let new = new.map(|other| (other, None, other.value));
        let both = points.iter().map(|point| {
            let other = others.iter().find(|other| point.is_of(other));
            (point, point.value, other.and_then(|other| other.value))
        });
        for (point, a, b) in both.chain(new) {
            let same = match (a, b) {
                (Some(a), Some(b)) => a == b || (a - b).abs() <= beyond * a.abs().max(b.abs()),
                (a, b) => a == b,
            };
            if same {
                self.same += 1;
                continue;
            }
            let change = Change {
                place: left.place.clone(),
                metric: left.table.metric.clone(),
                category: point.category.clone(),
                figure: point.figure.clone(),
                layer: point.layer,
                of: point.of.clone(),
                seed: left.seed(),
                better: point.better,
                left: a,
                right: b,
            };
            // Cells of several settings have what is of none of them, each: once is enough.
            let beside = self.changed.iter().rev().take_while(|c| c.place == change.place && c.metric == change.metric);
            if !beside.into_iter().any(|known| *known == change) {
                self.changed.push(change);
            }
        }
    }

    /// How much of what is there could be laid beside each other, in words.
    pub fn summary(&self) -> String {
        let count = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
        format!(
            "{} in both, {} not comparable, {} only in the first, {} only in the second; {} differ, {} do not",
            count(self.paired, "cell"),
            self.incomparable.len(),
            self.only_left.len(),
            self.only_right.len(),
            count(self.changed.len(), "figure"),
            self.same
        )
    }
}

impl Change {
    /// Better, worse, or neither.
    pub fn way(&self) -> &'static str {
        let (Some(left), Some(right)) = (self.left, self.right) else { return "" };
        match (self.better, right > left) {
            (Better::Neither, _) => "",
            (Better::Higher, true) | (Better::Lower, false) => "better",
            _ => "worse",
        }
    }
}

impl Name {
    fn of(cell: &Measured) -> Self {
        Self { place: cell.place.clone(), name: cell.name.clone() }
    }
}

/// The same cell among the other study's, whose compressions may go by other names. Where one study has trained the variant `trained`
/// and the other was given one, cells are the same in all else.
pub fn partner(cell: &Measured, others: &Results, compressions: &[(String, [String; 2])]) -> Option<usize> {
    let mut place = cell.place.clone();
    if let Some((_, [_, other])) = compressions.iter().find(|(session, _)| *session == place.session) {
        place.compress.clone_from(other);
    }
    let named = || others.measured.iter().enumerate().filter(|(_, other)| other.name == cell.name);
    let same = named().find(|(_, other)| other.place == place);
    let found = same.or_else(|| {
        let without_seed = |place: &Place| Place { seed: None, ..place.clone() };
        // Later seeds measure `trained` alone, which has no counterpart there.
        let has_more = |cell: &Measured| cell.table.variants.iter().any(|variant| *variant != Variant::Trained);
        let elsewhere = |other: &Measured| {
            !trained_alike(&other.place, &place) && without_seed(&other.place) == without_seed(&place)
        };
        let all = named().filter(|(_, other)| has_more(cell) && has_more(other) && elsewhere(other));
        all.min_by_key(|(_, other)| other.place.seed)
    });
    found.map(|(at, _)| at)
}

/// Whether both places have a `trained` of one kind: from their study, or from elsewhere.
pub fn trained_alike(a: &Place, b: &Place) -> bool {
    a.seed.is_some() == b.seed.is_some()
}

/// Sessions that each study has under one compression, another one in each.
pub fn compressions(left: &Results, right: &Results) -> Vec<(String, [String; 2])> {
    let only = |results: &Results, session: &str| {
        let mut all = results.sessions().into_iter().filter(|of| of.name == session);
        let first = all.next().map(|of| of.compress.to_owned());
        first.filter(|_| all.next().is_none())
    };
    let mut sessions: Vec<String> = left.sessions().iter().map(|of| of.name.to_owned()).collect();
    sessions.dedup();
    let pair = |session: String| {
        let (a, b) = (only(left, &session)?, only(right, &session)?);
        (a != b).then_some((session, [a, b]))
    };
    sessions.into_iter().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::{
        Basis,
        made::{core, figures, place},
    };
    use serde_json::json;

    const SOME: (f64, f64, f64) = (1.0, 0.1, 3.0);

    fn results(values: [(f64, f64, f64); 5]) -> Results {
        Results { measured: core(place(3), values), missing: Vec::new() }
    }

    #[test]
    fn figures_that_differ_are_told_with_both_values() {
        let other = [SOME, SOME, (1.0, 0.1, 3.25), SOME, (f64::NAN, 0.1, 3.0)];
        let diff = Diff::of(&results([SOME; 5]), &results(other), 1e-6);
        let said: Vec<_> =
            diff.changed.iter().map(|c| (c.figure.as_str(), c.of.to_string(), c.left, c.right, c.way())).collect();
        assert_eq!(
            said,
            [
                ("mse_per_element", "trained".to_owned(), Some(1.0), None, ""),
                ("ce_loss_with_sae", "pruned wanda 0.25".to_owned(), Some(3.0), Some(3.25), "worse"),
            ]
        );
        assert_eq!((diff.paired, diff.same), (2, 18));
        let twice = |values| Results {
            measured: [(); 2].into_iter().flat_map(|()| core(place(3), values)).collect(),
            missing: Vec::new(),
        };
        assert_eq!(Diff::of(&twice([SOME; 5]), &twice(other), 1e-6).changed, diff.changed, "each is told once");
        assert!(Diff::of(&results([SOME; 5]), &results([SOME; 5]), 0.0).changed.is_empty());
        let near = [(1.0 + 1e-9, 0.1, 3.0), SOME, SOME, SOME, SOME];
        assert!(Diff::of(&results([SOME; 5]), &results(near), 1e-6).changed.is_empty());
        assert_eq!(Diff::of(&results([SOME; 5]), &results(near), 0.0).changed.len(), 1);
    }

    #[test]
    fn cells_on_other_rows_are_not_compared() {
        let mut right = results([SOME, SOME, SOME, (9.0, 9.0, 9.0), SOME]);
        let mut made = figures(place(3), "core", None, None, &[], &[]);
        made.table.settings[2].1 = "64".into();
        right.measured[1].basis = Basis::of(&made.table, &json!({}));
        right.measured.remove(0);
        let diff = Diff::of(&results([SOME; 5]), &right, 0.0);
        assert!(diff.changed.is_empty());
        assert_eq!(diff.incomparable[0].differs, ["rows: 16 | 64"]);
        assert_eq!(
            (diff.only_left.len(), diff.only_right.len(), diff.only_left[0].name.as_str()),
            (1, 0, "core_wanda_0.25")
        );
    }

    #[test]
    fn another_compression_is_laid_beside_the_first() {
        let mut right = results([SOME, (1.5, 0.1, 3.0), SOME, SOME, SOME]);
        right.measured.iter_mut().for_each(|cell| cell.place.compress = "rtn:int8".into());
        let diff = Diff::of(&results([SOME; 5]), &right, 0.0);
        assert_eq!((diff.paired, diff.changed.len()), (2, 1));
        assert_eq!(diff.compressions, [("demo".to_owned(), ["wanda:0.5".to_owned(), "rtn:int8".to_owned()])]);
        // The trained SAE of the second was made in its study: it is another thing, and all else is not.
        right.measured.iter_mut().for_each(|cell| cell.place.seed = Some(0));
        let apart = Diff::of(&results([SOME; 5]), &right, 0.0);
        assert_eq!((apart.paired, apart.changed.len(), apart.trained_apart), (2, 1, 1));
        let trained = 4;
        assert_eq!(apart.same, diff.same - trained);
        // Another seed has figures of its trained SAE alone: it stays by itself, whichever study is the first.
        let mut later = results([SOME; 5]).measured;
        later.truncate(1);
        for cell in &mut later {
            (cell.place.compress, cell.place.seed) = ("rtn:int8".into(), Some(1));
            cell.table.variants.truncate(1);
            cell.table.variants[0] = Variant::Trained;
            cell.table.rows.iter_mut().for_each(|row| row.values.truncate(1));
        }
        later.append(&mut right.measured);
        right.measured = later;
        let (there, back) = (Diff::of(&results([SOME; 5]), &right, 0.0), Diff::of(&right, &results([SOME; 5]), 0.0));
        assert_eq!((there.paired, there.changed.len(), there.only_right.len()), (2, 1, 1));
        assert_eq!((back.paired, back.changed.len(), back.only_left.len()), (2, 1, 1));
    }
}
