//! Everything the screen shows and remembers: plain data, without handles.

pub mod atlas;
mod awaited;
mod coming;
mod contexts;
mod copies;
mod count;
mod explained;
mod find;
mod follow;
mod form;
mod generation;
mod job;
mod knobs;
mod latent;
mod log;
mod metrics;
mod offers;
mod overlay;
mod pair;
mod panel;
mod predictions;
mod prompt;
mod saved;
mod shade;
mod shown;
mod strip;
mod study;
mod table;
mod tour;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub use atlas::AtlasView;
pub use coming::{Coming, OpenLine, Place, Wanted};
pub use copies::{Copies, CopyFigures};
pub use count::{Count, MOST};
pub use explained::Explained;
pub use find::{Find, Found};
pub use follow::{Follow, GRACE, LatentKey, Target};
pub use form::Form;
pub use generation::{Continued, FIELDS, Generation, GenerationForm, New};
pub use job::{Chosen, Job, Past};
pub use knobs::Knobs;
pub use latent::{LatentView, PageKey};
pub use log::{Entry, Level, Log};
pub use metrics::{Layer, MetricsView, View};
pub use overlay::{Ask, Overlay};
pub use pair::Pair;
pub use panel::Panel;
pub use predictions::{PredictKey, PredictionsView};
pub use prompt::{LONGEST, PROMPTS, Prompt};
pub use saved::{SavedAtlas, SavedView};
pub use shade::Shade;
pub use shown::{Dated, Outgoing, Shown};
pub use strip::Strip;
pub use study::StudyView;
pub use table::{Cause, Change, Row, Sort, Table};
pub use tour::{STEPS, Tour};

pub use crate::engine::{JobId, JobState, Progress, SessionInfo};
use prunelens_core::{compare::LatentDetail, edit::Edits, sae::Setting, session::SessionSpec};

use crate::{engine::MemoryUse, settings::SessionSettings, tui::keys::keymap::Keymap};

/// Beyond this many milliseconds a comparison waits for Enter.
pub const SLOW_MS: f64 = 500.0;

/// From so many columns on, predictions stand beside the figures.
pub const PREDICTIONS_FROM: u16 = 240;

/// Frames of a spinner in a second.
const SPIN: u32 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Screen {
    Explore,
    /// One latent in full.
    Latent,
    /// What the models say comes next.
    Predictions,
    /// The prompt continued by both models.
    Generation,
    Metrics,
    /// The whole dictionary over a corpus.
    Atlas,
    /// The prompt at every layer.
    Layers,
    /// A study's cells.
    Study,
    Session,
    Log,
}

/// What the mouse points at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pointed {
    Panel(Panel),
    Token(usize),
    /// A row of the table of latents.
    Row(usize),
    /// A place of the slider, 0 to 1.
    Slider(f64),
    /// A row of the list of jobs and runs.
    Job(usize),
    /// A place in the plot of the atlas, 0 to 1 from the left and from below.
    Plot(f64, f64),
    /// A row of the atlas' list.
    Listed(usize),
    /// A layer of the strip.
    Layer(usize),
    /// A row and a column of a study.
    Square(usize, usize),
    /// One of the views of the chosen run.
    View(usize),
    /// The panel under the list.
    Measured,
    /// Anything that scrolls.
    Scrolled,
    /// A row of the form.
    Field(usize),
}

/// How far the session is.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// What is loading, and since when.
    Loading {
        progress: Option<Progress>,
        since: Duration,
    },
    Ready,
    Failed(String),
    /// The engine is gone.
    Crashed(String),
}

/// Why a latent is the selected one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Nobody chose: the strongest one here.
    Strongest,
    /// Moved to in the table: kept while it fires somewhere in the prompt.
    Moved,
    /// Found by its number: kept.
    Found,
}

#[derive(Clone, Debug)]
pub struct State {
    pub now: Duration,
    /// Something that is drawn has changed.
    pub redraw: bool,
    pub size: (u16, u16),
    pub keymap: Arc<Keymap>,
    /// Names of the themes and the one in use.
    pub themes: Vec<String>,
    pub theme: usize,
    /// The mouse is ours; selecting text needs Shift meanwhile.
    pub mouse: bool,
    /// The three lines that say how to begin.
    pub first_steps: bool,
    /// Where messages of the program go, for the help overlay.
    pub log_file: Option<String>,

    pub spec: Arc<SessionSpec>,
    /// What it was made from, for changes of it.
    pub settings: Arc<SessionSettings>,
    /// Another one that is on its way.
    pub coming: Option<Coming>,
    /// What compressed copies make of the prompt, where they were looked at.
    pub copies: Copies,
    /// What was looked at of other SAEs, by their digests.
    pub places: BTreeMap<String, Place>,
    pub phase: Phase,
    pub info: Option<Arc<SessionInfo>>,
    /// What uses how much memory now.
    pub memory: MemoryUse,

    pub screen: Screen,
    pub overlay: Option<Overlay>,
    pub focus: Panel,
    /// Digits that the next move is to be repeated by.
    pub count: Option<Count>,

