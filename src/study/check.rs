//! Whether a study's figures are within the bounds of its file, for the tests of a model's makers.

use prunelens_core::{
    compare::Variant,
    error::{Error, Result},
};
use prunelens_metrics::{Better, FAMILIES};
use serde::{Deserialize, Serialize};

use super::{
    Place, Study,
    diff::{compressions, partner, trained_alike},
    results::{Measured, Point, Results},
};

/// What a figure has to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Bound {
    /// "core" ...
    pub metric: String,
    /// As result files name it.
    pub figure: String,
    /// As the report's data name it, where a figure is of several: a data set, a letter. All there are, if none is named.
    pub category: Option<String>,
    /// All there are, if none is named.
    pub variant: Option<Variant>,
    /// Of the variant `pruned`: all there are, if none is named.
    pub ratio: Option<f64>,
    /// The least that it may be.
    pub least: Option<f64>,
    /// The most that it may be.
    pub most: Option<f64>,
    /// By how much it may be worse than in the baseline; of a figure of which neither way is better, by how much it may differ.
    pub worse: Option<f64>,
}

/// A bound on one figure of one cell, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    pub place: Place,
    pub metric: String,
    pub figure: String,
    /// "pruned wanda 0.25"; empty where the cell itself is missing.
    pub of: String,
    pub seed: Option<u64>,
    /// In words.
    pub bound: String,
    pub found: Option<f64>,
    pub baseline: Option<f64>,
    pub verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", tag = "verdict", content = "why")]
pub enum Verdict {
    Held,
    Broken(String),
    /// It cannot be told.
    Unknown(String),
}

impl Bound {
    /// A bound that bounds something.
    pub fn check(&self) -> Result<(), String> {
        if !FAMILIES.iter().any(|family| family.name == self.family()) {
            return Err(format!("there is no metric {:?}", self.metric));
        }
        let limits = [self.least, self.most, self.worse];
        match limits.iter().flatten().next() {
            None => Err(format!("{} of {} has none of least, most and worse", self.figure, self.metric)),
            Some(_) if limits.iter().flatten().any(|limit| !limit.is_finite()) => Err("a limit is no number".into()),
            Some(_) if self.ratio.is_some() && self.variant.is_some_and(|variant| variant != Variant::Pruned) => {
                Err(format!("{} of {}: only the variant pruned has a ratio", self.figure, self.metric))
            }
            Some(_) => Ok(()),
        }
    }

    fn family(&self) -> String {
        self.metric.replace('-', "_")
    }

    fn words(&self) -> String {
        let words = [("at least", self.least), ("at most", self.most), ("worse by at most", self.worse)];
        let said: Vec<String> = words.iter().filter_map(|(word, n)| n.map(|n| format!("{word} {n}"))).collect();
        said.join(", ")
    }

    fn matches(&self, point: &Point) -> bool {
        point.figure == self.figure
            && self.category.as_ref().is_none_or(|category| *category == point.category)
            && self.variant.is_none_or(|variant| variant == point.of.variant)
            && (self.ratio.is_none() || self.ratio == point.of.ratio)
    }

    fn judge(&self, point: &Point, baseline: Option<Result<f64, String>>) -> Verdict {
        let Some(found) = point.value else { return Verdict::Unknown("it is undefined here".into()) };
        let mut broken = Vec::new();
        if let Some(least) = self.least.filter(|least| found < *least) {
            broken.push(format!("{found} is less than {least}"));
        }
        if let Some(most) = self.most.filter(|most| found > *most) {
            broken.push(format!("{found} is more than {most}"));
        }
        if let Some(worse) = self.worse {
            match baseline {
                Some(Ok(was)) => {
                    let by = match point.better {
                        Better::Higher => was - found,
                        Better::Lower => found - was,
                        Better::Neither => (found - was).abs(),
                    };
                    if by > worse {
                        broken
                            .push(format!("{found} is worse than the baseline's {was} by {by:.4}, more than {worse}"));
                    }
                }
                Some(Err(why)) if broken.is_empty() => return Verdict::Unknown(why),
                None if broken.is_empty() => return Verdict::Unknown("there is no baseline".into()),
                _ => {}
            }
        }
        if broken.is_empty() { Verdict::Held } else { Verdict::Broken(broken.join("; ")) }
    }
}

