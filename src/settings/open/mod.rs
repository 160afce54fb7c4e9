//! `:open`: the session on screen with some settings changed, written as on the command line.

mod complete;

use clap::{CommandFactory, FromArgMatches, Parser};
use prunelens_core::{
    error::{Error, Result},
    hub::Environment,
};

use super::{Resolved, SessionSettings, Settings};

pub use complete::{complete, paths, with};

#[derive(Parser, Debug)]
#[command(name = "open", no_binary_name = true, disable_help_flag = true, disable_version_flag = true)]
struct Line {
    /// A preset or a session file.
    #[arg(value_name = "FILE-or-NAME", conflicts_with = "session")]
    named: Option<std::path::PathBuf>,
    #[command(flatten)]
    settings: SessionSettings,
}

/// The session that a line means, beside the one there is. What the line says nothing of stays as it is; but an SAE belongs to
/// its model, a trained one to how that was compressed, and a session that is named begins with nothing.
pub fn open(line: &str, now: &SessionSettings, environment: Environment) -> Result<Resolved> {
    let given = parse(line)?;
    if given.model.threads.is_some() && given.model.threads != now.model.threads {
        return Err(Error::Usage("--threads is decided when the program starts".into()));
    }
    let base = match given.model.session {
        Some(_) => of_machine(now),
        None => beside(&given, now),
    };
    Settings::from(given.or(base)).resolve(environment)
}

/// A session from elsewhere, with what belongs to the machine as it is here.
pub fn as_on_this_machine(given: SessionSettings, now: &SessionSettings, environment: Environment) -> Result<Resolved> {
    Settings::from(given.or(of_machine(now))).resolve(environment)
}

fn parse(line: &str) -> Result<SessionSettings> {
    let words = shell_words::split(line).map_err(|e| Error::Usage(format!("{e}: close the quote")))?;
    if words.is_empty() {
        return Err(Error::Usage("write what is to change: --sae, --model, --compress ..., or a preset's name".into()));
    }
    let refused = |e: clap::Error| Error::Usage(first_line(&e.to_string()));
    let matches = Line::command().try_get_matches_from(words).map_err(refused)?;
    let Line { named, mut settings } = Line::from_arg_matches(&matches).map_err(refused)?;
    settings.model.session = settings.model.session.or(named);
    Ok(settings)
}

/// What is wrong, without how to use the program.
fn first_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage"));
    let all = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    all.trim_start_matches("error: ").to_owned()
}

/// What belongs to the machine and to the program, and not to what is looked at.
fn of_machine(now: &SessionSettings) -> SessionSettings {
    let mut base = SessionSettings {
        kept_memory: now.kept_memory,
        corpus_memory: now.corpus_memory,
        results: now.results.clone(),
        jobs_device: now.jobs_device,
        ..SessionSettings::default()
    };
    base.model.device = now.model.device;
    base.model.threads = now.model.threads;
    base.model.cache_size = now.model.cache_size;
    base.model.no_cache = now.model.no_cache;
    base.model.offline = now.model.offline;
    base
}

fn beside(given: &SessionSettings, now: &SessionSettings) -> SessionSettings {
    let mut base = now.clone();
    let model = given.model.model.is_some();
    let compression = given.model.compress.is_some() || given.model.pruned_model.is_some();
    if model || given.sae.is_some() {
        (base.hook, base.layer, base.norm_scaling_factor, base.tl_processing) = (None, None, None, None);
    }
    if model {
        base.sae = None;
    }
    if model || compression {
        (base.model.compress, base.model.pruned_model) = (None, None);
    }
    if model || compression || given.sae.is_some() {
        base.trained_sae = None;
    }
    base
}

#[cfg(test)]
mod tests {
    use prunelens_core::session::{SessionSpec, Source};

    use super::*;

    fn now(line: &str) -> SessionSettings {
        Settings::from(parse(line).unwrap()).resolve(&|_| None).unwrap().settings
    }

    fn opened(line: &str, now: &SessionSettings) -> SessionSpec {
        // The hub's cache has a place, which need not be there.
        let environment = |name: &str| (name == "HF_HOME").then(|| "/nowhere".to_owned());
        open(line, now, &environment).unwrap_or_else(|e| panic!("{line}: {e}")).spec
    }

    #[test]
    fn what_is_not_named_stays_and_what_belongs_together_goes_together() {
        let now = now(
            "--model a/m --sae a/s/l8 --trained-sae a/t --compress magnitude:0.3 --hook blocks.8.hook_mlp_out --ratio 0.4",
        );
        let hub = |id: &str| Some(Source::Hub(prunelens_core::hub::HubId::parse(id).unwrap()));
        let other = opened("--compress wanda:0.6", &now);
        assert_eq!((Some(other.model.clone()), other.sae.clone()), (hub("a/m"), hub("a/s/l8")));
        assert_eq!((other.compress.to_string(), other.trained_sae), ("wanda:0.6".into(), None));
        assert_eq!((other.hook.map(|hook| hook.layer), other.ratio), (Some(8), 0.4));
        let other = opened("--sae 'a/s/l9'", &now);
        assert_eq!((other.sae, other.trained_sae, other.hook), (hub("a/s/l9"), None, None));
        assert_eq!(other.compress.to_string(), "magnitude:0.3");
        let other = opened("--model a/n", &now);
        assert_eq!((Some(other.model), other.sae, other.hook), (hub("a/n"), None, None));
    }

    #[test]
    fn a_named_session_begins_with_nothing_but_the_machine() {
        let now = now("--model a/m --sae a/s --device cpu --offline --ratio 0.4");
        for line in ["gpt2-small/resid/8", "--session gpt2-small/resid/8"] {
            let spec = opened(line, &now);
            assert_eq!(spec.ratio, SessionSpec::demo().ratio);
            assert!(spec.hub.is_ok_and(|hub| hub.offline), "{line}");
            assert_eq!((spec.layer, spec.layers.len()), (Some(8), 12));
            assert_eq!(spec.device, prunelens_core::session::DeviceSpec::Cpu);
        }
    }

    #[test]
    fn mistakes_are_said_in_a_line() {
        let refused = |line: &str| open(line, &SessionSettings::default(), &|_| None).unwrap_err().to_string();
        for (line, expected) in [
            ("", "write what is to change"),
            ("--sae 'a", "close the quote"),
            ("--nope x", "unexpected argument '--nope'"),
            ("--compress navy", "compression \"navy\" is not understood"),
            ("nothing-like-that", "no preset of that name"),
            ("--sae nowhere", "no such file or folder"),
            ("--threads 3", "when the program starts"),
        ] {
            let error = refused(line);
            assert!(error.contains(expected) && !error.contains('\n'), "{line}: {error}");
        }
    }
}
