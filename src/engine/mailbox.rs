//! Where requests wait: a queue for control, one latest-wins slot for each kind of interactive request.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use prunelens_core::error::{Error, Result};

use super::{Command, EngineLink, JobId, Query, Request};

/// Kinds of requests, in the order in which they are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Compare,
    Turn,
    Beside,
    ShowLatent,
    Page,
    Find,
    Predict,
    Generate,
    Atlas,
    Layers,
    Estimate,
}

impl Kind {
    fn of(query: &Query) -> Self {
        match query {
            Query::Compare { .. } => Self::Compare,
            Query::Turn { .. } => Self::Turn,
            Query::Beside { .. } => Self::Beside,
            Query::ShowLatent { .. } => Self::ShowLatent,
            Query::Page { .. } => Self::Page,
            Query::Find { .. } => Self::Find,
            Query::Predict { .. } => Self::Predict,
            Query::Generate { .. } => Self::Generate,
            Query::Atlas { .. } => Self::Atlas,
            Query::Layers { .. } => Self::Layers,
            Query::Estimate { .. } => Self::Estimate,
        }
    }

    /// Whether the answer to this is given up once a `newer` one waits.
    fn gives_way(self, newer: Self) -> bool {
        match self {
            Self::Turn | Self::Beside | Self::ShowLatent => newer == Self::Compare || newer == self,
            Self::Predict => matches!(newer, Self::Compare | Self::Turn | Self::Predict),
            // Everything is more urgent.
            Self::Estimate => true,
            Self::Compare | Self::Page | Self::Find | Self::Generate | Self::Atlas | Self::Layers => newer == self,
        }
    }

    /// Whether it is asked of the prompt on screen, and void with it.
    fn is_of_prompt(self) -> bool {
        matches!(self, Self::Turn | Self::ShowLatent | Self::Predict)
    }
}

#[derive(Default)]
struct Slots {
    control: VecDeque<Command>,
    requests: BTreeMap<Kind, Request>,
}

fn ends(command: &Command, job: Option<JobId>) -> bool {
    match command {
        Command::Load(_) | Command::Quit => true,
        // The session at hand answers what it was asked; a job makes way.
        Command::Open(_) | Command::Join(_) => job.is_some(),
        Command::CancelJob(id) | Command::PauseJob(id) => Some(*id) == job,
        _ => false,
    }
}

/// Shared by the interface, which fills it, and the engine thread, which empties it.
#[derive(Default)]
pub struct Mailbox {
    slots: Mutex<Slots>,
    filled: Condvar,
}

