//! What the user is looking at: one prompt, answered in parts, newest request first.

use std::sync::Arc;

use prunelens_core::{
    compare::Prompt,
    edit::Edits,
    error::{Error, Result},
    index::{self, Index},
    progress::Tick,
    sae::{Knob, Setting},
    session::Session,
};
use prunelens_metrics::{Estimate, Family, JobSpec, Probe, atlas::Atlas, fingerprint, fit};
use tokio::sync::mpsc::UnboundedSender;

use super::{
    GenerateTask, MemoryUse, Query, Report, Request, detail, find,
    generate::Generating,
    mailbox::{Kind, Mailbox},
    seat::Seat,
    strip::Task,
};

/// What is still due for the current prompt and setting, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Reconstruction,
    Paths,
    Splice,
    Nothing,
}

/// The interactive side of the engine.
pub struct Live {
    pub seat: Seat,
    mailbox: Arc<Mailbox>,
    reports: UnboundedSender<Report>,
    prompt: Option<Prompt>,
    /// Another prompt, of which only latents are wanted.
    beside: Option<Prompt>,
    /// Of the request that the prompt's state answers.
    generation: u64,
    due: Due,
    /// The prompt whose layers are wanted.
    pub strip: Option<Task>,
    families: &'static [Family],
    /// How fast this session is, measured when first asked for.
    probe: Option<Probe>,
    /// The latent last shown: generation, number and token.
    shown: Option<(u64, u32, usize)>,
    /// The latent whose page was last asked for, with the generation.
    studied: Option<(u64, u32)>,
    /// The pruning that the page's figures of `pruned` are wanted at.
    studied_at: Option<Setting>,
    /// A text being continued.
    writing: Option<Generating>,
}

impl Live {
    pub fn new(
        mut seat: Seat,
        mailbox: Arc<Mailbox>,
        reports: UnboundedSender<Report>,
        families: &'static [Family],
    ) -> Self {
        let prompt = seat.prompt.take();
        Self {
            seat,
            mailbox,
            reports,
            prompt,
            beside: None,
            generation: 0,
            due: Due::Nothing,
            strip: None,
            shown: None,
            studied: None,
            studied_at: None,
            writing: None,
            families,
            probe: None,
        }
    }

    /// The session, with what was found out about it.
    pub fn leave(mut self) -> Seat {
        self.seat.prompt = self.prompt;
        self.seat.keep_index();
        self.seat
    }

    pub fn send(&self, report: Report) {
        // Fails only when the interface is gone; the thread then ends by its own queue.
        let _ = self.reports.send(report);
    }

    /// Serve requests, finish the current prompt, and continue a text, until nothing of it is left.
    pub fn serve(&mut self) {
        loop {
            if let Some(request) = self.mailbox.next_request() {
                self.answer(request);
            } else if self.mailbox.ends(None) || self.mailbox.opens() {
                return;
            } else if self.due != Due::Nothing {
                if let Err(error) = self.go_on()
                    && !matches!(error, Error::Interrupted)
                {
                    self.due = Due::Nothing;
                    self.send(Report::RequestFailed { generation: self.generation, message: error.to_string() });
                }
            } else if self.writing.is_none() || self.mailbox.has_command() {
                // A command is obeyed between two tokens.
                return;
            } else {
                self.write_on();
            }
        }
    }

    /// The next token of the text that is being continued.
    fn write_on(&mut self) {
        let Some(writing) = &mut self.writing else { return };
        let (mailbox, generation) = (self.mailbox.clone(), writing.generation());
        let urgent = || mailbox.has_request() || mailbox.has_command();
        let tick = &mut || if urgent() { Err(Error::Interrupted) } else { Ok(()) };
        let parting = &mut || if mailbox.ends(None) { Err(Error::Interrupted) } else { Ok(()) };
        match writing.step(&self.seat.session, tick, parting) {
            Ok(Some(report)) => self.send(report),
            Ok(None) => self.writing = None,
            Err(Error::Interrupted) => {}
            Err(error) => {
                self.writing = None;
                self.send(Report::RequestFailed { generation, message: error.to_string() });
            }
        }
    }

    fn generate(&mut self, generation: u64, task: Option<&GenerateTask>) -> Result<()> {
        self.writing = None;
        let Some(task) = task else { return Ok(()) };
        let mailbox = self.mailbox.clone();
        let tick = &mut || mailbox.still_wanted(Kind::Generate);
        let writing = Generating::new(&self.seat.session, generation, task.clone(), tick)?;
        self.send(writing.begun());
        self.writing = Some(writing);
        Ok(())
    }

