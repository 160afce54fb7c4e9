//! A session made up for tests, and an engine that answers from samples.

mod samples;

use std::sync::{Arc, Mutex};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use prunelens::engine::{Command, EngineHandle, EngineLink, JobId, JobState, Query, Report, Request};
use prunelens::tui::{
    Effect, Message, State, script, start,
    state::Overlay,
    theme::{ColorDepth, Theme},
    update,
};
use prunelens_core::session::SessionSpec;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

pub use self::samples::*;

/// Looks of tests: true colour unless said otherwise.
pub fn theme(name: &str, depth: ColorDepth) -> Theme {
    Theme::load(name, depth, false).unwrap()
}

pub fn dark() -> Theme {
    theme("dark", ColorDepth::Truecolor)
}

/// A state that only answers when told to.
pub struct Session {
    pub state: State,
    /// What the last message led to.
    pub effects: Vec<Effect>,
}

impl Session {
    pub fn loading() -> Self {
        let mut state = State::new(SessionSpec::demo(), vec!["dark".into(), "light".into()], (120, 36));
        let effects = start(&state);
        state.redraw = false;
        Self { state, effects }
    }

    pub fn ready() -> Self {
        let mut session = Self::loading();
        session.report(Report::Ready(Arc::new(info())));
        session
    }

    /// With a prompt compared and its first latent shown, the focus on the table.
    pub fn explored() -> Self {
        let mut session = Self::ready();
        session.keys("1").answer(Part::All);
        session.keys("<left><left><left><left><left>").answer_latent();
        session
    }

    pub fn send(&mut self, message: Message) -> &mut Self {
        self.effects = update(&mut self.state, message);
        self
    }

    pub fn report(&mut self, report: Report) -> &mut Self {
        self.send(Message::Reported(Box::new(report)))
    }

    /// Keys in the notation of scripts; effects of all of them are kept.
    pub fn keys(&mut self, keys: &str) -> &mut Self {
        let mut effects = Vec::new();
        for step in script::parse(keys).unwrap() {
            match step {
                script::Step::Key(key) => {
                    self.send(Message::KeyPressed(key));
                    effects.append(&mut self.effects);
                    // The engine of these tests answers at once, unless asked for by hand.
                }
                script::Step::Wait | script::Step::Job => panic!("nothing answers here"),
            }
        }
        self.effects = effects;
        self
    }

    /// Let time pass, in milliseconds since the start.
    pub fn time(&mut self, ms: u64) -> &mut Self {
        self.send(Message::TimePassed(std::time::Duration::from_millis(ms)))
    }

    /// Answer the comparison asked for, and the latent that is then asked for.
    pub fn answer(&mut self, part: Part) -> &mut Self {
        let (generation, target) = self.state.follow.asked.clone().expect("nothing was asked");
        let comparison = Arc::new(comparison(&target.prompt, target.setting, part));
        let mut effects = std::mem::take(&mut self.effects);
        self.report(Report::Comparison { generation, comparison, complete: part == Part::All });
        effects.append(&mut self.effects);
        self.answer_latent();
        self.effects = effects;
        self
    }

    pub fn answer_latent(&mut self) -> &mut Self {
        while self.state.follow.latent_waiting {
            let (generation, key) = self.state.follow.latent.clone().unwrap();
            let detail = Arc::new(detail(key.latent, key.token, key.knob));
            self.report(Report::Latent { generation, detail });
        }
        self
    }

    /// Pages, predictions and hits that were asked for.
    pub fn answer_study(&mut self) -> &mut Self {
        if let Some((generation, key)) = self.state.latent_view.asked {
            self.report(Report::Page { generation, page: Arc::new(page(key.latent)) });
        }
        if let Some((generation, key)) = self.state.predictions.asked.clone() {
            let predictions = Arc::new(predictions(key.token, &key.edits));
            self.report(Report::Predictions { generation, predictions });
        }
        if let Some(Overlay::Find(find)) = &self.state.overlay
            && let Some((generation, word)) = find.asked.clone()
        {
            self.report(Report::Found { generation, hits: hits(&word) });
        }
        self
    }

    /// The second prompt's latents, as they were asked for.
    pub fn answer_beside(&mut self) -> &mut Self {
        let asked = self.state.pair.as_ref().and_then(|pair| pair.asked.clone());
        let (generation, target) = asked.expect("there is a second prompt");
        let comparison = comparison(&target.prompt, target.setting, Part::Latents);
        self.report(Report::Beside { generation, comparison: Arc::new(comparison) })
    }

    /// Rows of the strip that was asked for, as many as these layers; then that it is whole.
    pub fn answer_strip(&mut self, layers: std::ops::Range<usize>, whole: bool) -> &mut Self {
        let (generation, target) = self.state.strip.asked.clone().expect("no strip was asked for");
        for layer in layers {
            let figures = Ok(Arc::new(layer_figures(layer, target.setting)));
            self.report(Report::Layer { generation, layer, figures });
        }
        if whole { self.report(Report::Layers { generation }) } else { self }
    }

    /// The texts asked for, up to so many tokens each.
    pub fn answer_generation(&mut self, most: usize) -> &mut Self {
        if let Some((generation, task)) = self.state.generation.asked.clone() {
            for report in generated(generation, &task, most) {
                self.report(report);
            }
        }
        self
    }

