//! What is saved because one reading of the rows serves several measurements: counted, by what each job says it costs.

use prunelens_core::{compare::Variant, session::Session};
use prunelens_metrics::{Cost, Family, JOBS, JobSpec, ParamValue, Params};

/// Tokens that go through a whole model; half a model counts half.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Passes {
    /// As jobs are put together here.
    pub made: f64,
    /// With a job for every variant, ratio and criterion of its own.
    pub alone: f64,
}

impl Passes {
    /// Of one job on what a session has loaded, by itself or `joined` to another that reads the same; nothing where a job
    /// cannot tell what it costs.
    pub fn of(job: &JobSpec, session: &Session, joined: bool) -> Self {
        let Ok(family) = job.family(JOBS) else { return Self::default() };
        let passes = |params: &Params| {
            let cost = (family.cost)(session, params).ok().flatten();
            cost.map(|cost| cost.tokens as f64 * cost.passes)
        };
        let made = cost(job, session, joined).map(|cost| cost.tokens as f64 * cost.passes);
        let there = Variant::ALL.into_iter().filter(|v| *v != Variant::Trained || session.trained.is_some());
        let singles = singles(family, &job.params, &there.collect::<Vec<_>>());
        let alone: Option<f64> = singles.iter().map(passes).sum();
        match (made, alone) {
            (Some(made), Some(alone)) => Self { made, alone },
            _ => Self::default(),
        }
    }

    pub fn add(&mut self, other: Self) {
        self.made += other.made;
        self.alone += other.alone;
    }

    /// Share of the passes that need not be made.
    pub fn saved(self) -> Option<f64> {
        (self.alone > 0.0).then(|| 1.0 - self.made / self.alone)
    }
}

impl std::fmt::Display for Passes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(saved) = self.saved() else { return f.write_str("no passes are counted") };
        let [made, alone] = [self.made, self.alone].map(|tokens| format!("{:.2}M", tokens / 1e6));
        write!(
            f,
            "{made} tokens through a model; {alone} if every variant, ratio and criterion were read for by itself: {:.0} % \
             are saved by reading together",
            100.0 * saved
        )
    }
}

/// What a job costs, by itself or `joined` to another that reads the same.
pub fn cost(job: &JobSpec, session: &Session, joined: bool) -> Option<Cost> {
    let cost = (job.family(JOBS).ok()?.cost)(session, &job.params).ok()??;
    let passes = if joined { cost.passes - cost.shared } else { cost.passes };
    Some(Cost { passes, ..cost })
}

/// The same with one variant, ratio and criterion each. Only `pruned` differs from ratio to ratio.
fn singles(family: &Family, params: &Params, there: &[Variant]) -> Vec<Params> {
    let has = |name: &str| family.params.iter().any(|param| param.name == name);
    let one = |params: &Params, name: &str, value: ParamValue| {
        let mut params = params.clone();
        params.set(name, value);
        params
    };
    let variants: Vec<Option<Variant>> = match params.0.get("variants") {
        _ if !has("variants") => vec![None],
        Some(ParamValue::Words(words)) if !words.is_empty() => {
            words.iter().filter_map(|word| word.parse().ok()).map(Some).collect()
        }
        _ => there.iter().copied().map(Some).collect(),
    };
    let ratios = match params.0.get("ratios") {
        Some(ParamValue::Numbers(ratios)) if has("ratios") => ratios.clone(),
        _ => Vec::new(),
    };
    let criteria = match params.0.get("criteria") {
        Some(ParamValue::Words(criteria)) if has("criteria") => criteria.clone(),
        _ => Vec::new(),
    };
    let mut all = Vec::new();
    for variant in variants {
        let of_variant = match variant {
            Some(variant) => one(params, "variants", ParamValue::Words(vec![variant.name().into()])),
            None => params.clone(),
        };
        let every = variant.is_none_or(|variant| variant == Variant::Pruned);
        let [n_ratios, n_criteria] = [ratios.len(), criteria.len()].map(|n| if every { n } else { n.min(1) });
        for ratio in 0..n_ratios.max(1) {
            for criterion in 0..n_criteria.max(1) {
                let mut single = of_variant.clone();
                if let Some(ratio) = ratios.get(ratio) {
                    single.set("ratios", ParamValue::Numbers(vec![*ratio]));
                }
                if let Some(criterion) = criteria.get(criterion) {
                    single.set("criteria", ParamValue::Words(vec![criterion.clone()]));
                }
                all.push(single);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(job: &JobSpec) -> Vec<String> {
        let family = job.family(JOBS).unwrap();
        let words = |params: Params| {
            params.0.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        singles(family, &job.params, &[Variant::Original, Variant::Transfer, Variant::Pruned])
            .into_iter()
            .map(words)
            .collect()
    }

    #[test]
    fn a_measurement_for_each_variant_and_one_of_pruned_for_each_point() {
        let core = JobSpec::new("core").with("ratio", ParamValue::Number(0.5));
        assert_eq!(of(&core), ["original", "transfer", "pruned"].map(|v| format!("ratio=0.5 variants={v}")));
        let pruned = core.with("variants", ParamValue::Words(vec!["pruned".into()]));
        assert_eq!(of(&pruned).len(), 1, "it shares nothing");
        let sweep = JobSpec::new("sweep")
            .with("ratios", ParamValue::Numbers(vec![0.25, 0.5]))
            .with("criteria", ParamValue::Words(vec!["wanda".into(), "paper".into()]));
        let sweep = of(&sweep);
        assert_eq!(sweep.len(), 2 + 4);
        assert!(sweep.contains(&"criteria=paper ratios=0.5 variants=pruned".to_owned()), "{sweep:?}");
    }

    #[test]
    fn the_share_is_of_what_was_counted() {
        let mut all = Passes::default();
        assert_eq!(all.saved(), None);
        all.add(Passes { made: 2e6, alone: 6e6 });
        all.add(Passes { made: 1e6, alone: 6e6 });
        assert_eq!(all.saved(), Some(0.75));
        assert!(all.to_string().starts_with("3.00M tokens through a model; 12.00M if"), "{all}");
    }
}