/// All bounds of the study's file on all figures they are of. A bound on a figure that nothing has is an error.
pub fn check(study: &Study, results: &Results, baseline: Option<&Results>) -> Result<Vec<Outcome>> {
    let file = &study.file.origin.file;
    let wrong = |message: String| Err(Error::file(file, message));
    let bounds = &study.file.bounds;
    if bounds.is_empty() {
        let what = "it has no [[bounds]], as the study was begun: nothing to check. Bounds that were written since count \
                    where the file is given: `prunelens check FILE --out DIR`";
        return wrong(what.into());
    }
    if let Some(bound) = bounds.iter().find(|bound| bound.worse.is_some() && baseline.is_none()) {
        let what = format!("{} of {} is bounded by a baseline (worse)", bound.figure, bound.metric);
        return Err(Error::Usage(format!("{what}: --baseline FOLDER names one")));
    }
    // The copy that is checked is another one than the baseline's.
    let renamed = baseline.map(|baseline| compressions(results, baseline)).unwrap_or_default();
    let baseline: Option<Baseline> = baseline.map(|baseline| (baseline, renamed.as_slice()));
    let mut all = Vec::new();
    for bound in bounds {
        let family = bound.family();
        let of_study = study.cells().any(|(_, cell)| cell.job.family == family);
        if !of_study {
            return wrong(format!("[[bounds]]: {} is not among the study's metrics", bound.metric));
        }
        let before = all.len();
        let mut figures: Vec<String> = Vec::new();
        for cell in results.measured.iter().filter(|cell| cell.table.metric == family) {
            let points = cell.points();
            let several = points.iter().any(|point| {
                let first = points.iter().find(|other| other.figure == point.figure);
                point.figure == bound.figure && first.is_some_and(|first| first.category != point.category)
            });
            for point in points {
                if bound.matches(&point) {
                    let outcome = outcome(bound, cell, &point, baseline);
                    let figure = match several {
                        true => format!("{} ({})", point.figure, point.category),
                        false => outcome.figure,
                    };
                    all.push(Outcome { figure, ..outcome });
                }
                if !figures.contains(&point.figure) {
                    figures.push(point.figure);
                }
            }
        }
        let missing: Vec<_> = results.missing.iter().filter(|cell| cell.metric == family).collect();
        // As long as nothing of the metric is there, its figures are not known.
        if !figures.is_empty() && !figures.contains(&bound.figure) {
            let known = figures.join(", ");
            return wrong(format!("[[bounds]]: {} has no figure {:?}; it has {known}", bound.metric, bound.figure));
        }
        if all.len() == before && missing.is_empty() {
            return wrong(format!(
                "[[bounds]]: no {} in the study is of that category, variant or ratio",
                bound.figure
            ));
        }
        all.extend(missing.into_iter().map(|cell| Outcome {
            place: cell.place.clone(),
            metric: cell.metric.clone(),
            figure: bound.figure.clone(),
            of: String::new(),
            seed: None,
            bound: bound.words(),
            found: None,
            baseline: None,
            verdict: Verdict::Unknown(format!("cell {}: {}", cell.name, cell.why)),
        }));
    }
    Ok(all)
}

/// Another study's results, and what its compressions go by here.
type Baseline<'a> = (&'a Results, &'a [(String, [String; 2])]);

fn outcome(bound: &Bound, cell: &Measured, point: &Point, baseline: Option<Baseline>) -> Outcome {
    let was = baseline.filter(|_| bound.worse.is_some()).map(|baseline| of_baseline(cell, point, baseline));
    Outcome {
        place: cell.place.clone(),
        metric: cell.table.metric.clone(),
        figure: point.figure.clone(),
        of: point.of.to_string(),
        seed: cell.seed(),
        bound: bound.words(),
        found: point.value,
        baseline: was.as_ref().and_then(|was| was.as_ref().ok().copied()),
        verdict: bound.judge(point, was),
    }
}

fn of_baseline(cell: &Measured, point: &Point, baseline: Baseline) -> Result<f64, String> {
    let at = partner(cell, baseline.0, baseline.1).ok_or("the baseline has no such cell")?;
    let other = &baseline.0.measured[at];
    if point.of.variant == Variant::Trained && !trained_alike(&cell.place, &other.place) {
        return Err("one study has trained it, and the other was given one".into());
    }
    let differs = cell.basis.differences(&other.basis);
    if !differs.is_empty() {
        return Err(format!("the baseline was measured on other grounds: {}", differs.join(", ")));
    }
    let was = other.points().into_iter().find(|other| point.is_of(other)).and_then(|other| other.value);
    was.ok_or_else(|| "the baseline has no such figure, or it is undefined there".into())
}