    pub prompt: Prompt,
    pub knobs: Knobs,
    pub follow: Follow,
    pub shown: Option<Shown>,
    /// A second prompt beside the first.
    pub pair: Option<Pair>,
    pub table: Table,
    pub token: usize,
    /// The selected token is the last one, whatever is typed.
    pub at_end: bool,
    pub latent: Option<u32>,
    pub choice: Choice,
    pub shade: Shade,
    pub detail: Option<Arc<LatentDetail>>,
    pub detail_scroll: usize,
    /// The texts on which latents fire are still being read, and how many rows of them are, of how many.
    pub indexing: bool,
    pub read: Option<(usize, usize)>,

    pub latent_view: LatentView,
    pub predictions: PredictionsView,
    /// In force.
    pub edits: Edits,
    pub generation: Generation,
    /// Names that the user gave to latents of this SAE.
    pub names: BTreeMap<u32, String>,
    /// What others say that latents of this SAE are, and who.
    pub explained: Arc<Explained>,
    /// What was left last time, until it is taken up.
    pub offered: Option<Arc<SavedView>>,
    /// A view to open as soon as the session is loaded, and one whose prompt is being compared.
    pub opening: Option<Arc<SavedView>>,
    pub restoring: Option<Arc<SavedView>>,
    /// What waits for the prompt's figures.
    pub outgoing: Option<Outgoing>,
    /// The guide, while there is one.
    pub tour: Option<Tour>,
    /// The file that the screen is being recorded to.
    pub recording: Option<String>,
    /// Earlier prompts, the last one last, and the one taken up again.
    pub history: Vec<String>,
    pub recalled: Option<usize>,

    pub jobs: Vec<Job>,
    pub past: Past,
    pub metrics: MetricsView,
    pub atlas: AtlasView,
    pub strip: Strip,
    pub study: StudyView,

    pub log: Log,
    pub scroll: usize,
}

impl State {
    /// Go to a screen, from its top.
    pub fn open(&mut self, screen: Screen) {
        self.overlay = None;
        self.scroll = 0;
        self.screen = screen;
    }

    /// A view is on its way, or what it was saved of is not all there yet.
    pub fn takes_up_a_view(&self) -> bool {
        self.opening.is_some() || self.restoring.is_some()
    }

    /// Rows for what is selected now. With `keep` nothing moves under the user's eyes.
    pub fn fill(&mut self, keep: bool) {
        let Some(shown) = &self.shown else { return };
        let pinned = self.latent.filter(|_| self.choice != Choice::Strongest || keep);
        self.table.fill(shown, self.pair.as_ref(), self.token, pinned, keep);
        if pinned.is_none() {
            self.latent = self.table.rows.first().map(|r| r.latent);
        }
    }

    /// What is shown is of a text that is not the one in the editor, and nothing is under way to change that.
    pub fn shows_earlier_text(&self) -> bool {
        let settled = !self.comparing() && self.follow.deadline.is_none();
        settled && self.shown.as_ref().is_some_and(|shown| *shown.of.prompt != *self.prompt.text())
    }

    /// Nothing of a prompt that is not the wanted one stays on screen.
    pub fn forget_shown(&mut self) {
        (self.shown, self.detail, self.latent) = (None, None, None);
        self.table.rows.clear();
        self.choice = Choice::Strongest;
    }

    /// What was asked of a session and answered by it is void: all of it is asked anew. The prompts stay, and how texts are drawn.
    pub fn forget_answers(&mut self) {
        self.latent_view = LatentView { beside: self.latent_view.beside, ..LatentView::default() };
        self.predictions = PredictionsView::default();
        (self.follow.asked, self.follow.waiting, self.follow.failed) = (None, false, false);
        (self.follow.latent, self.follow.latent_waiting) = (None, false);
        self.pair = self.pair.take().map(|pair| Pair::new(pair.text));
        let Generation { choice, most, .. } = self.generation;
        self.generation = Generation { choice, most, ..Generation::default() };
    }

    /// What a latent is called, and by whom if it was not the person here.
    pub fn called(&self, latent: u32) -> Option<(&str, Option<&str>)> {
        let own = self.names.get(&latent).map(|name| (name.as_str(), None));
        own.or_else(|| {
            let text = self.explained.texts.get(&latent)?;
            Some((text.as_str(), Some(self.explained.from.as_str())))
        })
    }

    /// A number that no job has yet.
    pub fn next_job(&self) -> JobId {
        self.jobs.iter().map(|j| j.id + 1).max().unwrap_or(1)
    }

