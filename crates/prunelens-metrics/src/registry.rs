//! The metric families there are.

use crate::{
    absorption::AbsorptionJob,
    atlas::AtlasJob,
    core::CoreJob,
    metric::Family,
    ravel::RavelJob,
    scr_tpp::{Scr, Tpp},
    sparse_probing::SparseProbing,
    sweep::SweepJob,
    texts::TextJob,
    train::TrainJob,
};

/// All families, in the order of lists. A new one is one line.
pub const FAMILIES: &[Family] = &[
    Family::of::<CoreJob>(),
    Family::of::<SweepJob>(),
    Family::of::<AbsorptionJob>(),
    Family::of::<TextJob<SparseProbing>>(),
    Family::of::<TextJob<Scr>>(),
    Family::of::<TextJob<Tpp>>(),
    Family::of::<RavelJob>(),
    Family::of::<AtlasJob>(),
];

/// What the explorer can start: the metrics, and the training of an SAE.
pub const JOBS: &[Family] = &{
    let mut jobs = [Family::of::<TrainJob>(); FAMILIES.len() + 1];
    let mut at = 0;
    while at < FAMILIES.len() {
        jobs[at] = FAMILIES[at];
        at += 1;
    }
    jobs
};

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::{JobSpec, Kind, Metric, ParamValue, Params};

    #[test]
    fn families_are_told_apart_and_described() {
        let mut kinds = HashMap::new();
        for (at, family) in JOBS.iter().enumerate() {
            assert!(JOBS[..at].iter().all(|f| f.name != family.name), "{}", family.name);
            assert!(!family.title.is_empty());
            for (at, param) in family.params.iter().enumerate() {
                assert!(family.params[..at].iter().all(|p| p.name != param.name), "{} {}", family.name, param.name);
                assert!(!param.help.is_empty());
                // One flag, one meaning: its kind and help come from the first family that has it.
                let same = *kinds.entry(param.name).or_insert(param.kind);
                assert_eq!(same, param.kind, "{} of {} is of another kind elsewhere", param.name, family.name);
            }
        }
    }

    /// A value of each parameter is taken by the options' field of its name.
    fn check_options<M: Metric>() {
        for param in M::PARAMS {
            let text = match param.kind {
                Kind::Count { most, .. } | Kind::Counts { most, .. } => most.min(8).to_string(),
                Kind::Number { most, .. } => most.to_string(),
                Kind::Ratio | Kind::Ratios => "0.5".into(),
                Kind::Variants => "pruned,original".into(),
                Kind::Criterion | Kind::Criteria => "random".into(),
                Kind::Choice(names) => names[names.len() - 1].into(),
                Kind::Knob => "bits:4".into(),
                Kind::Flag => "yes".into(),
                Kind::Path | Kind::Data | Kind::Words => "a".into(),
            };
            let mut params = Params::default();
            params.set(param.name, param.kind.parse(&text).unwrap());
            let read = params.options::<M::Options>();
            assert!(read.is_ok(), "{} {}: {}", M::NAME, param.name, read.err().unwrap());
        }
        assert!(JobSpec::new(M::NAME).with("other", ParamValue::Flag(true)).params.options::<M::Options>().is_err());
    }

    #[test]
    fn every_parameter_is_a_field_of_its_options() {
        check_options::<CoreJob>();
        check_options::<SweepJob>();
        check_options::<AbsorptionJob>();
        check_options::<TextJob<SparseProbing>>();
        check_options::<TextJob<Scr>>();
        check_options::<TextJob<Tpp>>();
        check_options::<RavelJob>();
        check_options::<AtlasJob>();
        check_options::<TrainJob>();
        let params = Params::default();
        assert!(params.options::<<SweepJob as Metric>::Options>().is_ok(), "nothing has to be chosen");
    }

    #[test]
    fn a_spec_is_the_same_in_json_and_toml() {
        let spec = JobSpec::new("core").with("rows", ParamValue::Number(64.0)).with("ratio", ParamValue::Number(0.5));
        assert_eq!(serde_json::from_str::<JobSpec>(&serde_json::to_string(&spec).unwrap()).unwrap(), spec);
        assert_eq!(toml::from_str::<JobSpec>(&toml::to_string(&spec).unwrap()).unwrap(), spec);
        assert_eq!(toml::from_str::<JobSpec>("family = 'core'\n[params]\nrows = 64\nratio = 0.5").unwrap(), spec);
        let message = JobSpec::new("x\u{1b}").family(FAMILIES).unwrap_err().to_string();
        assert!(message.contains("core") && !message.contains('\u{1b}'), "{message}");
    }
}
