//! The loop: input, reports, signals and time become messages; what they change is drawn.

use std::{
    future::poll_fn,
    path::{Path, PathBuf},
    task::Poll,
    time::{Duration, Instant},
};

use crossterm::event::{Event, EventStream};
use futures::StreamExt;
use prunelens_core::{
    error::{Error, Result},
    files::write_with_folders,
};

use crate::{
    engine::{EngineHandle, Report},
    export,
    settings::{environment, open},
    tui::{
        event::{self, Asked, Signals},
        explanations, named,
        options::{self, Options, first_state},
        pace::Pace,
        recorder::Recorder,
        remembered,
        standing::Standing,
        state::{Explained, Job, Level, SavedView, State, Tour},
        studies::{self, Studies},
        terminal::{self, Sent, Terminal},
        theme::Theme,
        update::{
            self,
            effect::{Effect, Export, Picture},
            message::Message,
        },
        view, views,
    },
};

/// Time between frames, at least.
const FRAME: Duration = Duration::from_millis(33);

/// Messages taken in before the next frame: a held key never builds up a backlog, a flood never stops drawing.
const BATCH: usize = 256;

/// The longest time without a word of the engine, however much is thought to be on its way to the person: frames of a turning
/// spinner alone must not put off what it turns for.
const UNHEARD: Duration = Duration::from_secs(1);

/// How long the engine may take to save its jobs when the user leaves.
const PARTING: Duration = Duration::from_secs(20);

/// A file in the state folder that says the first steps were taken.
const STEPS_TAKEN: &str = "first-steps-taken";

/// The explorer in the terminal, until the user leaves, or a signal comes, whose number it gives. The terminal is restored
/// whatever happens.
pub fn run(engine: EngineHandle, options: Options) -> Result<Option<i32>> {
    let themes = options.look.themes()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Io { path: "event loop".into(), source })?;
    runtime.block_on(async {
        let mut terminal = Terminal::take()?;
        let mut state = first_state(&options.session, options.prompt.as_deref(), &themes, terminal.size());
        state.keymap = options.keymap.clone().into();
        state.settings = options.settings.clone().into();
        state.log_file = options.log_file.as_ref().map(|p| p.display().to_string());
        state.mouse = options.mouse;
        if options.mouse {
            terminal.mouse(true)?;
        }
        let recalled = options.state_folder.as_ref().map(|folder| remembered::prompts(folder));
        match recalled.unwrap_or_else(|| Ok(Vec::new())) {
            Ok(prompts) => state.history = prompts,
            Err(error) => tracing::warn!("{error}"),
        }
        if let Some(folder) = &options.state_folder {
            offer(&mut state, folder, &options);
        }
        state.tour = options.tour.map(|restart| {
            let folder = options.state_folder.as_deref().filter(|_| !restart);
            Tour::at(folder.map_or(0, remembered::tour))
        });
        state.opening = options.view.clone().map(Into::into);
        if let Some(folder) = options.study.clone() {
            update::show_study(&mut state, folder);
        }
        state.first_steps = options.state_folder.as_ref().is_some_and(|f| !f.join(STEPS_TAKEN).exists());
        let mut explorer = Explorer {
            engine,
            options,
            themes,
            terminal,
            state,
            pace: Pace::default(),
            recorder: None,
            studies: Studies::default(),
            standing: Standing::default(),
            start: Instant::now(),
            open: true,
            signal: None,
        };
        explorer.run().await
    })
}

struct Explorer {
    engine: EngineHandle,
    options: Options,
    themes: Vec<Theme>,
    terminal: Terminal,
    state: State,
    pace: Pace,
    /// The recording under way.
    recorder: Option<Recorder>,
    studies: Studies,
    standing: Standing,
    start: Instant,
    /// The engine may still report something.
    open: bool,
    /// The signal that ends it.
    signal: Option<i32>,
}

/// Whether the loop goes on.
enum Next {
    Go,
    Leave,
}

