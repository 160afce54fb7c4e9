//! Between the command line and the work: settings put in force, and what each surface is started with.

use std::{cell::OnceCell, fs, path::PathBuf, rc::Rc, time::Duration};

use crate::{
    app::{self, Keymap, Look, Options, RenderOptions},
    cli::{ColorChoice, DisplayArgs, ExploreArgs, MetricsArgs, RenderArgs, SessionArgs, metrics::Layers},
    config::{self, Display, Settings},
    engine,
    error::{Error, Result},
    folders::Folders,
    interrupt,
    jobs::{FAMILIES, Store, command::Sessions, keeper::EVERY},
    model::HookPoint,
    output,
    session::{Models, Session, SessionSpec},
};

/// What the person asked for, with the number of threads in force. To be called before any thread is started.
pub fn settings(session: &SessionArgs, display: &DisplayArgs) -> Result<Settings> {
    let settings = Settings::resolve(session, display, &config::environment)?;
    if let Some(threads) = settings.threads {
        // SAFETY: no thread has been started yet.
        unsafe { config::limit_threads(threads) };
    }
    tracing::info!(?settings);
    Ok(settings)
}

/// The same for commands without a screen, which Ctrl-C asks to stop.
pub fn headless(session: &SessionArgs) -> Result<Settings> {
    interrupt::watch()?;
    settings(session, &DisplayArgs::default())
}

/// A session loaded for such a command.
pub fn session(args: &SessionArgs) -> Result<Session> {
    Session::load(&headless(args)?.spec, &mut output::listener())
}

/// Where a command without a screen keeps unfinished and finished runs.
pub fn store(args: &MetricsArgs) -> Option<Store> {
    let every = Duration::try_from_secs_f64(args.checkpoint_every).unwrap_or(EVERY);
    Folders::find().map(|folders| Store { every, ..Store::new(folders.state) })
}

/// The sessions of `prunelens metrics`: one, or one a layer with the models shared.
pub fn sessions(args: &MetricsArgs) -> Result<Sessions<'_>> {
    let Some(Layers(layers)) = &args.layers else {
        let spec = headless(&args.session)?.spec;
        return Ok(vec![(None, Box::new(move || Session::load(&spec, &mut output::listener())))]);
    };
    interrupt::watch()?;
    let specs = layers.iter().map(|&layer| {
        let session = at_layer(&args.session, layer)?;
        Ok((layer, settings(&session, &DisplayArgs::default())?.spec))
    });
    let specs = specs.collect::<Result<Vec<_>>>()?;
    let models: Rc<OnceCell<Models>> = Rc::default();
    let session = |(layer, spec): (usize, SessionSpec)| {
        let models = models.clone();
        let load: Box<dyn FnOnce() -> Result<Session>> = Box::new(move || {
            let shared = match models.get() {
                Some(models) => models.clone(),
                None => {
                    let loaded = Models::load(&spec, &mut output::listener())?;
                    models.get_or_init(|| loaded).clone()
                }
            };
            Session::with_models(&spec, shared, &mut output::listener())
        });
        (Some(layer), load)
    };
    Ok(specs.into_iter().map(session).collect())
}

/// The same session at another layer.
fn at_layer(args: &SessionArgs, layer: usize) -> Result<SessionArgs> {
    const MARK: &str = "{layer}";
    let put = |path: &Option<PathBuf>| -> Option<PathBuf> {
        let path = path.as_ref()?;
        // A name that is not UTF-8 holds no mark that could be replaced.
        Some(path.to_str().map_or(path.clone(), |text| text.replace(MARK, &layer.to_string()).into()))
    };
    let named = args.sae.as_ref().and_then(|path| path.to_str()).is_some_and(|path| path.contains(MARK));
    if !named {
        return Err(Error::Usage(format!(
            "--layers needs an SAE for each layer: put {MARK} where its number stands in --sae"
        )));
    }
    Ok(SessionArgs {
        sae: put(&args.sae),
        trained_sae: put(&args.trained_sae),
        hook: args.hook.map(|hook| HookPoint { layer, ..hook }),
        ..args.clone()
    })
}

/// The explorer in the terminal.
pub fn explore(args: &ExploreArgs) -> Result<()> {
    let Settings { spec, display, .. } = settings(&args.session, &args.display)?;
    let folders = Folders::find();
    let options = Options {
        session: spec,
        prompt: args.prompt.clone(),
        look: look(&display, folders.as_ref()),
        mouse: display.mouse,
        keymap: keymap(folders.as_ref())?,
        log_file: folders.as_ref().map(Folders::log_file),
        state_folder: folders.map(|folders| folders.state),
    };
    let store = options.state_folder.clone().map(Store::new);
    app::run(engine::start_with(engine::Options { families: FAMILIES, store })?, options)
}

/// The explorer without one.
pub fn render(args: &RenderArgs) -> Result<()> {
    let Settings { spec, mut display, .. } = settings(&args.session, &args.display)?;
    if display.color == ColorChoice::Auto {
        // A picture is not a terminal: it has all colours.
        display.color = ColorChoice::Truecolor;
    }
    let options = RenderOptions {
        session: spec,
        prompt: args.prompt.clone(),
        look: look(&display, Folders::find().as_ref()),
        size: args.size,
        keys: args.keys.clone(),
        out: args.out.clone(),
    };
    app::render(engine::start()?, options)
}

fn look(display: &Display, folders: Option<&Folders>) -> Look {
    let theme = display.theme.as_ref().map(|name| {
        let own = folders.map(|folders| folders.theme(name)).filter(|path| !name.contains('/') && path.is_file());
        own.and_then(|path| path.to_str().map(str::to_owned)).unwrap_or_else(|| name.clone())
    });
    Look { theme, depth: display.color.into(), ascii: display.ascii }
}

/// Default keys, changed by the person's own file if there is one.
fn keymap(folders: Option<&Folders>) -> Result<Keymap> {
    let Some(path) = folders.map(Folders::keys_file).filter(|path| path.exists()) else {
        return Ok(Keymap::default());
    };
    let text = fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
    Keymap::with_changes(&text, &path.display().to_string())
}
