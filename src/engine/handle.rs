//! The interface's end of the engine: a way to ask, and a channel of answers.

use tokio::sync::mpsc::UnboundedReceiver;

use super::{Command, Report, Request};

/// How the interface reaches the engine. The engine thread stands behind it; tests put a fake there.
pub trait EngineLink {
    /// Control lane: queued, never dropped.
    fn command(&self, command: Command);
    /// Interactive lane: a newer request replaces one of its kind that has not begun.
    fn request(&self, request: Request);
}

/// A running engine as the interface sees it.
pub struct EngineHandle {
    pub link: Box<dyn EngineLink + Send>,
    pub reports: UnboundedReceiver<Report>,
}

impl EngineHandle {
    pub fn new(link: impl EngineLink + Send + 'static, reports: UnboundedReceiver<Report>) -> Self {
        Self { link: Box::new(link), reports }
    }

    pub fn command(&self, command: Command) {
        self.link.command(command);
    }

    pub fn request(&self, request: Request) {
        self.link.request(request);
    }
}
