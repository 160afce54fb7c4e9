//! What a script waits for, on stderr: a line that changes on a terminal, elsewhere one line for each wait that is long.

use std::time::{Duration, Instant};

use crate::{
    engine::{JobState, Progress, Report},
    output::{self, ProgressLine},
};

/// From so long on a wait is worth a line.
const LONG: Duration = Duration::from_secs(5);

#[derive(Default)]
pub struct Waits {
    line: ProgressLine,
    /// What is waited for now, since when, and whether it has its line.
    now: Option<(String, Instant, bool)>,
}

impl Waits {
    /// The engine says how far it is.
    pub fn heard(&mut self, report: &Report) {
        let progress = match report {
            Report::Loading(progress) | Report::Opening(progress) => progress.clone(),
            Report::Reading { read, of } => {
                let what = "reading the corpus that texts are from".into();
                Progress { what, done: *read as u64, total: *of as u64, unit: "rows" }
            }
            Report::Job { state: JobState::Running { done, total, unit, .. }, .. } => {
                Progress { what: "running a job".into(), done: *done, total: *total, unit }
            }
            _ => return,
        };
        self.line.show(&progress);
        let Some((_, since, told)) = self.now.as_mut().filter(|(what, ..)| *what == progress.what) else {
            self.now = Some((progress.what, Instant::now(), false));
            return;
        };
        if !*told && !self.line.is_terminal() && since.elapsed() > LONG {
            *told = true;
            let Progress { what, done, total, unit } = &progress;
            let far = if *total > 0 { format!(", {done} of {total} {unit} so far") } else { String::new() };
            output::note(&format!("{what}{far}"));
        }
    }

    /// Nothing is waited for any more.
    pub fn over(&mut self) {
        self.line.clear();
        self.now = None;
    }
}