impl Explorer {
    async fn run(&mut self) -> Result<Option<i32>> {
        let mut events = EventStream::new();
        let mut signals = Signals::new().map_err(|source| Error::Io { path: "signals".into(), source })?;
        let (mut next_frame, mut listened) = (self.start, self.start);
        self.perform(update::start(&self.state))?;
        loop {
            let now = Instant::now();
            if self.state.redraw && now >= next_frame {
                self.draw()?;
                next_frame = (Instant::now() + FRAME).max(self.start + self.pace.frame());
            }
            let frame = self.state.redraw.then_some(next_frame);
            // What the engine says waits until the link has carried what it said last; keys never do.
            let figures = (self.start + self.pace.figures()).min(listened + UNHEARD);
            let listen = self.open && Instant::now() >= figures;
            if listen {
                listened = Instant::now();
            }
            let later = (self.open && !listen).then_some(figures);
            let timer = self.state.next_wake().map(|at| self.start + at);
            let wake = timer.into_iter().chain(frame).chain(later).chain(self.standing.due()).min();
            let mut messages = Vec::new();
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => messages.extend(event::message(event, &self.state, self.theme())),
                    // The terminal is gone.
                    Some(Err(_)) | None => messages.push(Message::Terminated),
                },
                report = self.engine.reports.recv(), if listen => messages.push(self.reported(report)),
                Some(told) = self.studies.told.recv() => messages.push(Message::Study(Box::new(told))),
                asked = signals.recv() => match asked {
                    Asked::End(signal) => {
                        self.signal = Some(signal);
                        messages.push(Message::Terminated);
                    }
                    Asked::GoOn => self.take_up_terminal(Terminal::go_on)?,
                },
                () = sleep_until(wake), if wake.is_some() => {}
            }
            // Everything else that is there already belongs to the same frame.
            while messages.len() < BATCH
                && let Some(event) = waiting_event(&mut events).await
            {
                messages.extend(event::message(event, &self.state, self.theme()));
            }
            while listen
                && messages.len() < BATCH
                && let Ok(report) = self.engine.reports.try_recv()
            {
                messages.push(Message::Reported(Box::new(report)));
            }
            self.standing.hear(&messages);
            messages.insert(0, Message::TimePassed(self.start.elapsed()));
            for message in messages {
                let effects = update::update(&mut self.state, message);
                if let Next::Leave = self.perform(effects)? {
                    self.leave().await;
                    self.part().await;
                    return Ok(self.signal);
                }
            }
            if let Some(folder) = &self.options.state_folder {
                self.standing.keep(folder, &self.state);
            }
        }
    }

    /// Where the session is left is kept, and a recording ends.
    async fn leave(&mut self) {
        self.standing.settled().await;
        // A view that is only half taken up is none.
        let view = SavedView::of(&self.state).filter(|_| !self.state.takes_up_a_view());
        if let (Some(folder), Some(view)) = (&self.options.state_folder, view)
            && let Err(error) = remembered::keep_left(folder, &self.state.spec, &view)
        {
            tracing::warn!("{error}");
        }
        let tour = match self.state.tour {
            // It was ended.
            None => self.options.tour.map(|_| 0),
            Some(tour) => Some(if self.state.toured() { 0 } else { tour.step }),
        };
        if let (Some(folder), Some(step)) = (&self.options.state_folder, tour)
            && let Err(error) = remembered::keep_tour(folder, step)
        {
            tracing::warn!("{error}");
        }
        if let Some(Err(error)) = self.recorder.take().map(Recorder::end) {
            tracing::warn!("{error}");
        }
    }

    /// Unfinished jobs, and what was read of the corpus, are saved before the process ends; the terminal is given back
    /// meanwhile.
    async fn part(&mut self) {
        if !self.open || !self.state.indexing && self.state.jobs.iter().all(Job::is_over) {
            return;
        }
        terminal::restore();
        let saved = async { while self.engine.reports.recv().await.is_some() {} };
        if tokio::time::timeout(PARTING, saved).await.is_err() {
            tracing::warn!("the engine did not end in time; jobs go on from their last checkpoints");
        }
    }

    fn reported(&mut self, report: Option<Report>) -> Message {
        let report = report.unwrap_or_else(|| {
            self.open = false;
            Report::Crashed("its thread has ended".into())
        });
        Message::Reported(Box::new(report))
    }

    fn theme(&self) -> &Theme {
        // There is always at least one theme.
        &self.themes[self.state.theme % self.themes.len()]
    }

    fn draw(&mut self) -> Result<()> {
        let theme = &self.themes[self.state.theme % self.themes.len()];
        let (width, height) = self.terminal.size();
        let (buffer, cursor) = view::draw(width, height, &self.state, theme);
        let Sent { bytes, held_up } = self.terminal.show(&buffer, cursor)?;
        self.pace.sent(bytes, held_up, self.start.elapsed());
        self.state.redraw = false;
        if let Some(recorder) = &mut self.recorder
            && let Err(error) = recorder.frame(&buffer, cursor)
        {
            // What was recorded until now is kept.
            if let Some(Err(error)) = self.recorder.take().map(Recorder::end) {
                tracing::warn!("{error}");
            }
            for message in [Message::Recording(None), Message::Exported(Err(error.to_string()))] {
                update::update(&mut self.state, message);
            }
        }
        Ok(())
    }

    fn perform(&mut self, effects: Vec<Effect>) -> Result<Next> {
        for effect in effects {
            let happened = match effect {
                Effect::Command(command) => {
                    self.engine.command(command);
                    None
                }
                Effect::Request(request) => {
                    self.engine.request(request);
                    None
                }
                Effect::Copy(text) => {
                    self.terminal.copy(&text)?;
                    Some(Message::Copied(text.len()))
                }
                Effect::Export(export) => Some(Message::Exported(self.export(&export).map_err(|e| e.to_string()))),
                Effect::RecallNames(digest) => {
                    let explain = self.options.explanations.take().map(Effect::Explain);
                    let folder = self.options.state_folder.as_ref();
                    let known = folder.map(|folder| {
                        match (remembered::names(folder, &digest), remembered::explained(folder, &digest)) {
                            (Ok(names), Ok(explained)) => Message::Named { digest, names, explained },
                            (Err(error), _) | (_, Err(error)) => Message::Forgotten(error.to_string()),
                        }
                    });
                    // What is read now goes before what was kept.
                    if let Some(message) = known {
                        let further = update::update(&mut self.state, message);
                        self.perform(further)?;
                    }
                    self.perform(explain.into_iter().collect())?;
                    None
                }
                Effect::Complete(line) => {
                    let found = open::complete(&line, &environment);
                    Some(Message::Completed { line, found })
                }
                Effect::CompleteStudy(line) => {
                    let found = studies::complete(&line);
                    Some(Message::Completed { line, found })
                }
                Effect::Study(ask) => {
                    self.studies.ask(ask);
                    None
                }
                Effect::Open(line) => Some(options::meant(&self.state, line)),
                Effect::Explain(path) => Some(Message::Explained(self.explain(&path).map_err(|e| e.to_string()))),
                Effect::SaveView(name) => Some(Message::Exported(self.save_view(&name).map_err(|e| e.to_string()))),
                Effect::Record(Some(name)) => Some(self.record(&name)),
                Effect::Record(None) => {
                    let written = self.recorder.take().map(Recorder::end);
                    let further = update::update(&mut self.state, Message::Recording(None));
                    self.perform(further)?;
                    written.map(|written| Message::Exported(written.map(|path| vec![path]).map_err(|e| e.to_string())))
                }
                Effect::KeepName(latent) => self.keep(|folder, state| {
                    let Some(info) = &state.info else { return Ok(()) };
                    let name = state.names.get(&latent).map(String::as_str);
                    remembered::keep_name(folder, (&info.sae_digest, &info.sae), latent, name)
                }),
                Effect::KeepPrompt => self.keep(|folder, state| match state.history.last() {
                    Some(prompt) => remembered::keep_prompt(folder, prompt),
                    None => Ok(()),
                }),
                Effect::RememberUse => {
                    if let Some(folder) = &self.options.state_folder {
                        remember(folder);
                    }
                    None
                }
                Effect::Mouse(take) => {
                    self.terminal.mouse(take)?;
                    None
                }
                Effect::Clear => {
                    self.terminal.clear();
                    None
                }
                Effect::Suspend => {
                    self.take_up_terminal(Terminal::suspend)?;
                    None
                }
                Effect::Quit => return Ok(Next::Leave),
            };
            if let Some(message) = happened {
                let further = update::update(&mut self.state, message);
                if let Next::Leave = self.perform(further)? {
                    return Ok(Next::Leave);
                }
            }
        }
        Ok(Next::Go)
    }

    /// Explanations of this session's latents, from a file; kept for the next time.
    fn explain(&self, path: &Path) -> Result<Explained> {
        let Some(info) = &self.state.info else { return Err(Error::invalid("no SAE is loaded yet")) };
        let explained = explanations::read(path, info.layer, info.d_sae)?;
        if let Some(folder) = &self.options.state_folder {
            remembered::keep_explained(folder, &info.sae_digest, &explained)?;
        }
        Ok(explained)
    }

    /// The terminal is ours again, as it was.
    fn take_up_terminal(&mut self, by: impl FnOnce(&mut Terminal) -> Result<()>) -> Result<()> {
        by(&mut self.terminal)?;
        self.terminal.mouse(self.state.mouse)?;
        self.state.redraw = true;
        Ok(())
    }

    fn save_view(&self, name: &str) -> Result<Vec<PathBuf>> {
        let view = SavedView::of(&self.state).ok_or_else(|| Error::invalid("there is no view to save yet"))?;
        let path = named::free(&self.state.spec.results, name, "toml")?;
        write_with_folders(&path, views::text(&self.state.spec, &view)?.as_bytes())?;
        Ok(vec![path])
    }

    fn record(&mut self, name: &str) -> Message {
        let begun = named::free(&self.state.spec.results, name, "cast").and_then(|path| {
            let recorder = Recorder::begin(&path, self.terminal.size())?;
            Ok((recorder, path.display().to_string()))
        });
        match begun {
            Ok((recorder, file)) => {
                self.recorder = Some(recorder);
                Message::Recording(Some(file))
            }
            Err(error) => Message::Exported(Err(error.to_string())),
        }
    }

    /// Keep something in the state folder, if there is one.
    fn keep(&self, write: impl FnOnce(&Path, &State) -> Result<()>) -> Option<Message> {
        let kept = write(self.options.state_folder.as_ref()?, &self.state);
        kept.err().map(|error| Message::Forgotten(format!("not remembered: {error}")))
    }

    /// Write documents and pictures of the screen side by side under a name that is free.
    fn export(&self, export: &Export) -> Result<Vec<std::path::PathBuf>> {
        let (width, height) = self.state.size;
        let (buffer, cursor) = match export.picture {
            Picture::Screen => view::draw(width, height, &self.state, self.theme()),
            Picture::Run => (view::draw_run(width, &self.state, self.theme()), None),
        };
        let stem = export::free_stem(&self.state.spec.results, &export.name);
        let pictures = [
            ("svg", export::svg::svg(&buffer, cursor, self.theme().page, "prunelens")),
            ("txt", export::text::text(&buffer)),
        ];
        let all = export.documents.iter().map(|d| (d.extension.as_str(), d.text.as_str()));
        let all = all.chain(pictures.iter().map(|(extension, text)| (*extension, text.as_str())));
        let mut written = Vec::new();
        for (extension, text) in all {
            let path = stem.with_extension(extension);
            write_with_folders(&path, text.as_bytes())?;
            written.push(path);
        }
        Ok(written)
    }
}

