//! The program: parse, set up, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use prunelens::{
    bench,
    cli::{Cli, Command, DisplayArgs, MetricsCommand, PruneTarget, SessionArgs, SessionTask, data::DataTarget},
    data, doctor,
    error::Result,
    inspect, interrupt, jobs, logging, metrics, output, pages, presets, prune,
    session::Session,
    setup, train,
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
    let tick = &mut interrupt::tick;
    match cli.command.unwrap_or_else(|| Command::Explore(Box::new(cli.explore))) {
        Command::Explore(args) => setup::explore(&args),
        Command::Render(args) => setup::render(&args),
        Command::Inspect(args) => {
            let session = setup::session(&args.session)?;
            output::answer_with(|out| inspect::run(&session, &args, out, tick))
        }
        Command::Prune(args) => match args.target {
            PruneTarget::Model(args) => prune::command::model(&setup::headless(&args.session())?.spec, &args.output),
            PruneTarget::Sae(args) => prune::command::sae(&setup::headless(&args.session)?.spec, &args.output),
        },
        Command::Metrics(args) => match &args.command {
            Some(MetricsCommand::Show(args)) => metrics::show::run(args),
            None => {
                jobs::command::specs(&args)?;
                jobs::command::run(setup::sessions(&args)?, &args, setup::store(&args), tick)
            }
        },
        Command::Data(args) => match args.target {
            DataTarget::Labels(args) => data::command::labels(&args),
            DataTarget::Entities(args) => {
                metrics::ravel::command::run(&args, &setup::headless(&args.session())?.spec, tick)
            }
        },
        Command::Bench(args) => {
            let spec = setup::headless(&args.session)?.spec;
            let session = || Session::load(&spec, &mut output::listener());
            output::answer_with(|out| bench::run(&args, &spec, session, bench::first_frame, out, tick))
        }
        Command::Doctor(args) => {
            let session = if args.load {
                Some(setup::session(&args.session)?)
            } else {
                setup::settings(&SessionArgs::default(), &DisplayArgs::default())?;
                None
            };
            doctor::run(&args, session.as_ref())
        }
        Command::Presets(args) => presets::command::list(&args),
        Command::Session(args) => match args.task {
            SessionTask::Init(args) => presets::command::init(&args),
        },
        Command::Completions(args) => pages::completions(&args),
        Command::Man(args) => pages::man(&args),
        Command::Train(args) => {
            let spec = setup::headless(&SessionArgs { model: args.model.clone(), ..Default::default() })?.spec;
            train::command::run(&args, &spec, tick)
        }
    }
}