    fn answer(&mut self, request: Request) {
        let generation = request.generation;
        let answered = match &request.query {
            Query::Compare { text, setting } => self.read(generation, text, *setting),
            Query::Turn { setting } => self.turn(generation, *setting),
            Query::Beside { text, setting } => self.read_beside(&request, text, *setting),
            Query::ShowLatent { latent, token, knob } => self.show(generation, *latent, *token, *knob),
            Query::Page { latent, setting } => {
                self.studied = Some((generation, *latent));
                self.studied_at = Some(*setting);
                self.tell_page()
            }
            Query::Find { word } => find::find(&self.seat.session, self.index(), word)
                .map(|hits| self.send(Report::Found { generation, hits })),
            Query::Predict { token, edits } => self.predict(generation, *token, edits),
            Query::Atlas { file } => Atlas::of_run(file).and_then(|atlas| {
                atlas.check_session(&fingerprint::of_session(&self.seat.session))?;
                self.send(Report::Atlas { generation, atlas: Arc::new(atlas) });
                Ok(())
            }),
            Query::Layers { prompt } => {
                self.strip = prompt.clone().map(|(text, setting)| {
                    let layers = &self.seat.session.spec.layers;
                    let all = layers.iter().map(|layer| layer.number);
                    let own = layers.is_empty().then_some(self.seat.session.hook.layer);
                    Task { generation, text, setting, left: all.chain(own).collect() }
                });
                Ok(())
            }
            Query::Generate { task } => self.generate(generation, task.as_ref()),
            Query::Estimate { job } => self.estimate(&request, job),
        };
        match answered {
            // A newer request waits: it will be answered instead.
            Ok(()) | Err(Error::Interrupted) => {}
            Err(error) => self.send(Report::RequestFailed { generation, message: error.to_string() }),
        }
    }

    fn read(&mut self, generation: u64, text: &str, setting: Setting) -> Result<()> {
        // Until the new prompt is read nothing more is said about the old one.
        self.due = Due::Nothing;
        // What was read of it in this session, before another was looked at, need not be read again.
        let read = self.prompt.take().filter(|prompt| prompt.text == text);
        self.shown = None;
        let mailbox = self.mailbox.clone();
        let tick = &mut || mailbox.still_wanted(Kind::Compare);
        let session = self.seat.session.clone();
        let tokens = session.tokens(text)?;
        self.rank(setting.knob, tick)?;
        self.prompt = Some(match read {
            Some(mut prompt) => {
                prompt.set_pruning(session.pruning(setting, tick)?)?;
                prompt
            }
            None => Prompt::read(text, tokens, session.readers(setting)?, setting, tick)?,
        });
        (self.generation, self.due) = (generation, Due::Reconstruction);
        self.tell();
        Ok(())
    }

    fn turn(&mut self, generation: u64, setting: Setting) -> Result<()> {
        let mailbox = self.mailbox.clone();
        let tick = &mut || mailbox.still_wanted(Kind::Turn);
        self.rank(setting.knob, tick)?;
        let pruning = self.seat.session.pruning(setting, tick)?;
        let Some(prompt) = &mut self.prompt else { return Ok(()) };
        prompt.set_pruning(pruning)?;
        (self.generation, self.due) = (generation, Due::Reconstruction);
        self.tell();
        Ok(())
    }

    /// The second prompt is read once, and then follows the knob as the first does. Overtaken by a new first prompt it is
    /// read after that.
    fn read_beside(&mut self, request: &Request, text: &str, setting: Setting) -> Result<()> {
        let mailbox = self.mailbox.clone();
        let tick = &mut || mailbox.still_wanted(Kind::Beside);
        let read = self.beside_at(text, setting, tick);
        if matches!(read, Err(Error::Interrupted)) {
            self.mailbox.again(request.clone());
        }
        read?;
        if let Some(prompt) = &self.beside {
            let comparison = Arc::new(prompt.comparison(self.seat.matching.as_ref()));
            self.send(Report::Beside { generation: request.generation, comparison });
        }
        Ok(())
    }

    fn beside_at(&mut self, text: &str, setting: Setting, tick: Tick) -> Result<()> {
        self.rank(setting.knob, tick)?;
        match &mut self.beside {
            Some(prompt) if prompt.text == text => prompt.set_pruning(self.seat.session.pruning(setting, tick)?),
            beside => {
                *beside = None;
                let (tokens, readers) = (self.seat.session.tokens(text)?, self.seat.session.readers(setting)?);
                *beside = Some(Prompt::read(text, tokens, readers, setting, tick)?);
                Ok(())
            }
        }
    }

    /// What a knob that is turned for the first time needs to know; it changes what the session holds.
    fn rank(&self, knob: Knob, tick: Tick) -> Result<()> {
        if !self.seat.session.is_ranked(knob) {
            self.seat.session.order(knob, tick)?;
            self.send(Report::Memory(MemoryUse::of(&self.seat.session)));
        }
        Ok(())
    }

    fn show(&mut self, generation: u64, latent: u32, token: usize, knob: Knob) -> Result<()> {
        let Some(prompt) = &mut self.prompt else { return Ok(()) };
        if prompt.setting().knob != knob {
            return Ok(());
        }
        prompt.find_paths()?;
        self.mailbox.still_wanted(Kind::ShowLatent)?;
        self.shown = Some((generation, latent, token));
        self.tell_latent()
    }