impl Mailbox {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        // A panic elsewhere leaves slots that are whole all the same.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleep until something waits.
    pub fn wait(&self) {
        let mut slots = self.slots();
        while slots.control.is_empty() && slots.requests.is_empty() {
            slots = self.filled.wait(slots).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn next_command(&self) -> Option<Command> {
        self.slots().control.pop_front()
    }

    /// The interactive request to serve next.
    pub fn next_request(&self) -> Option<Request> {
        self.slots().requests.pop_first().map(|(_, request)| request)
    }

    /// Whether any interactive request waits.
    pub fn has_request(&self) -> bool {
        !self.slots().requests.is_empty()
    }

    /// An error ends the answer to a request of this kind: what waits makes it pointless.
    pub fn still_wanted(&self, kind: Kind) -> Result<()> {
        let overtaken = self.slots().requests.keys().any(|newer| kind.gives_way(*newer));
        if overtaken || self.ends(None) { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Put a request back that had to wait, unless a newer one of its kind is asked for.
    pub fn again(&self, request: Request) {
        self.slots().requests.entry(Kind::of(&request.query)).or_insert(request);
    }

    pub fn has_command(&self) -> bool {
        !self.slots().control.is_empty()
    }

    /// Whether a waiting command ends the work on a job (or on anything, for `None`).
    pub fn ends(&self, job: Option<JobId>) -> bool {
        self.slots().control.iter().any(|command| ends(command, job))
    }

    /// Whether another session is asked for.
    pub fn opens(&self) -> bool {
        self.slots().control.iter().any(|command| matches!(command, Command::Open(_)))
    }

    /// Whether a waiting command ends the loading of a session beside this one.
    pub fn ends_opening(&self) -> bool {
        let ends = |command: &Command| {
            matches!(command, Command::Load(_) | Command::Open(_) | Command::StopOpening | Command::Quit)
        };
        self.slots().control.iter().any(ends)
    }

    /// The next command, if it lets the work on a job go on.
    pub fn next_beside(&self, job: JobId) -> Option<Command> {
        let control = &mut self.slots().control;
        if control.front().is_some_and(|command| !ends(command, Some(job))) { control.pop_front() } else { None }
    }
}

impl EngineLink for std::sync::Arc<Mailbox> {
    fn command(&self, command: Command) {
        self.slots().control.push_back(command);
        self.filled.notify_one();
    }

    fn request(&self, request: Request) {
        let kind = Kind::of(&request.query);
        let requests = &mut self.slots().requests;
        if kind == Kind::Compare {
            requests.retain(|asked, _| !asked.is_of_prompt());
        }
        requests.insert(kind, request);
        self.filled.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use prunelens_core::sae::Knob;

    fn turn(generation: u64) -> Request {
        Request { generation, query: Query::Turn { setting: Knob::Bits.at(4.0) } }
    }

    fn compare(generation: u64) -> Request {
        Request { generation, query: Query::Compare { text: "a".into(), setting: Knob::Bits.at(4.0) } }
    }

    #[test]
    fn the_latest_of_a_kind_wins() {
        let mailbox = Arc::new(Mailbox::default());
        mailbox.request(turn(1));
        mailbox.request(turn(2));
        assert!(mailbox.still_wanted(Kind::Turn).is_err() && mailbox.still_wanted(Kind::Compare).is_ok());
        assert_eq!(mailbox.next_request(), Some(turn(2)));
        assert_eq!(mailbox.next_request(), None);
    }

    #[test]
    fn a_new_prompt_voids_what_was_asked_of_the_old_one() {
        let mailbox = Arc::new(Mailbox::default());
        mailbox.request(turn(1));
        mailbox.request(compare(2));
        mailbox.request(turn(3));
        assert_eq!(mailbox.next_request(), Some(compare(2)));
        assert_eq!(mailbox.next_request(), Some(turn(3)));
    }

    #[test]
    fn what_had_to_wait_keeps_its_place_and_gives_way_to_a_newer_one() {
        let mailbox = Arc::new(Mailbox::default());
        let find = |generation, word: &str| Request { generation, query: Query::Find { word: word.into() } };
        mailbox.again(find(1, "navy"));
        mailbox.again(turn(2));
        mailbox.again(find(3, "army"));
        assert_eq!([mailbox.next_request(), mailbox.next_request()], [Some(turn(2)), Some(find(1, "navy"))]);
        assert!(!mailbox.has_request());
    }

    #[test]
    fn every_kind_that_waits_is_served() {
        let mailbox = Arc::new(Mailbox::default());
        let job = prunelens_metrics::JobSpec::new("core");
        for request in [
            compare(1),
            turn(2),
            Request { generation: 3, query: Query::ShowLatent { latent: 0, token: 0, knob: Knob::Bits } },
            Request { generation: 4, query: Query::Page { latent: 0, setting: Knob::Bits.at(4.0) } },
            Request { generation: 5, query: Query::Find { word: "navy".into() } },
            Request {
                generation: 6,
                query: Query::Predict { token: 0, edits: prunelens_core::edit::Edits::default() },
            },
            Request { generation: 7, query: Query::Generate { task: None } },
            Request { generation: 8, query: Query::Beside { text: "b".into(), setting: Knob::Bits.at(4.0) } },
            Request {
                generation: 9,
                query: Query::Atlas {
                    file: prunelens_metrics::RunFile { path: "atlas".into(), sha256: String::new() },
                },
            },
            Request { generation: 10, query: Query::Layers { prompt: None } },
            Request { generation: 11, query: Query::Estimate { job } },
        ] {
            mailbox.request(request.clone());
            assert!(mailbox.has_request());
            assert_eq!(mailbox.next_request(), Some(request));
            assert!(!mailbox.has_request());
        }
    }

    #[test]
    fn a_session_that_is_asked_for_ends_jobs_and_loading_but_no_answer() {
        let mailbox = Arc::new(Mailbox::default());
        mailbox.command(Command::Open(Box::new(prunelens_core::session::SessionSpec::demo())));
        assert!(mailbox.opens() && mailbox.ends_opening() && mailbox.ends(Some(1)) && !mailbox.ends(None));
        assert!(mailbox.next_beside(1).is_none());
        assert!(matches!(mailbox.next_command(), Some(Command::Open(_))) && !mailbox.ends_opening());
        mailbox.command(Command::StopOpening);
        assert!(mailbox.ends_opening() && !mailbox.opens() && !mailbox.ends(Some(1)));
    }

    #[test]
    fn commands_are_never_dropped() {
        let mailbox = Arc::new(Mailbox::default());
        for id in 0..3 {
            mailbox.command(Command::CancelJob(id));
        }
        assert!(mailbox.ends(Some(1)) && !mailbox.ends(Some(7)) && !mailbox.ends(None));
        let ids: Vec<_> = std::iter::from_fn(|| mailbox.next_command()).collect();
        assert!(matches!(ids[..], [Command::CancelJob(0), Command::CancelJob(1), Command::CancelJob(2)]));
    }
}