/// Offer to go on where the last session of these models was left; a word where it was one of others.
fn offer(state: &mut State, folder: &Path, options: &Options) {
    match remembered::left(folder, &options.session) {
        Ok(view) => state.offered = view.map(Into::into),
        Err(error) => tracing::warn!("{error}"),
    }
    if let Some(path) = options.unasked.then(|| remembered::left_elsewhere(folder, &options.session)).flatten() {
        let text = format!("the last session was another: prunelens --view {} goes on there", path.display());
        state.log.push(state.now, Level::Info, text);
    }
}

/// That this cannot be remembered only means that the first steps are shown again.
fn remember(folder: &Path) {
    if let Err(error) = write_with_folders(folder.join(STEPS_TAKEN), b"") {
        tracing::warn!("{error}");
    }
}

/// An event that is there already. Polled with the waker of this task: the stream keeps the one it saw last.
async fn waiting_event(events: &mut EventStream) -> Option<Event> {
    poll_fn(|context| match events.poll_next_unpin(context) {
        Poll::Ready(Some(Ok(event))) => Poll::Ready(Some(event)),
        _ => Poll::Ready(None),
    })
    .await
}

async fn sleep_until(wake: Option<Instant>) {
    if let Some(wake) = wake {
        tokio::time::sleep_until(wake.into()).await;
    }
}