    pub fn new(spec: SessionSpec, themes: Vec<String>, size: (u16, u16)) -> Self {
        Self {
            now: Duration::ZERO,
            redraw: true,
            size,
            keymap: Arc::default(),
            themes,
            theme: 0,
            mouse: false,
            first_steps: false,
            log_file: None,
            knobs: Knobs::new(spec.first_setting(), spec.criterion, 1),
            spec: Arc::new(spec),
            settings: Arc::default(),
            coming: None,
            places: BTreeMap::new(),
            phase: Phase::Loading { progress: None, since: Duration::ZERO },
            info: None,
            memory: MemoryUse::default(),
            screen: Screen::Explore,
            overlay: None,
            focus: Panel::Prompt,
            count: None,
            prompt: Prompt::default(),
            follow: Follow::default(),
            shown: None,
            pair: None,
            table: Table::default(),
            token: 0,
            at_end: true,
            latent: None,
            choice: Choice::Strongest,
            shade: Shade::default(),
            latent_view: LatentView::default(),
            predictions: PredictionsView::default(),
            edits: Edits::default(),
            generation: Generation::default(),
            names: BTreeMap::new(),
            explained: Arc::default(),
            offered: None,
            opening: None,
            restoring: None,
            outgoing: None,
            tour: None,
            recording: None,
            history: Vec::new(),
            recalled: None,
            detail: None,
            detail_scroll: 0,
            indexing: false,
            read: None,
            jobs: Vec::new(),
            past: Past::default(),
            metrics: MetricsView::default(),
            atlas: AtlasView::default(),
            strip: Strip::default(),
            study: StudyView::default(),
            copies: Copies::default(),
            log: Log::default(),
            scroll: 0,
        }
    }

    /// There is something to explore, even if the engine has gone since.
    pub fn has_session(&self) -> bool {
        self.info.is_some() && !matches!(self.phase, Phase::Loading { .. } | Phase::Failed(_))
    }

    /// Why nothing is shown of a prompt.
    pub fn unread(&self) -> &'static str {
        match self.follow.refusal {
            Some(_) if !self.prompt.is_blank() => "the prompt could not be read, as the log says",
            _ => "type a prompt first",
        }
    }

    /// Comparisons take so long here that they wait for Enter.
    pub fn slow(&self) -> bool {
        self.info.as_ref().is_some_and(|i| i.probe_ms > SLOW_MS)
    }

    /// What predictions should be of, where they are on screen.
    pub fn wants_predictions(&self) -> Option<PredictKey> {
        let beside = self.screen == Screen::Explore && self.size.0 >= PREDICTIONS_FROM;
        let wanted = beside || self.screen == Screen::Predictions || self.shade == Shade::Divergence;
        let (shown, target) = (self.shown.as_ref()?, self.target());
        let ready = wanted && shown.of == target && shown.complete;
        ready.then(|| PredictKey { target, token: self.token, edits: self.edits.clone() })
    }

    /// What the screen should be showing.
    pub fn target(&self) -> Target {
        Target { prompt: self.prompt.wanted.clone(), setting: self.setting() }
    }

    /// Whether something stands for what is wanted, or for what was until just now.
    pub fn fresh(&self, holds: impl Fn(&Target) -> bool) -> bool {
        holds(&self.target()) || self.follow.left.iter().any(|(left, _)| holds(left))
    }

    /// The details on screen are those of the selected latent and token.
    pub fn detailed(&self) -> bool {
        let same = |detail: &Arc<LatentDetail>| {
            self.latent == Some(detail.latent) && self.token == detail.token && self.setting().knob == detail.knob
        };
        !self.follow.latent_waiting && self.detail.as_ref().is_some_and(same)
    }

    /// They are, or they are on their way and were until just now.
    pub fn detail_fresh(&self) -> bool {
        self.detailed() || self.follow.behind.is_some_and(|since| since + GRACE > self.now)
    }

    pub fn running_job(&self) -> Option<&Job> {
        self.jobs.iter().find(|j| j.is_running())
    }

    /// A job runs or waits for its turn.
    pub fn busy_jobs(&self) -> bool {
        self.jobs.iter().any(Job::is_busy)
    }

    /// Something on screen moves by itself.
    pub fn animating(&self) -> bool {
        let second = self.pair.as_ref().is_some_and(|pair| pair.waiting);
        let read = self.predictions.waiting || self.atlas.waiting || self.strip.waiting || self.coming.is_some();
        let looking = self.study.is_opening() && self.screen == Screen::Study;
        let asked = looking || second || self.comparing() || self.finding() || read || self.generation.going;
        matches!(self.phase, Phase::Loading { .. }) || self.running_job().is_some() || asked
    }

    /// The frame that spinners are at.
    pub fn spin(&self) -> usize {
        (self.now.as_millis() as usize * SPIN as usize) / 1000
    }

    /// How long after the last message a `TimePassed` is wanted.
    pub fn next_wake(&self) -> Option<Duration> {
        let tick = self.animating().then(|| {
            let period = Duration::from_secs(1) / SPIN;
            period * (self.spin() as u32 + 1)
        });
        let ages = self.follow.ages().filter(|at| *at > self.now);
        let resting = self.latent_view.resting.as_ref().map(|(_, at)| *at);
        let read = [self.follow.deadline, self.count_due(), self.look_due()].into_iter().flatten();
        tick.into_iter().chain(read).chain(ages).chain(resting).min()
    }

    /// When a digit does what it does by itself.
    pub fn count_due(&self) -> Option<Duration> {
        self.count?.alone.map(|(_, due)| due)
    }

    /// What the slider turns, and where it stands.
    pub fn setting(&self) -> Setting {
        self.knobs.setting()
    }
}
