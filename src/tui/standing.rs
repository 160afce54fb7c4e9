//! Where a session stands is kept while it is used: a kill that nothing answers takes no more than its last moments.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use crossterm::event::Event;
use tokio::task::{self, JoinHandle};

use super::{
    remembered,
    state::{SavedView, State},
};

/// How long after something happened.
const AFTER: Duration = Duration::from_secs(2);

#[derive(Default)]
pub struct Standing {
    /// A person did something: until then what was left before is worth more.
    touched: bool,
    due: Option<Instant>,
    last: Option<SavedView>,
    /// A disk may be slow, and nobody waits for it.
    writing: Option<JoinHandle<()>>,
}

impl Standing {
    /// What came from the terminal.
    pub fn touch(&mut self, event: &Event) {
        self.touched |= matches!(event, Event::Key(_) | Event::Mouse(_) | Event::Paste(_));
    }

    /// When [`keep`](Self::keep) has something to do.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Called at every turn of the loop; something happened in this one, or not.
    pub fn keep(&mut self, folder: &Path, state: &State, happened: bool) {
        let now = Instant::now();
        match self.due {
            None if happened && self.touched => self.due = Some(now + AFTER),
            Some(due) if due <= now => {
                // One write at a time: the last one is the one that stays.
                let busy = self.writing.as_ref().is_some_and(|writing| !writing.is_finished());
                self.due = busy.then_some(now + AFTER);
                if !busy {
                    self.write(folder, state);
                }
            }
            _ => {}
        }
    }

    fn write(&mut self, folder: &Path, state: &State) {
        let Some(view) = SavedView::of(state).filter(|view| self.last.as_ref() != Some(view)) else { return };
        self.last = Some(view.clone());
        let (folder, spec) = (folder.to_path_buf(), state.spec.clone());
        self.writing = Some(task::spawn_blocking(move || {
            if let Err(error) = remembered::keep_left(&folder, &spec, &view) {
                tracing::warn!("{error}");
            }
        }));
    }

    /// What is being written is there.
    pub async fn settled(&mut self) {
        if let Some(writing) = self.writing.take() {
            // It said itself what went wrong.
            let _ = writing.await;
        }
    }
}
