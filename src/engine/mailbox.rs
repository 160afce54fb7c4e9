//! Where requests wait: a queue for control, one latest-wins slot for each kind of interactive request.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use super::{Command, EngineLink, JobId, Request};

#[derive(Default)]
struct Slots {
    control: VecDeque<Command>,
    compare: Option<Request>,
    turn: Option<Request>,
    beside: Option<Request>,
    latent: Option<Request>,
    page: Option<Request>,
    find: Option<Request>,
    predict: Option<Request>,
    atlas: Option<Request>,
    layers: Option<Request>,
    generate: Option<Request>,
    estimate: Option<Request>,
}

impl Slots {
    fn has_request(&self) -> bool {
        let first = [&self.compare, &self.turn, &self.beside, &self.latent, &self.page];
        let then = [&self.find, &self.predict, &self.generate, &self.atlas, &self.layers, &self.estimate];
        first.into_iter().chain(then).any(Option::is_some)
    }
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
        while slots.control.is_empty() && !slots.has_request() {
            slots = self.filled.wait(slots).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn next_command(&self) -> Option<Command> {
        self.slots().control.pop_front()
    }

    /// The interactive request to serve next.
    pub fn next_request(&self) -> Option<Request> {
        let mut slots = self.slots();
        let slots = &mut *slots;
        let all = [
            &mut slots.compare,
            &mut slots.turn,
            &mut slots.beside,
            &mut slots.latent,
            &mut slots.page,
            &mut slots.find,
            &mut slots.predict,
            &mut slots.generate,
            &mut slots.atlas,
            &mut slots.layers,
            &mut slots.estimate,
        ];
        all.into_iter().find_map(Option::take)
    }

    /// Whether any interactive request waits.
    pub fn has_request(&self) -> bool {
        self.slots().has_request()
    }

    /// Whether a waiting request makes the answer to this one pointless.
    pub fn outdates(&self, request: &Request) -> bool {
        let slots = self.slots();
        match request {
            Request::Compare { .. } => slots.compare.is_some(),
            Request::Turn { .. } => slots.compare.is_some() || slots.turn.is_some(),
            Request::Beside { .. } => slots.compare.is_some() || slots.beside.is_some(),
            Request::ShowLatent { .. } => slots.compare.is_some() || slots.latent.is_some(),
            Request::Page { .. } => slots.page.is_some(),
            Request::Find { .. } => slots.find.is_some(),
            Request::Predict { .. } => slots.compare.is_some() || slots.turn.is_some() || slots.predict.is_some(),
            Request::Generate { .. } => slots.generate.is_some(),
            Request::Atlas { .. } => slots.atlas.is_some(),
            Request::Layers { .. } => slots.layers.is_some(),
            Request::Estimate { .. } => slots.has_request(),
        }
    }

    /// Put a request back that had to wait, unless a newer one of its kind is asked for.
    pub fn again(&self, request: Request) {
        let mut slots = self.slots();
        match request {
            Request::Beside { .. } => {
                slots.beside.get_or_insert(request);
            }
            _ => {
                slots.estimate.get_or_insert(request);
            }
        }
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
        let mut slots = self.slots();
        match &request {
            Request::Compare { .. } => {
                // Whatever was asked of the old prompt is void.
                (slots.turn, slots.latent, slots.predict) = (None, None, None);
                slots.compare = Some(request);
            }
            Request::Turn { .. } => slots.turn = Some(request),
            Request::Beside { .. } => slots.beside = Some(request),
            Request::ShowLatent { .. } => slots.latent = Some(request),
            Request::Page { .. } => slots.page = Some(request),
            Request::Find { .. } => slots.find = Some(request),
            Request::Predict { .. } => slots.predict = Some(request),
            Request::Generate { .. } => slots.generate = Some(request),
            Request::Atlas { .. } => slots.atlas = Some(request),
            Request::Layers { .. } => slots.layers = Some(request),
            Request::Estimate { .. } => slots.estimate = Some(request),
        }
        drop(slots);
        self.filled.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use prunelens_core::sae::Knob;

    fn turn(generation: u64) -> Request {
        Request::Turn { generation, setting: Knob::Bits.at(4.0) }
    }

    fn compare(generation: u64) -> Request {
        Request::Compare { generation, text: "a".into(), setting: Knob::Bits.at(4.0) }
    }

    #[test]
    fn the_latest_of_a_kind_wins() {
        let mailbox = Arc::new(Mailbox::default());
        mailbox.request(turn(1));
        mailbox.request(turn(2));
        assert!(mailbox.outdates(&turn(0)) && !mailbox.outdates(&compare(0)));
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
    fn every_kind_that_waits_is_served() {
        let mailbox = Arc::new(Mailbox::default());
        let job = prunelens_metrics::JobSpec::new("core");
        for request in [
            compare(1),
            turn(2),
            Request::ShowLatent { generation: 3, latent: 0, token: 0, knob: Knob::Bits },
            Request::Page { generation: 4, latent: 0, setting: Knob::Bits.at(4.0) },
            Request::Find { generation: 5, word: "navy".into() },
            Request::Predict { generation: 6, token: 0, edits: prunelens_core::edit::Edits::default() },
            Request::Generate { generation: 7, task: None },
            Request::Beside { generation: 8, text: "b".into(), setting: Knob::Bits.at(4.0) },
            Request::Atlas {
                generation: 9,
                file: prunelens_metrics::RunFile { path: "atlas".into(), sha256: String::new() },
            },
            Request::Layers { generation: 10, prompt: None },
            Request::Estimate { generation: 11, job },
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
