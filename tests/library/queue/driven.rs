//! The engine, asked and waited for.

use std::{sync::Arc, time::Duration};

use prunelens::engine::{self, Command, EngineHandle, JobId, JobState, Options, Report, Unfinished};
use prunelens_core::{
    sae::Criterion,
    session::{Compress, SessionSpec},
};
use prunelens_metrics::{Family, JobSpec, Run, Store};

use super::counting::FAMILIES;
use crate::support::{Place, demo_spec};

/// Far beyond what any step takes; reached only when an answer never comes.
pub const DEADLINE: Duration = Duration::from_secs(300);

pub struct Engine {
    pub handle: EngineHandle,
    /// What was opened last.
    pub of: Arc<SessionSpec>,
    pub runtime: tokio::runtime::Runtime,
    pub unfinished: Vec<Unfinished>,
    pub runs: Vec<Run>,
}

/// The demo, quick to load: nothing needs calibration.
pub fn spec(place: &Place) -> SessionSpec {
    SessionSpec {
        trained_sae: None,
        compress: Compress::None,
        criterion: Criterion::Magnitude,
        results: place.path("results"),
        ..demo_spec()
    }
}

impl Engine {
    pub fn on_demo(place: &Place) -> Self {
        Self::with(place, FAMILIES)
    }

    /// On the demo without compression and without a trained SAE, with jobs of these families.
    pub fn with(place: &Place, families: &'static [Family]) -> Self {
        Self::of(spec(place), place, families)
    }

    /// On another session, in a place.
    pub fn of(spec: SessionSpec, place: &Place, families: &'static [Family]) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let store = Store { every: Duration::ZERO, ..Store::new(place.path("state")) };
        let handle = engine::start_with(Options { families, store: Some(store) }).unwrap();
        let of = Arc::new(spec.clone());
        let mut engine = Self { handle, of, runtime, unfinished: Vec::new(), runs: Vec::new() };
        engine.handle.command(Command::Load(Box::new(spec)));
        engine.until(|report| match report {
            Report::Ready(_) => Some(()),
            Report::LoadFailed(why) => panic!("{why}"),
            _ => None,
        });
        engine
    }

    /// The first report that is wanted. What is told once at the start is kept.
    #[track_caller]
    pub fn until<T>(&mut self, mut wanted: impl FnMut(&Report) -> Option<T>) -> T {
        loop {
            let report = self.report().expect("the engine is gone");
            match &report {
                Report::Unfinished(all) => self.unfinished = all.clone(),
                Report::Runs { runs, .. } => self.runs = runs.to_vec(),
                Report::Opened { spec, .. } => self.of = spec.clone(),
                Report::Crashed(why) => panic!("{why}"),
                _ => {}
            }
            if let Some(found) = wanted(&report) {
                return found;
            }
        }
    }

    pub fn report(&mut self) -> Option<Report> {
        let reports = &mut self.handle.reports;
        self.runtime
            .block_on(async { tokio::time::timeout(DEADLINE, reports.recv()).await.expect("no answer in time") })
    }

    pub fn start_job(&self, id: JobId, job: JobSpec) {
        self.start(id, job, false);
    }

    /// The same, measured though it was measured.
    pub fn start_anew(&self, id: JobId, job: JobSpec) {
        self.start(id, job, true);
    }

    pub fn start(&self, id: JobId, job: JobSpec, anew: bool) {
        self.handle.command(Command::StartJob { id, job, of: self.of.clone(), anew });
    }

    #[track_caller]
    pub fn state(&mut self, id: JobId, wanted: impl Fn(&JobState) -> bool) -> JobState {
        self.until(|report| match report {
            Report::Job { id: of, state } if *of == id && wanted(state) => Some(state.clone()),
            _ => None,
        })
    }

    #[track_caller]
    pub fn done(&mut self, id: JobId) {
        let ended =
            |state: &JobState| matches!(state, JobState::Done { .. } | JobState::Failed(_) | JobState::Unwritten(_));
        let state = self.state(id, ended);
        assert!(matches!(state, JobState::Done { .. }), "{state:?}");
    }

    /// Quit, and wait until the engine is gone.
    pub fn quit(mut self) -> Vec<Report> {
        self.handle.command(Command::Quit);
        std::iter::from_fn(|| self.report()).collect()
    }
}

pub fn runs(state: &JobState) -> bool {
    matches!(state, JobState::Running { .. })
}