    fn estimate(&mut self, request: &Request, job: &JobSpec) -> Result<()> {
        let mailbox = self.mailbox.clone();
        let tick = &mut || mailbox.still_wanted(Kind::Estimate);
        let session = self.seat.jobs.clone();
        let estimated = self.work_of(&session, job, tick);
        if matches!(estimated, Err(Error::Interrupted)) {
            // Something more urgent came: again after it.
            self.mailbox.again(request.clone());
            return Ok(());
        }
        let (generation, estimate) = (request.generation, estimated.map_err(|e| e.to_string()));
        self.send(Report::Estimate { generation, estimate });
        Ok(())
    }

    fn work_of(&mut self, session: &Session, job: &JobSpec, tick: Tick) -> Result<Estimate> {
        let family = job.family(self.families)?;
        let (fitted, remark) = fit::fit(family, job, session, fit::free_for(session))?;
        let Some(cost) = (family.cost)(session, &fitted.params)? else { return Ok(Estimate::default()) };
        let probe = match self.probe {
            Some(probe) => probe,
            None => *self.probe.insert(Probe::measure(session, tick)?),
        };
        Ok(Estimate { remark, free: fit::free_for(session), ..probe.estimate(&cost) })
    }

    /// More is known of the corpus: what is on screen of it is missing that.
    pub fn tell_index(&self) {
        if let Err(error) = self.tell_latent().and_then(|()| self.tell_page()) {
            tracing::warn!("{error}");
        }
    }

    /// The corpus cannot be read as it is wanted.
    pub fn forget_wanted(&mut self) {
        self.studied_at = None;
    }

    /// The pruning at which the corpus is to be read again: what is known of it is of another.
    pub fn wants_index(&self) -> Option<Setting> {
        let index = self.index()?;
        self.studied_at.filter(|wanted| *wanted != index.setting)
    }

    fn index(&self) -> Option<&Index> {
        self.seat.indexing.as_ref().map(|indexing| &indexing.index)
    }

    /// The page of the latent last asked for.
    fn tell_page(&self) -> Result<()> {
        let (Some(index), Some((generation, latent))) = (self.index(), self.studied) else { return Ok(()) };
        let matched = self.seat.matching.as_ref().and_then(|matching| matching.get(latent)).map(|found| found.latent);
        let page = index::page(index, &self.seat.session.sae, &self.seat.session.models.tokenizer, latent, matched)?;
        self.send(Report::Page { generation, page: Arc::new(page) });
        Ok(())
    }

    fn predict(&mut self, generation: u64, token: usize, edits: &Edits) -> Result<()> {
        let mailbox = self.mailbox.clone();
        let tick = &mut || mailbox.still_wanted(Kind::Predict);
        edits.check(self.seat.session.sae.d_sae())?;
        let Some(prompt) = &mut self.prompt else { return Ok(()) };
        let predictions = prompt.predict(token, edits, &self.seat.session.models.tokenizer, tick)?;
        self.send(Report::Predictions { generation, predictions: Arc::new(predictions) });
        Ok(())
    }

    /// Everything known of the latent last asked for.
    fn tell_latent(&self) -> Result<()> {
        let (Some(prompt), Some((generation, latent, token))) = (&self.prompt, self.shown) else { return Ok(()) };
        let detail =
            detail::detail(&self.seat.session, prompt, self.index(), self.seat.matching.as_ref(), (latent, token))?;
        self.send(Report::Latent { generation, detail: Arc::new(detail) });
        Ok(())
    }

    /// The next part of the current answer.
    fn go_on(&mut self) -> Result<()> {
        let mailbox = self.mailbox.clone();
        let ended = || mailbox.has_request() || mailbox.ends(None) || mailbox.opens();
        let tick = &mut || if ended() { Err(Error::Interrupted) } else { Ok(()) };
        let Some(prompt) = &mut self.prompt else {
            self.due = Due::Nothing;
            return Ok(());
        };
        self.due = match self.due {
            Due::Reconstruction => {
                prompt.reconstruct(tick)?;
                Due::Paths
            }
            Due::Paths => {
                prompt.find_paths()?;
                prompt.find_late_paths(tick)?;
                Due::Splice
            }
            Due::Splice if prompt.splice_next(tick)? => Due::Splice,
            Due::Splice | Due::Nothing => Due::Nothing,
        };
        self.tell();
        Ok(())
    }

    /// Everything known of the current prompt.
    pub fn tell(&self) {
        if let Some(prompt) = &self.prompt {
            let comparison = Arc::new(prompt.comparison(self.seat.matching.as_ref()));
            let complete = self.due == Due::Nothing;
            self.send(Report::Comparison { generation: self.generation, comparison, complete });
        }
    }
}
