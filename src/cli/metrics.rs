//! `prunelens metrics`.

use clap::{
    Arg, ArgMatches, Args, Command, FromArgMatches,
    builder::{PossibleValue, PossibleValuesParser},
};

use super::SessionArgs;
use crate::jobs::{FAMILIES, Family, Param, ParamValue, Params};

#[derive(Args, Clone, Debug)]
pub struct MetricsArgs {
    /// What to measure, one after another.
    #[arg(value_name = "NAME", value_parser = names(), required = true)]
    pub names: Vec<String>,
    /// Folder for the result files [default: as --results].
    #[arg(long, value_name = "DIR")]
    pub out: Option<std::path::PathBuf>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub params: ParamArgs,
    #[command(flatten)]
    pub session: SessionArgs,
}

/// Names with an underscore are taken with a hyphen too.
const OTHER_SPELLINGS: &[(&str, &str)] = &[("sparse_probing", "sparse-probing")];

fn names() -> PossibleValuesParser {
    let value = |f: &'static Family| {
        let value = PossibleValue::new(f.name).help(f.title);
        let other = OTHER_SPELLINGS.iter().find(|(name, _)| *name == f.name);
        other.iter().fold(value, |value, (_, other)| value.alias(*other))
    };
    PossibleValuesParser::new(FAMILIES.iter().map(value))
}

/// Flags of the families' parameters, made from their descriptions.
#[derive(Clone, Debug, Default)]
pub struct ParamArgs(pub Params);

/// Parameters that have a flag, each once, with the names of the families that have it.
fn flags() -> Vec<(&'static Param, Vec<&'static str>)> {
    let mut flags: Vec<(&Param, Vec<&str>)> = Vec::new();
    for family in FAMILIES {
        for param in family.params.iter().filter(|p| !p.of_session) {
            match flags.iter_mut().find(|(p, _)| p.name == param.name) {
                Some((_, families)) => families.push(family.name),
                None => flags.push((param, vec![family.name])),
            }
        }
    }
    flags
}

impl Args for ParamArgs {
    fn augment_args(command: Command) -> Command {
        flags().into_iter().fold(command, |command, (param, families)| {
            let kind = param.kind;
            let of = if FAMILIES.len() > 1 && families.len() < FAMILIES.len() {
                format!(" ({})", families.join(", "))
            } else {
                String::new()
            };
            let arg = Arg::new(param.name)
                .long(param.name)
                .value_name(kind.value_name())
                .value_parser(move |text: &str| kind.parse(text))
                .help_heading("Parameters")
                .help(format!("{}{of}", param.help));
            command.arg(arg)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ParamArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut params = Params::default();
        for (param, _) in flags() {
            if let Some(value) = matches.get_one::<ParamValue>(param.name) {
                params.set(param.name, value.clone());
            }
        }
        Ok(Self(params))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.0.extend(Self::from_arg_matches(matches)?.0.0);
        Ok(())
    }
}
