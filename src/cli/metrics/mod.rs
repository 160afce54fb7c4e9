//! `prunelens metrics NAME...` and `prunelens metrics show`.

mod run;
mod sessions;
mod show;

use clap::{
    Arg, ArgMatches, Args, Command, FromArgMatches, Subcommand,
    builder::{PossibleValue, PossibleValuesParser},
};
use prunelens_core::error::Result;
use prunelens_metrics::{FAMILIES, Family, Kind, Param, ParamValue, Params};

use crate::{interrupt, settings::SessionSettings};

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
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds)]
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
    match (Kind::Counts { least: 0, most: 9999 }).parse(text)? {
        ParamValue::Numbers(all) => Ok(Layers(all.into_iter().map(|n| n as usize).collect())),
        _ => Err("expected whole numbers".into()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse::<f64>().ok().filter(|s| (0.0..=86_400.0).contains(s));
    seconds.ok_or_else(|| "expected a number from 0 to 86400".into())
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