    pub fn requests(&self) -> Vec<Request> {
        let request = |e: &Effect| if let Effect::Request(r) = e { Some(r.clone()) } else { None };
        self.effects.iter().filter_map(request).collect()
    }

    pub fn commands(&self) -> Vec<Command> {
        let command = |e: &Effect| if let Effect::Command(c) = e { Some(c.clone()) } else { None };
        self.effects.iter().filter_map(command).collect()
    }

    pub fn leaves(&self) -> bool {
        self.effects.iter().any(|e| matches!(e, Effect::Quit))
    }

    /// A job as the engine would report it.
    pub fn job(&mut self, id: JobId, state: JobState) -> &mut Self {
        self.report(Report::Job { id, state })
    }
}

pub fn key(code: KeyCode) -> Message {
    Message::KeyPressed(KeyEvent::new(code, KeyModifiers::NONE))
}

/// An engine that answers every request at once, in two parts, and every job in two steps.
pub struct FakeEngine {
    /// Gone once it was told to quit.
    reports: Mutex<Option<UnboundedSender<Report>>>,
    prompt: Mutex<String>,
    /// It comes to the end of the corpus.
    indexes: bool,
}

impl FakeEngine {
    pub fn handle() -> EngineHandle {
        Self::over_corpus(true)
    }

    /// One whose corpus is read at once, or never.
    pub fn over_corpus(indexes: bool) -> EngineHandle {
        let (reports, receiver) = unbounded_channel();
        EngineHandle::new(Self { reports: Mutex::new(Some(reports)), prompt: Mutex::default(), indexes }, receiver)
    }

    fn report(&self, report: Report) {
        if let Some(reports) = &*self.reports.lock().unwrap() {
            // Nobody listens any more once the script is over.
            let _ = reports.send(report);
        }
    }
}

impl EngineLink for FakeEngine {
    fn command(&self, command: Command) {
        match command {
            Command::Load(_) => {
                self.report(Report::Ready(Arc::new(info())));
                self.report(Report::Reading { read: 8, of: 32 });
                if self.indexes {
                    self.report(Report::Indexed);
                }
            }
            Command::Open(spec) => {
                let info = Arc::new(layered_info(spec.layer.unwrap_or(1), 4));
                self.report(Report::Opened { info, spec: Arc::new(*spec) });
                self.report(Report::Indexed);
            }
            Command::StartJob { id, .. } => {
                let running = JobState::Running { done: 5, total: 8, unit: "rows", seconds: 20.0, note: String::new() };
                self.report(Report::Job { id, state: running });
                self.report(Report::JobTable { id, table: Arc::new(table(1.0)), details: Arc::new(details()) });
                self.report(Report::Job { id, state: JobState::Done { seconds: 41.0, files: Vec::new() } });
            }
            Command::CancelJob(id) => self.report(Report::Job { id, state: JobState::Cancelled }),
            Command::Quit => *self.reports.lock().unwrap() = None,
            _ => {}
        }
    }

    fn request(&self, request: Request) {
        let mut prompt = self.prompt.lock().unwrap();
        let (generation, setting) = match request {
            Request { generation, query: Query::Compare { text, setting } } => {
                *prompt = text;
                (generation, setting)
            }
            Request { generation, query: Query::Turn { setting } } => (generation, setting),
            Request { generation, query: Query::Estimate { .. } } => {
                return self.report(Report::Estimate { generation, estimate: Ok(estimate()) });
            }
            Request { generation, query: Query::Page { latent, .. } } => {
                return self.report(Report::Page { generation, page: Arc::new(page(latent)) });
            }
            Request { generation, query: Query::Predict { token, edits } } => {
                let predictions = Arc::new(predictions(token, &edits));
                return self.report(Report::Predictions { generation, predictions });
            }
            Request { generation, query: Query::Atlas { .. } } => {
                let message = "no atlas is read here".to_owned();
                return self.report(Report::RequestFailed { generation, message });
            }
            Request { generation, query: Query::Layers { prompt } } => {
                if let Some((_, setting)) = prompt {
                    for layer in 0..4 {
                        let figures = Ok(Arc::new(layer_figures(layer, setting)));
                        self.report(Report::Layer { generation, layer, figures });
                    }
                    self.report(Report::Layers { generation });
                }
                return;
            }
            Request { generation, query: Query::Generate { task } } => {
                if let Some(task) = task {
                    generated(generation, &task, usize::MAX).into_iter().for_each(|report| self.report(report));
                }
                return;
            }
            Request { generation, query: Query::Beside { text, setting } } => {
                let comparison = Arc::new(comparison(&text, setting, Part::Latents));
                return self.report(Report::Beside { generation, comparison });
            }
            Request { generation, query: Query::Find { word } } => {
                return self.report(Report::Found { generation, hits: hits(&word) });
            }
            Request { generation, query: Query::ShowLatent { latent, token, knob } } => {
                return self.report(Report::Latent { generation, detail: Arc::new(detail(latent, token, knob)) });
            }
        };
        for part in [Part::Latents, Part::All] {
            let comparison = Arc::new(comparison(&prompt, setting, part));
            self.report(Report::Comparison { generation, comparison, complete: part == Part::All });
        }
    }
}
