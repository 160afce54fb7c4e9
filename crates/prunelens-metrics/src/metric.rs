//! A metric family, and how a job is made of its name and parameters.

use prunelens_core::{
    error::{Error, Result},
    session::Session,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Job, Param, ParamValue, Params};

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

/// A job whose family is not known.
pub type AnyJob = Box<dyn Job>;

/// A [`Metric`] among others, its options by name.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// On the command line and in files.
    pub name: &'static str,
    /// What it measures, in one line.
    pub title: &'static str,
    /// What can be chosen.
    pub params: &'static [Param],
    /// The work ahead, for an estimate of time and memory; `None` where it cannot be told.
    pub cost: fn(&Session, &Params) -> Result<Option<Cost>>,
    /// Prepare a job.
    pub make: fn(&Session, &Params) -> Result<AnyJob>,
    /// Prepare one job that does the work of several; `None` where they share nothing.
    pub join: fn(&Session, &[&JobSpec]) -> Result<Option<AnyJob>>,
}

impl Family {
    /// The entry of a metric.
    pub const fn of<M: Metric + Job + 'static>() -> Self {
        Self {
            name: M::NAME,
            title: M::TITLE,
            params: M::PARAMS,
            cost: |session, params| M::cost(session, &params.options()?).map(Some),
            make: |session, params| Ok(Box::new(M::new(session, &params.options()?)?)),
            join: |session, specs| {
                let jobs = specs.iter().map(|spec| M::new(session, &spec.params.options()?));
                let mut jobs = jobs.collect::<Result<Vec<M>>>()?.into_iter();
                let joined = jobs.next().and_then(|first| jobs.try_fold(first, M::join));
                Ok(joined.map(|job| Box::new(job) as AnyJob))
            },
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
    /// Of these passes, those that a job has to make once however many variants read the same models.
    pub shared: f64,
    /// Multiply-adds beside these.
    pub other: f64,
    /// Memory it takes beyond what is loaded, in bytes.
    pub bytes: u64,
}

/// A piece of background work: a family and its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Name of the family.
    pub family: String,
    /// What was chosen; defaults are left out.
    #[serde(default)]
    pub params: Params,
}

impl JobSpec {
    /// A family with its defaults.
    pub fn new(family: &str) -> Self {
        Self { family: family.to_owned(), params: Params::default() }
    }

    /// With one more parameter chosen.
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
    pub fn make(&self, families: &[Family], session: &Session) -> Result<AnyJob> {
        (self.family(families)?.make)(session, &self.params)
    }
}

/// Parameters that say which variants are measured and how one of them is compressed; all others say on what.
const OF_VARIANTS: [&str; 4] = ["variants", "knob", "ratio", "criterion"];

impl JobSpec {
    /// Whether both read the same for their variants.
    pub fn reads_like(&self, other: &Self) -> bool {
        let read = |spec: &Self| {
            let mut params = spec.params.clone();
            params.0.retain(|name, _| !OF_VARIANTS.contains(&name.as_str()));
            params
        };
        self.family == other.family && read(self) == read(other)
    }

    /// One job that does the work of all these, reading once for their variants; `None` where there is nothing to share.
    pub fn join(specs: &[&Self], families: &[Family], session: &Session) -> Result<Option<AnyJob>> {
        match specs {
            [first, others @ ..] if !others.is_empty() && others.iter().all(|other| first.reads_like(other)) => {
                let family = first.family(families)?;
                others.iter().try_for_each(|spec| spec.family(families).map(|_| ()))?;
                let shared = (family.cost)(session, &first.params)?.map_or(0.0, |cost| cost.shared);
                if shared > 0.0 { (family.join)(session, specs) } else { Ok(None) }
            }
            _ => Ok(None),
        }
    }
}
