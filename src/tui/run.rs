//! The loop: input, reports, signals and time become messages; what they change is drawn.

use std::{
    future::poll_fn,
    path::Path,
    task::Poll,
    time::{Duration, Instant},
};

use crossterm::event::{Event, EventStream};
use futures::StreamExt;
use prunelens_core::error::{Error, Result};

use crate::{
    engine::{EngineHandle, Report},
    export,
    tui::{
        event::{self, Signals},
        options::{Options, first_state},
        remembered,
        state::{Job, State},
        terminal::{self, Terminal},
        theme::Theme,
        update::{
            self,
            effect::{Effect, Export, Picture},
            message::Message,
        },
        view,
    },
};

/// Time between frames, at least.
const FRAME: Duration = Duration::from_millis(33);

/// Messages taken in before the next frame: a held key never builds up a backlog, a flood never stops drawing.
const BATCH: usize = 256;

/// How long the engine may take to save its jobs when the user leaves.
const PARTING: Duration = Duration::from_secs(20);

/// A file in the state folder that says the first steps were taken.
const STEPS_TAKEN: &str = "first-steps-taken";

/// The explorer in the terminal, until the user leaves. The terminal is restored whatever happens.
pub fn run(engine: EngineHandle, options: Options) -> Result<()> {
    let themes = options.look.themes()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Io { path: "event loop".into(), source })?;
    runtime.block_on(async {
        let mut terminal = Terminal::take()?;
        let mut state = first_state(&options.session, options.prompt.as_deref(), &themes, terminal.size());
        state.keymap = options.keymap.clone().into();
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
        state.first_steps = options.state_folder.as_ref().is_some_and(|f| !f.join(STEPS_TAKEN).exists());
        let mut explorer = Explorer { engine, options, themes, terminal, state, start: Instant::now(), open: true };
        explorer.run().await
    })
}

struct Explorer {
    engine: EngineHandle,
    options: Options,
    themes: Vec<Theme>,
    terminal: Terminal,
    state: State,
    start: Instant,
    /// The engine may still report something.
    open: bool,
}

/// Whether the loop goes on.
enum Next {
    Go,
    Leave,
}

impl Explorer {
    async fn run(&mut self) -> Result<()> {
        let mut events = EventStream::new();
        let mut signals = Signals::new().map_err(|source| Error::Io { path: "signals".into(), source })?;
        let mut next_frame = self.start;
        self.perform(update::start(&self.state))?;
        loop {
            let now = Instant::now();
            if self.state.redraw && now >= next_frame {
                self.draw()?;
                next_frame = Instant::now() + FRAME;
            }
            let frame = self.state.redraw.then_some(next_frame);
            let wake = self.state.next_wake().map(|at| self.start + at).into_iter().chain(frame).min();
            let mut messages = Vec::new();
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => messages.extend(event::message(event, &self.state, self.theme())),
                    // The terminal is gone.
                    Some(Err(_)) | None => messages.push(Message::Terminated),
                },
                report = self.engine.reports.recv(), if self.open => messages.push(self.reported(report)),
                () = signals.recv() => messages.push(Message::Terminated),
                () = sleep_until(wake), if wake.is_some() => {}
            }
            // Everything else that is there already belongs to the same frame.
            while messages.len() < BATCH
                && let Some(event) = waiting_event(&mut events).await
            {
                messages.extend(event::message(event, &self.state, self.theme()));
            }
            while messages.len() < BATCH
                && let Ok(report) = self.engine.reports.try_recv()
            {
                messages.push(Message::Reported(Box::new(report)));
            }
            messages.insert(0, Message::TimePassed(self.start.elapsed()));
            for message in messages {
                let effects = update::update(&mut self.state, message);
                if let Next::Leave = self.perform(effects)? {
                    self.part().await;
                    return Ok(());
                }
            }
        }
    }

    /// Unfinished jobs are saved before the process ends; the terminal is given back meanwhile.
    async fn part(&mut self) {
        if !self.open || self.state.jobs.iter().all(Job::is_over) {
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
        self.terminal.draw(&self.state, theme)?;
        self.state.redraw = false;
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
                    self.options.state_folder.as_ref().map(|folder| match remembered::names(folder, &digest) {
                        Ok(names) => Message::Named { digest, names },
                        Err(error) => Message::Forgotten(error.to_string()),
                    })
                }
                Effect::KeepNames => self.keep(|folder, state| {
                    let Some(info) = &state.info else { return Ok(()) };
                    remembered::keep_names(folder, &info.sae_digest, &info.sae, &state.names)
                }),
                Effect::KeepPrompts => self.keep(|folder, state| remembered::keep_prompts(folder, &state.history)),
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
                    self.terminal.clear()?;
                    None
                }
                Effect::Suspend => {
                    self.terminal.suspend()?;
                    self.terminal.mouse(self.state.mouse)?;
                    self.state.redraw = true;
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
        let stem = export::free_stem(&self.options.session.results, &export.name);
        let pictures = [
            ("svg", export::svg::svg(&buffer, cursor, self.theme().page, "prunelens")),
            ("txt", export::text::text(&buffer)),
        ];
        let all = export.documents.iter().map(|d| (d.extension.as_str(), d.text.as_str()));
        let all = all.chain(pictures.iter().map(|(extension, text)| (*extension, text.as_str())));
        let mut written = Vec::new();
        for (extension, text) in all {
            let path = stem.with_extension(extension);
            export::write_atomically(&path, text.as_bytes())?;
            written.push(path);
        }
        Ok(written)
    }
}

/// That this cannot be remembered only means that the first steps are shown again.
fn remember(folder: &Path) {
    if let Err(error) = export::write_atomically(&folder.join(STEPS_TAKEN), b"") {
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
