//! `prunelens metrics NAME...` and `prunelens metrics show`.

mod run;
mod sessions;
mod show;

use clap::{
    Arg, ArgMatches, Args, Command, FromArgMatches, Subcommand,
    builder::{PossibleValue, PossibleValuesParser},
};
use prunelens_core::error::Result;
use prunelens_metrics::{FAMILIES, Family, Param, ParamValue, Params};

use crate::{
    interrupt,
    settings::{SessionSettings, values},
};

#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct MetricsArgs {
    #[command(subcommand)]
    pub command: Option<MetricsCommand>,
    /// What to measure, one after another.
    #[arg(value_name = "NAME", value_parser = names(), required = true)]
    pub names: Vec<String>,
    /// Folder for the result files [default: as --results].
    #[arg(long, value_name = "DIR")]
    pub out: Option<std::path::PathBuf>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Begin anew instead of going on where an earlier run was stopped.
    #[arg(long)]
    pub restart: bool,
    /// Measure at each of these layers, such as 0-11 or 3,7: of the demo, or {layer} in --sae and --trained-sae stands for it.
    #[arg(long, value_name = "LIST", value_parser = layers)]
    pub layers: Option<Layers>,
    /// Time between two checkpoints of a run, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = values::seconds)]
    pub checkpoint_every: f64,
    #[command(flatten)]
    pub params: ParamArgs,
    #[command(flatten)]
    pub session: SessionSettings,
}

#[derive(Clone, Debug, Subcommand)]
pub enum MetricsCommand {
    /// Print the figures of a folder of result files, this program's or SAEBench's.
    Show(ShowArgs),
}

#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// Folder with result files, searched with its subfolders; or one file.
    #[arg(value_name = "DIR")]
    pub folder: std::path::PathBuf,
    /// Print one JSON object instead of tables.
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &MetricsArgs) -> Result<()> {
    match &args.command {
        Some(MetricsCommand::Show(args)) => show::run(args),
        None => {
            // Wrong use is told before anything is loaded.
            run::specs(args)?;
            run::run(sessions::sessions(args)?, args, sessions::store(args), &mut interrupt::tick)
        }
    }
}

/// Layers in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layers(pub Vec<usize>);

fn layers(text: &str) -> Result<Layers, String> {
    values::layers(text).map(Layers)
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

/// What some families mean by a flag, in words.
struct Meaning {
    help: &'static str,
    families: Vec<&'static str>,
}

/// Parameters that have a flag, each once, with what the families that have it mean by it.
fn flags() -> Vec<(&'static Param, Vec<Meaning>)> {
    let mut flags: Vec<(&Param, Vec<Meaning>)> = Vec::new();
    for family in FAMILIES {
        for param in family.params.iter().filter(|p| !p.of_session) {
            let at = flags.iter().position(|(p, _)| p.name == param.name).unwrap_or_else(|| {
                flags.push((param, Vec::new()));
                flags.len() - 1
            });
            let meanings = &mut flags[at].1;
            match meanings.iter_mut().find(|meaning| meaning.help == param.help) {
                Some(meaning) => meaning.families.push(family.name),
                None => meanings.push(Meaning { help: param.help, families: vec![family.name] }),
            }
        }
    }
    flags
}

/// Each meaning with the families that have it, unless it is that of all.
fn help(meanings: &[Meaning]) -> String {
    let said = meanings.iter().map(|Meaning { help, families }| match families.len() < FAMILIES.len() {
        true => format!("{help} ({})", families.join(", ")),
        false => (*help).to_owned(),
    });
    said.collect::<Vec<_>>().join(". ")
}

impl Args for ParamArgs {
    fn augment_args(command: Command) -> Command {
        flags().into_iter().fold(command, |command, (param, meanings)| {
            let kind = param.kind;
            let arg = Arg::new(param.name)
                .long(param.name)
                .value_name(kind.value_name())
                .value_parser(move |text: &str| kind.parse(text))
                .help_heading("Parameters")
                .help(help(&meanings));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_says_what_each_family_means_by_it() {
        let command = ParamArgs::augment_args(Command::new("metrics"));
        for family in FAMILIES {
            for param in family.params.iter().filter(|param| !param.of_session) {
                let arg = command.get_arguments().find(|arg| arg.get_id() == param.name).unwrap();
                let help = arg.get_help().unwrap().to_string();
                assert!(help.contains(param.help), "--{} of {}: {help}", param.name, family.name);
            }
        }
    }
}
