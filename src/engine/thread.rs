//! The engine thread: it alone holds models, SAEs and caches.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use prunelens_core::error::{Error, Result};
use prunelens_metrics::{Family, JOBS, Store};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::{
    Command, EngineHandle, Report,
    live::Live,
    mailbox::Mailbox,
    queue::Queue,
    quiet::{self, Background},
    seat::{KeptSeats, TrainedSaes},
    strip::Strip,
};

/// What an engine works with.
#[derive(Clone, Debug)]
pub struct Options {
    pub families: &'static [Family],
    /// Where unfinished jobs and finished runs are kept; nowhere if there is no such place.
    pub store: Option<Store>,
}

/// Start an engine that keeps nothing; it waits for a `Load`.
pub fn start() -> Result<EngineHandle> {
    start_with(Options { families: JOBS, store: None })
}

/// Start the engine; it waits for a `Load`.
pub fn start_with(options: Options) -> Result<EngineHandle> {
    let (mailbox, (sender, reports)) = (Arc::new(Mailbox::default()), unbounded_channel());
    let (ours, crashed) = (mailbox.clone(), sender.clone());
    std::thread::Builder::new()
        .name("engine".into())
        .spawn(move || {
            let engine = AssertUnwindSafe(|| {
                Engine {
                    mailbox: ours,
                    live: None,
                    queue: Queue::new(options.families, options.store, sender.clone()),
                    families: options.families,
                    reports: sender,
                    kept: KeptSeats::default(),
                    trained: TrainedSaes::default(),
                    strip: Strip::default(),
                    ahead: false,
                    upwards: true,
                }
                .run()
            });
            if let Err(panic) = catch_unwind(engine) {
                let _ = crashed.send(Report::Crashed(message(&*panic)));
            }
        })
        .map_err(|e| Error::invalid(format!("cannot start the engine's thread: {e}")))?;
    Ok(EngineHandle::new(mailbox, reports))
}

fn message(panic: &dyn Any) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "unknown panic".into())
}

pub struct Engine {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) reports: UnboundedSender<Report>,
    pub(super) live: Option<Live>,
    pub(super) queue: Queue,
    pub(super) families: &'static [Family],
    /// Sessions of layers that are not on screen.
    pub(super) kept: KeptSeats,
    pub(super) trained: TrainedSaes,
    pub(super) strip: Strip,
    /// A layer is to be read ahead, and on which side.
    pub(super) ahead: bool,
    pub(super) upwards: bool,
}

impl Engine {
    pub(super) fn send(&self, report: Report) {
        // Fails only when the interface is gone.
        let _ = self.reports.send(report);
    }

    /// Control first, then the user, then jobs, then quiet work.
    fn run(&mut self) {
        loop {
            match self.mailbox.next_command() {
                Some(Command::Quit) => {
                    self.queue.end(self.live.as_ref().map(|live| &*live.seat.jobs));
                    self.live.take().map(Live::leave);
                    return;
                }
                Some(command) => {
                    self.obey(command);
                    continue;
                }
                None => {}
            }
            if let Some(live) = &mut self.live {
                live.serve();
            } else {
                // Without a session requests cannot be answered; the interface asks again once it is ready.
                while self.mailbox.next_request().is_some() {}
            }
            if self.mailbox.has_command() {
                continue;
            }
            let Some(live) = &mut self.live else {
                self.mailbox.wait();
                continue;
            };
            if live.strip.is_some() {
                self.strip_on();
            } else if self.queue.has_work() {
                self.queue.step(live, &self.mailbox);
                self.take_up_trained();
            } else if let Some(task) = live.seat.todo.first().copied() {
                quiet::work(task, live, &self.mailbox);
            } else if live.wants_index().is_some() {
                quiet::work(Background::IndexPruned, live, &self.mailbox);
            } else if self.ahead {
                self.read_ahead();
            } else {
                self.mailbox.wait();
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Load(spec) => self.load(&spec),
            Command::Open(spec) => self.open(*spec),
            Command::Join(folder) => self.join_again(&folder),
            command => {
                self.queue.obey(command, self.live.as_ref().map(|live| &live.seat));
                self.take_up_trained();
            }
        }
    }
}
