//! The program: parse, set up, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use prunelens::{
    bench,
    cli::{Cli, Command, DisplayArgs, PruneTarget, SessionArgs},
    config::{self, Settings},
    doctor,
    error::Result,
    inspect, interrupt, logging, metrics, output, pages, prune,
    session::Session,
    train,
};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return output::refuse(&error),
    };
    output::report_panics();
    interrupt::outlive_file_limits();
    logging::start();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::fail(&error),
    }
}

fn run(cli: Cli) -> Result<()> {
    match cli.command.unwrap_or_else(|| Command::Explore(Box::new(cli.explore))) {
        Command::Prune(args) => match args.target {
            PruneTarget::Model(args) => {
                prune::command::model(&headless(&args.model.into_session())?.spec, &args.output)
            }
            PruneTarget::Sae(args) => prune::command::sae(&headless(&args.session)?.spec, &args.output),
        },
        Command::Inspect(args) => {
            let session = load(&args.session)?;
            output::answer_with(|out| inspect::run(&session, &args, out, &mut interrupt::tick))
        }
        Command::Metrics(args) => metrics::command::run(&load(&args.session)?, &args, &mut interrupt::tick),
        Command::Train(args) => {
            let spec = headless(&args.model.clone().into_session())?.spec;
            train::command::run(&args, &spec, &mut interrupt::tick)
        }
        Command::Bench(args) => {
            let spec = headless(&args.session)?.spec;
            let session = || Session::load(&spec, &mut output::listener());
            output::answer_with(|out| bench::run(&args, session, || None, out, &mut interrupt::tick))
        }
        Command::Doctor(args) => {
            settings(&SessionArgs::default(), &DisplayArgs::default())?;
            doctor::run(&args)
        }
        Command::Completions(args) => pages::completions(&args),
        Command::Man(args) => pages::man(&args),
        _ => Ok(()),
    }
}

/// What the person asked for, with the number of threads in force.
fn settings(session: &SessionArgs, display: &DisplayArgs) -> Result<Settings> {
    let settings = Settings::resolve(session, display, &config::environment)?;
    if let Some(threads) = settings.threads {
        // SAFETY: no thread has been started yet.
        unsafe { config::limit_threads(threads) };
    }
    Ok(settings)
}

/// The same for commands without a screen, which Ctrl-C asks to stop.
fn headless(session: &SessionArgs) -> Result<Settings> {
    interrupt::watch()?;
    settings(session, &DisplayArgs::default())
}

fn load(session: &SessionArgs) -> Result<Session> {
    Session::load(&headless(session)?.spec, &mut output::listener())
}
