//! A session with what was found out about it, and those that are kept while another is on screen.

use std::sync::Arc;

use prunelens_core::{
    compare::{Prompt, matching::Matching},
    error::Result,
    index::Indexing,
    progress::Listener,
    sae::formats,
    session::{Models, Session, SessionSpec},
};
use prunelens_metrics::Family;

use super::{
    SessionInfo,
    describe::describe,
    keeping::Keeping,
    quiet::{Background, quick_to_match},
};

/// A session, and what belongs to it alone.
pub struct Seat {
    /// As it was asked for; where there are several layers it says which.
    pub spec: SessionSpec,
    pub info: Arc<SessionInfo>,
    pub session: Arc<Session>,
    /// What metric jobs work on: the same, or a copy on another device.
    pub jobs: Arc<Session>,
    /// Filled in by work in the background.
    pub matching: Option<Matching>,
    /// Likewise, and usable as it grows.
    pub indexing: Option<Indexing>,
    /// Its copy in the cache.
    pub keeping: Keeping,
    /// What is left of that work.
    pub todo: Vec<Background>,
    /// The prompt that was looked at last, while another session is on screen.
    pub prompt: Option<Prompt>,
}

/// What two sessions can have in common: models, and their copies for jobs.
pub struct Shared {
    models: Models,
    jobs: Option<Models>,
    /// The compressed copy is another one, and has yet to be made.
    other_copy: bool,
}

impl Seat {
    /// Loaded, on models that are in memory already if there are any. What was trained in it earlier joins it again.
    pub fn load(
        spec: &SessionSpec,
        shared: Option<Shared>,
        trained: &TrainedSaes,
        families: &[Family],
        listener: Listener,
    ) -> Result<Self> {
        let (models, jobs) = match shared {
            Some(shared) if shared.other_copy => (Some(shared.models.with_copy(spec, listener)?), None),
            Some(shared) => (Some(shared.models), shared.jobs),
            None => (None, None),
        };
        let mut session = match models {
            Some(models) => Session::with_models(spec, models, listener)?,
            None => Session::load(spec, listener)?,
        };
        let spec = &with_its_layer(spec, &session);
        if let Some((_, folder)) = trained.iter().rfind(|(of, _)| of == spec) {
            session = session.with_trained(Arc::new(formats::load(folder)?), folder)?;
        }
        let jobs = match jobs {
            Some(models) => Some(session.on_models(models)?),
            None => for_jobs(&session)?,
        };
        Self::new(spec.clone(), session, jobs, families)
    }

    pub fn new(spec: SessionSpec, session: Session, jobs: Option<Session>, families: &[Family]) -> Result<Self> {
        let (info, session) = (Arc::new(describe(&session, families)?), Arc::new(session));
        let jobs = jobs.map_or_else(|| session.clone(), Arc::new);
        let todo = vec![Background::Match, Background::Index];
        Ok(Self {
            spec,
            info,
            session,
            jobs,
            matching: None,
            indexing: None,
            keeping: Keeping::default(),
            todo,
            prompt: None,
        })
    }

    /// Models for another session, where both would load the same, or the same original.
    pub fn shared(&self, with: &SessionSpec) -> Option<Shared> {
        let apart = !Arc::ptr_eq(&self.session, &self.jobs);
        let jobs = |jobs: &Session| if apart { Some(jobs.models.clone()) } else { None };
        if self.spec.jobs_device != with.jobs_device {
            return None;
        }
        let models = || self.session.models.clone();
        match (self.spec.shares_models(with), self.spec.shares_original(with)) {
            (true, _) => Some(Shared { models: models(), jobs: jobs(&self.jobs), other_copy: false }),
            (false, true) => Some(Shared { models: models(), jobs: None, other_copy: true }),
            _ => None,
        }
    }

    /// Whether a session of other SAEs works on the same models.
    pub fn has_models_of(&self, with: &SessionSpec) -> bool {
        self.spec.jobs_device == with.jobs_device && self.spec.shares_models(with)
    }

    /// Memory that goes with it: SAEs, their ranks, what is known of the corpus, and where the session is one of several copies
    /// what it does not share of the models.
    pub fn bytes(&self) -> u64 {
        let copy = match self.spec.compressions.len() {
            0 | 1 => 0,
            _ => {
                let model = &self.session.models.original;
                self.spec.compress.own_weights(&model.config) * model.dtype.size_in_bytes() as u64
            }
        };
        let apart = (!Arc::ptr_eq(&self.session, &self.jobs)).then(|| self.jobs.sae_bytes());
        let index = self.indexing.as_ref().map_or(0, |indexing| indexing.index.bytes());
        self.session.sae_bytes() + apart.unwrap_or(0) + index + copy
    }

    /// What was read of the corpus is kept: it will not be read again.
    pub fn keep_index(&mut self) {
        if let Some(indexing) = &self.indexing {
            self.keeping.now(&self.session, indexing);
        }
    }

    /// Dictionaries that take no longer than a blink are matched before anything is shown of them.
    pub fn matches_first(&self) -> bool {
        self.matching.is_none() && quick_to_match(&self.session)
    }
}

/// What was asked for, with the layer that it led to: by that the session is found again.
fn with_its_layer(spec: &SessionSpec, session: &Session) -> SessionSpec {
    if session.spec.layers.is_empty() { spec.clone() } else { spec.at_layer(session.hook.layer) }
}

/// Folders of SAEs that jobs have trained, and the sessions that they belong to.
pub type TrainedSaes = Vec<(SessionSpec, std::path::PathBuf)>;

/// A copy of the session for metric jobs, if they are to run on another device.
fn for_jobs(session: &Session) -> Result<Option<Session>> {
    let Some(spec) = session.spec.jobs_device else { return Ok(None) };
    let (device, _) = spec.open(&session.spec.libraries)?;
    if device.location() == session.models.original.device.location() {
        return Ok(None);
    }
    session.on(&device).map(Some)
}

/// Sessions that are not on screen and can be at once, the one longest unseen first.
#[derive(Default)]
pub struct KeptSeats {
    seats: Vec<Seat>,
}

impl KeptSeats {
    pub fn get(&self, spec: &SessionSpec) -> Option<&Seat> {
        self.seats.iter().find(|seat| seat.spec == *spec)
    }

    pub fn take(&mut self, spec: &SessionSpec) -> Option<Seat> {
        let at = self.seats.iter().position(|seat| seat.spec == *spec)?;
        Some(self.seats.remove(at))
    }

    /// Keep one more; those longest unseen make room.
    pub fn put(&mut self, seat: Seat, most: u64) {
        let device = seat.session.models.original.device.clone();
        self.seats.push(seat);
        let before = self.seats.len();
        while self.bytes() > most && !self.seats.is_empty() {
            self.seats.remove(0);
        }
        if self.seats.len() < before {
            prunelens_kernels::gpu::release(&device);
        }
    }

    /// Those that others can still go to; the rest have other models.
    pub fn retain(&mut self, keep: impl Fn(&Seat) -> bool) {
        self.seats.retain(keep);
    }

    pub fn bytes(&self) -> u64 {
        self.seats.iter().map(Seat::bytes).sum()
    }
}
