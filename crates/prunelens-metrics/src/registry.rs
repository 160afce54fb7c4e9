//! The metric families there are, and how a job is made of a family's name and parameters.

use prunelens_core::{
    error::{Error, Result},
    session::Session,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Job, Param, ParamValue, Params,
    absorption::AbsorptionJob,
    core::CoreJob,
    ravel::RavelJob,
    scr_tpp::{Scr, Tpp},
    sparse_probing::SparseProbing,
    sweep::SweepJob,
    texts::TextJob,
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
];

/// A metric family: what it is called, what can be chosen, what it costs, and the job that begins with these choices.
pub trait Metric: Sized {
    /// Its name on the command line and in files: "core", "sparse_probing".
    const NAME: &'static str;
    /// What it measures, in one line.
    const TITLE: &'static str;
    /// What can be chosen, by the names of the options' fields.
    const PARAMS: &'static [Param];
    /// What was chosen; what was not is a default that suits the session.
    type Options: DeserializeOwned;

    /// The work ahead, for an estimate of time and memory.
    fn cost(session: &Session, options: &Self::Options) -> Result<Cost>;

    /// Prepare a job; what takes long belongs into its steps.
    fn new(session: &Session, options: &Self::Options) -> Result<Self>;
}

/// A [`Metric`] among others, its options by name.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    pub name: &'static str,
    pub title: &'static str,
    pub params: &'static [Param],
    /// The work ahead, for an estimate of time and memory; `None` where it cannot be told.
    pub cost: fn(&Session, &Params) -> Result<Option<Cost>>,
    pub make: fn(&Session, &Params) -> Result<Box<dyn Job>>,
}

impl Family {
    pub const fn of<M: Metric + Job + 'static>() -> Self {
        Self {
            name: M::NAME,
            title: M::TITLE,
            params: M::PARAMS,
            cost: |session, params| M::cost(session, &params.options()?).map(Some),
            make: |session, params| Ok(Box::new(M::new(session, &params.options()?)?)),
        }
    }
}

/// Work ahead, in what takes time. Rough is good enough; too little is worse than too much.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Tokens of text measured on.
    pub tokens: u64,
    /// Times that such a token goes through a whole model: a pass up to a hook in the middle is half a pass, one with
    /// gradients three.
    pub passes: f64,
    /// Times that it is encoded and decoded by an SAE.
    pub encodings: f64,
    /// Multiply-adds beside these.
    pub other: f64,
    /// Memory it takes beyond what is loaded, in bytes.
    pub bytes: u64,
}

/// A piece of background work: a family and its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    pub family: String,
    #[serde(default)]
    pub params: Params,
}

impl JobSpec {
    pub fn new(family: &str) -> Self {
        Self { family: family.to_owned(), params: Params::default() }
    }

    pub fn with(mut self, name: &str, value: ParamValue) -> Self {
        self.params.set(name, value);
        self
    }

    /// Its family, among `families`, once its parameters fit.
    pub fn family<'a>(&self, families: &'a [Family]) -> Result<&'a Family> {
        let family = families.iter().find(|f| f.name == self.family).ok_or_else(|| {
            let names: Vec<_> = families.iter().map(|f| f.name).collect();
            Error::Usage(format!("there is no metric {:?}; there are {}", self.family, names.join(", ")))
        })?;
        self.params.check(family.name, family.params)?;
        Ok(family)
    }

    /// The job, ready for its first step.
    pub fn make(&self, families: &[Family], session: &Session) -> Result<Box<dyn Job>> {
        (self.family(families)?.make)(session, &self.params)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::Kind;

    #[test]
    fn families_are_told_apart_and_described() {
        let mut kinds = HashMap::new();
        for (at, family) in FAMILIES.iter().enumerate() {
            assert!(FAMILIES[..at].iter().all(|f| f.name != family.name), "{}", family.name);
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
                Kind::Flag => "yes".into(),
                Kind::Path | Kind::Words => "a".into(),
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
