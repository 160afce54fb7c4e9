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
    ratio: Option<Request>,
    latent: Option<Request>,
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
        while slots.control.is_empty() && slots.compare.is_none() && slots.ratio.is_none() && slots.latent.is_none() {
            slots = self.filled.wait(slots).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn next_command(&self) -> Option<Command> {
        self.slots().control.pop_front()
    }

    /// The interactive request to serve next.
    pub fn next_request(&self) -> Option<Request> {
        let mut slots = self.slots();
        slots.compare.take().or_else(|| slots.ratio.take()).or_else(|| slots.latent.take())
    }

    /// Whether any interactive request waits.
    pub fn has_request(&self) -> bool {
        let slots = self.slots();
        slots.compare.is_some() || slots.ratio.is_some() || slots.latent.is_some()
    }

    /// Whether a waiting request makes the answer to this one pointless.
    pub fn outdates(&self, request: &Request) -> bool {
        let slots = self.slots();
        match request {
            Request::Compare { .. } => slots.compare.is_some(),
            Request::SetRatio { .. } => slots.compare.is_some() || slots.ratio.is_some(),
            Request::ShowLatent { .. } => slots.compare.is_some() || slots.latent.is_some(),
        }
    }

    pub fn has_command(&self) -> bool {
        !self.slots().control.is_empty()
    }

    /// Whether a waiting command ends the work on a job (or on anything, for `None`).
    pub fn ends(&self, job: Option<JobId>) -> bool {
        self.slots().control.iter().any(|command| match command {
            Command::Load(_) | Command::Quit => true,
            Command::CancelJob(id) => Some(*id) == job,
            Command::StartJob { .. } => false,
        })
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
                (slots.ratio, slots.latent) = (None, None);
                slots.compare = Some(request);
            }
            Request::SetRatio { .. } => slots.ratio = Some(request),
            Request::ShowLatent { .. } => slots.latent = Some(request),
        }
        drop(slots);
        self.filled.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::prune::Criterion;

    fn ratio(generation: u64) -> Request {
        Request::SetRatio { generation, ratio: 0.1, criterion: Criterion::Wanda }
    }

    fn compare(generation: u64) -> Request {
        Request::Compare { generation, text: "a".into(), ratio: 0.1, criterion: Criterion::Wanda }
    }

    #[test]
    fn the_latest_of_a_kind_wins() {
        let mailbox = Arc::new(Mailbox::default());
        mailbox.request(ratio(1));
        mailbox.request(ratio(2));
        assert!(mailbox.outdates(&ratio(0)) && !mailbox.outdates(&compare(0)));
        assert_eq!(mailbox.next_request(), Some(ratio(2)));
        assert_eq!(mailbox.next_request(), None);
    }

    #[test]
    fn a_new_prompt_voids_what_was_asked_of_the_old_one() {
        let mailbox = Arc::new(Mailbox::default());
        mailbox.request(ratio(1));
        mailbox.request(compare(2));
        mailbox.request(ratio(3));
        assert_eq!(mailbox.next_request(), Some(compare(2)));
        assert_eq!(mailbox.next_request(), Some(ratio(3)));
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
