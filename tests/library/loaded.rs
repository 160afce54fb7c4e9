//! The engine with a session loaded, and what it reports.

use std::{sync::Arc, time::Duration};

use prunelens::engine::{self, Command, EngineHandle, Report};
use prunelens_core::session::SessionSpec;

/// Far beyond what any step takes; reached only when an answer never comes.
pub const DEADLINE: Duration = Duration::from_secs(300);

pub struct Loaded {
    pub handle: EngineHandle,
    /// What was loaded.
    pub of: Arc<SessionSpec>,
    pub runtime: tokio::runtime::Runtime,
}

impl Loaded {
    pub fn load(spec: SessionSpec) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut engine = Self { handle: engine::start().unwrap(), of: Arc::new(spec.clone()), runtime };
        engine.handle.command(Command::Load(Box::new(spec)));
        engine.until(|report| match report {
            Report::Ready(_) => Some(()),
            Report::LoadFailed(why) => panic!("{why}"),
            _ => None,
        });
        engine
    }

    /// The first report that is wanted.
    pub fn until<T>(&mut self, mut wanted: impl FnMut(Report) -> Option<T>) -> T {
        let reports = &mut self.handle.reports;
        self.runtime.block_on(async {
            loop {
                let report = tokio::time::timeout(DEADLINE, reports.recv()).await.expect("no answer in time");
                if let Some(found) = wanted(report.expect("the engine is gone")) {
                    return found;
                }
            }
        })
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.handle.command(Command::Quit);
    }
}
