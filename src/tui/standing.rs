//! Where a session stands is kept while it is used: a kill that nothing answers takes no more than its last moments.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use prunelens_core::session::SessionSpec;
use tokio::task::{self, JoinHandle};

use super::{
    remembered,
    state::{SavedView, State},
    update::message::Message,
};

/// How long after something happened.
const AFTER: Duration = Duration::from_secs(2);

#[derive(Default)]
pub struct Standing {
    /// A person did something: until then what was left before is worth more.
    touched: bool,
    due: Option<Instant>,
    last: Option<(Arc<SessionSpec>, SavedView)>,
    /// A disk may be slow, and nobody waits for it.
    writing: Option<JoinHandle<()>>,
}

impl Standing {
    /// What happens in this turn of the loop.
    pub fn hear(&mut self, messages: &[Message]) {
        use Message as M;
        let by_hand = |message: &M| {
            matches!(message, M::KeyPressed(_) | M::Pasted(_) | M::Clicked(_) | M::Dragged(_) | M::Turned { .. })
        };
        self.touched |= messages.iter().any(by_hand);
        if self.touched && !messages.is_empty() {
            self.due.get_or_insert(Instant::now() + AFTER);
        }
    }

    /// When [`keep`](Self::keep) has something to do.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Called when all of the turn has happened.
    pub fn keep(&mut self, folder: &Path, state: &State) {
        let now = Instant::now();
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        // One write at a time: the last one is the one that stays. A view that is only half taken up is none.
        let busy = self.writing.as_ref().is_some_and(|writing| !writing.is_finished());
        let later = busy || state.takes_up_a_view();
        self.due = later.then_some(now + AFTER);
        let view = SavedView::of(state).filter(|_| !later).map(|view| (state.spec.clone(), view));
        if let Some((spec, view)) = view.filter(|view| self.last.as_ref() != Some(view)) {
            self.last = Some((spec.clone(), view.clone()));
            let folder = folder.to_path_buf();
            self.writing = Some(task::spawn_blocking(move || {
                if let Err(error) = remembered::keep_left(&folder, &spec, &view) {
                    tracing::warn!("{error}");
                }
            }));
        }
    }

    /// What is being written is there.
    pub async fn settled(&mut self) {
        if let Some(writing) = self.writing.take() {
            // It said itself what went wrong.
            let _ = writing.await;
        }
    }
}