/// How many are broken, and of how many it cannot be told.
pub fn counts(outcomes: &[Outcome]) -> (usize, usize) {
    let count = |is: fn(&Verdict) -> bool| outcomes.iter().filter(|outcome| is(&outcome.verdict)).count();
    (count(|v| matches!(v, Verdict::Broken(_))), count(|v| matches!(v, Verdict::Unknown(_))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::made::{core, place};

    fn bound(variant: Variant) -> Bound {
        Bound {
            metric: "core".into(),
            figure: "ce_loss_with_sae".into(),
            category: None,
            variant: Some(variant),
            ratio: None,
            least: None,
            most: None,
            worse: None,
        }
    }

    const SOME: (f64, f64, f64) = (1.0, 0.1, 3.0);

    fn results(loss: f64) -> Results {
        Results { measured: core(place(3), [(1.0, 0.1, loss); 5]), missing: Vec::new() }
    }

    /// The loss of `transfer` judged by a bound.
    fn judged(bound: &Bound, loss: f64, baseline: Option<&Results>) -> Verdict {
        let results = results(loss);
        let cell = &results.measured[0];
        let point = cell.points().into_iter().find(|point| bound.matches(point)).unwrap();
        outcome(bound, cell, &point, baseline.map(|baseline| (baseline, &[][..]))).verdict
    }

    #[test]
    fn a_bound_holds_up_to_its_limit() {
        let most = Bound { most: Some(3.0), ..bound(Variant::Transfer) };
        assert_eq!(judged(&most, 3.0, None), Verdict::Held);
        assert_eq!(judged(&most, 3.25, None), Verdict::Broken("3.25 is more than 3".into()));
        let least = Bound { least: Some(3.0), ..bound(Variant::Transfer) };
        assert_eq!(judged(&least, 2.5, None), Verdict::Broken("2.5 is less than 3".into()));
        assert!(matches!(judged(&least, f64::NAN, None), Verdict::Unknown(_)), "undefined is not held");
    }

    #[test]
    fn worse_is_measured_against_the_baseline_on_the_same_grounds() {
        let worse = Bound { worse: Some(0.5), ..bound(Variant::Transfer) };
        let mut was = results(3.0);
        assert_eq!(judged(&worse, 3.5, Some(&was)), Verdict::Held);
        assert_eq!(judged(&worse, 1.0, Some(&was)), Verdict::Held, "a lower loss is better");
        assert!(
            matches!(judged(&worse, 3.75, Some(&was)), Verdict::Broken(why) if why.contains("baseline's 3 by 0.75"))
        );
        was.measured[0].table.settings.clear();
        was.measured[0].basis = super::super::Basis::of(&was.measured[0].table, &serde_json::json!({}));
        assert!(
            matches!(judged(&worse, 3.75, Some(&was)), Verdict::Unknown(why) if why.contains("rows: 16 | not said"))
        );
        was.measured.clear();
        assert_eq!(judged(&worse, 3.0, Some(&was)), Verdict::Unknown("the baseline has no such cell".into()));
    }

    #[test]
    fn bounds_that_bound_nothing_are_refused() {
        assert!(bound(Variant::Pruned).check().unwrap_err().contains("none of least"));
        let ratio = Bound { ratio: Some(0.25), most: Some(1.0), ..bound(Variant::Transfer) };
        assert!(ratio.check().unwrap_err().contains("only the variant pruned"));
        let some = Results { measured: core(place(3), [SOME; 5]), missing: Vec::new() };
        let pruned = Bound { ratio: Some(0.5), most: Some(1.0), ..bound(Variant::Pruned) };
        let found: Vec<_> = some.measured.iter().flat_map(Measured::points).filter(|p| pruned.matches(p)).collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].of.to_string(), "pruned wanda 0.5");
        let of = |category: &str| Bound { category: Some(category.into()), ..pruned.clone() };
        assert!(of(&found[0].category).matches(&found[0]) && !of("nowhere").matches(&found[0]));
    }
}
