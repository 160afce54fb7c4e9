//! How long each step of loading takes, by what is told of it.

use std::time::Instant;

use serde::Serialize;

/// What is going on, and since when.
pub struct Steps {
    now: (String, Instant),
    done: Vec<Step>,
}

/// A step that is over.
#[derive(Debug, PartialEq, Serialize)]
pub struct Step {
    /// As the user is told.
    pub what: String,
    /// Seconds.
    pub s: f64,
}

impl Steps {
    /// What nothing is told of comes first.
    pub fn begin() -> Self {
        Self { now: ("looking for files".into(), Instant::now()), done: Vec::new() }
    }

    /// This is going on now: another step, if it is called otherwise than the last.
    pub fn next(&mut self, what: &str) {
        if self.now.0 == what {
            return;
        }
        let (before, since) = std::mem::replace(&mut self.now, (what.to_owned(), Instant::now()));
        self.done.push(Step { what: before, s: since.elapsed().as_secs_f64() });
    }

    /// All of them, in their order.
    pub fn end(mut self) -> Vec<Step> {
        self.next("");
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_lasts_until_another_is_told() {
        let mut steps = Steps::begin();
        for what in ["reading weights", "reading weights", "ranking"] {
            steps.next(what);
        }
        let steps = steps.end();
        let names: Vec<&str> = steps.iter().map(|step| step.what.as_str()).collect();
        assert_eq!(names, ["looking for files", "reading weights", "ranking"]);
    }
}
