//! The form that starts a job: a family and its parameters, filled in with what suits the session.

use prunelens_core::sae::{Dial, Knob};
use prunelens_metrics::{
    Estimate,
    params::{CRITERION, KNOB, RATIO},
};

use super::Knobs;
use crate::engine::{FamilyInfo, JobSpec, ParamInfo, SessionInfo};

#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    /// Among the session's families.
    pub family: usize,
    /// What is typed for each of the family's parameters.
    pub fields: Vec<String>,
    /// 0 is the family, then its parameters.
    pub selected: usize,
    /// The job last asked about, and what was told of it.
    pub asked: Option<(u64, JobSpec)>,
    pub waiting: bool,
    pub estimate: Option<Result<Estimate, String>>,
}

impl Form {
    /// A family's form with its defaults; knob, ratio and criterion are those on screen.
    pub fn new(family: usize, info: &SessionInfo, knobs: &Knobs) -> Option<Self> {
        let setting = knobs.setting();
        let live = |param: &ParamInfo| match param.name {
            name if name == KNOB.name => Dial::from(setting).to_string(),
            name if name == RATIO.name && matches!(setting.knob, Knob::Ratio(_)) => setting.at.to_string(),
            name if name == CRITERION.name => knobs.criterion().to_string(),
            _ => param.default.clone(),
        };
        let fields = info.families.get(family)?.params.iter().map(live).collect();
        Some(Self { family, fields, selected: 0, asked: None, waiting: false, estimate: None })
    }

    /// The parameter that is being edited.
    pub fn param<'a>(&self, family: &'a FamilyInfo) -> Option<&'a ParamInfo> {
        family.params.get(self.selected.checked_sub(1)?)
    }

    /// What is wrong with a field, by its place among the parameters.
    pub fn mistake(&self, family: &FamilyInfo) -> Option<(usize, String)> {
        family.params.iter().zip(&self.fields).enumerate().find_map(|(at, (param, text))| {
            let empty = text.trim().is_empty();
            param.kind.parse(text).err().filter(|_| !empty).map(|why| (at, why))
        })
    }

    /// The job that is described; `None` while a field cannot be understood. What is left at its default is left out, but
    /// ratio and criterion, which tell runs apart.
    pub fn spec(&self, family: &FamilyInfo) -> Option<JobSpec> {
        let mut spec = JobSpec::new(family.name);
        for (param, text) in family.params.iter().zip(&self.fields) {
            let telling = [RATIO.name, CRITERION.name].contains(&param.name);
            if !text.trim().is_empty() && (telling || *text != param.default) {
                spec.params.set(param.name, param.kind.parse(text).ok()?);
            }
        }
        Some(spec)
    }

    /// The next or previous of the few values a field has.
    pub fn turn(&mut self, family: &FamilyInfo, forward: bool) {
        let at = self.selected.wrapping_sub(1);
        let (Some(param), Some(text)) = (family.params.get(at), self.fields.get_mut(at)) else { return };
        let Some(choices) = param.kind.choices() else { return };
        let n = choices.len();
        let now = choices.iter().position(|c| c == text);
        let next = match now {
            Some(at) if forward => (at + 1) % n,
            Some(at) => (at + n - 1) % n,
            None => 0,
        };
        *text = choices[next].to_owned();
    }
}
