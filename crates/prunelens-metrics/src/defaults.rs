//! What a job is taken to have where nothing is given: asked for with it or without, it is the same job.

use prunelens_core::session::Session;

use super::{Family, JobSpec, Kind, ParamValue};

/// Parameters whose default follows another one: beside a value of that, one equal to it says something of its own.
const FOLLOWING: [(&str, &str); 4] =
    [("ratios", "knob"), ("batch", "loss"), ("importance-rows", "context"), ("active", "d_sae")];

/// A family's defaults on a session, where nothing given is a value of its own.
#[derive(Clone, Debug, Default)]
pub struct Defaults(Vec<(&'static str, Kind, ParamValue)>);

impl Defaults {
    /// Those of a session.
    pub fn of(family: &Family, session: &Session) -> Self {
        // What the session says of files is part of the session's own name.
        let own = family.params.iter().filter(|param| !(param.of_session && param.kind == Kind::Path));
        let value = |param: &super::Param| param.kind.parse(&(param.default)(session)).ok();
        Self(own.filter_map(|param| Some((param.name, param.kind, value(param)?))).collect())
    }

    /// The job by which it is known: what equals a default is left out. A file is named in any case, as what it holds counts.
    pub fn canonical(&self, spec: &JobSpec) -> JobSpec {
        let changed = |name: &str| {
            let default = self.0.iter().find(|(param, ..)| *param == name).map(|(.., default)| default);
            spec.params.0.get(name).is_some_and(|value| Some(value) != default)
        };
        let mut canonical = spec.clone();
        for (name, kind, default) in &self.0 {
            let follows = FOLLOWING.iter().any(|(param, other)| param == name && changed(other));
            match spec.params.0.get(*name) {
                None if *kind == Kind::Path => canonical.params.set(name, default.clone()),
                Some(value) if *kind != Kind::Path && !follows && value == default => {
                    canonical.params.0.remove(*name);
                }
                _ => {}
            }
        }
        canonical
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use prunelens_core::session::SessionSpec;

    use super::*;
    use crate::{JOBS, fingerprint};

    fn session(corpus: Option<PathBuf>) -> Session {
        Session::load(&SessionSpec { corpus, ..SessionSpec::demo() }, &mut |_| Ok(())).unwrap()
    }

    #[test]
    fn a_job_is_the_same_with_its_defaults_spelled_out() {
        let session = session(None);
        for family in JOBS {
            let bare = JobSpec::new(family.name);
            let mut spelled = bare.clone();
            for param in family.params {
                if let Ok(value) = param.kind.parse(&(param.default)(&session)) {
                    // The value, however it was typed.
                    spelled.params.set(param.name, value);
                }
            }
            assert!(spelled.params.0.len() > 3, "{}", family.name);
            let key = |spec: &JobSpec| fingerprint::of_job(family, spec, &session);
            for (name, value) in &spelled.params.0 {
                assert_eq!(key(&bare.clone().with(name, value.clone())), key(&bare), "{} {name}", family.name);
            }
            assert_eq!(key(&spelled), key(&bare), "{}: all of them", family.name);
            // What was measured before it was known by this name is not measured again.
            let before =
                fingerprint::key(&bare, &fingerprint::of_session(&session), &fingerprint::of_files(family, &bare));
            assert_eq!(key(&bare), before);
            let other = match family.name {
                "ravel" | "train" => bare.clone().with("seed", ParamValue::Number(7.0)),
                "absorption" => bare.clone().with("words", ParamValue::Number(7.0)),
                _ => bare.clone().with("context", ParamValue::Number(7.0)),
            };
            assert_ne!(key(&other), key(&bare), "{}", family.name);
        }
    }

    #[test]
    fn a_default_that_follows_another_value_is_kept_beside_it() {
        let session = session(None);
        let sweep = JOBS.iter().find(|family| family.name == "sweep").unwrap();
        let sweeps = Defaults::of(sweep, &session);
        let losses = |loss: &str| {
            let spec = JobSpec::new("sweep").with("loss", ParamValue::Text(loss.into()));
            sweeps.canonical(&spec.with("batch", ParamValue::Number(8.0))).params.0.len()
        };
        assert_eq!((losses("paper"), losses("masked")), (2, 0), "the paper's batch is another");
        let family = JOBS.iter().find(|family| family.name == "train").unwrap();
        let defaults = Defaults::of(family, &session);
        let active = ParamValue::Number(32.0);
        let wider = JobSpec::new("train").with("d_sae", ParamValue::Number(64.0)).with("active", active.clone());
        assert_eq!(defaults.canonical(&wider), wider);
        assert_eq!(defaults.canonical(&JobSpec::new("train").with("active", active)), JobSpec::new("train"));
    }

    #[test]
    fn a_training_is_known_by_the_text_that_its_session_has() {
        let folder = tempfile::tempdir().unwrap();
        let family = JOBS.iter().find(|family| family.name == "train").unwrap();
        let key = |text: &str| {
            let path = folder.path().join("corpus.txt");
            std::fs::write(&path, text.repeat(1000)).unwrap();
            fingerprint::of_job(family, &JobSpec::new("train"), &session(Some(path)))
        };
        assert_ne!(key("one navy "), key("another navy "));
    }
}
