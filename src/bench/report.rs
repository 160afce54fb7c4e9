//! Figures on their way to the reader, each as soon as it is there.

use std::io::Write;

use prunelens_core::error::{Error, Result};
use prunelens_kernels::panics::catch_panic;
use serde::Serialize;
use serde_json::json;

use crate::output;

/// Lines of a table, or one JSON object on one line that grows. What was measured before a run was cut short is there either
/// way; the object then lacks its last brackets.
pub struct Report<'a> {
    out: &'a mut dyn Write,
    json: bool,
    /// What stands before the object's next figure.
    before: &'static str,
    /// The list that is being written.
    list: Option<&'static str>,
    /// Names of the parts that failed.
    failed: Vec<String>,
}

impl<'a> Report<'a> {
    pub fn new(out: &'a mut dyn Write, json: bool) -> Self {
        Self { out, json, before: "{", list: None, failed: Vec::new() }
    }

    fn write(&mut self, text: &str) -> Result<()> {
        self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()).map_err(|e| Error::io("stdout", e))
    }

    /// A figure, or what it was measured on.
    pub fn figure(&mut self, name: &str, value: impl Serialize) -> Result<()> {
        let value = output::json_line(&value)?;
        if !self.json {
            let text = value.trim_matches('"');
            return self.write(&format!("{name:<20} {}\n", if text == "null" { "-" } else { text }));
        }
        let end = if self.list.take().is_some() { "]" } else { "" };
        let before = std::mem::replace(&mut self.before, ", ");
        self.write(&format!("{end}{before}\"{name}\": {value}"))
    }

    /// A figure of a list, and its line in a table.
    pub fn item(&mut self, list: &'static str, value: &impl Serialize, line: &str) -> Result<()> {
        if !self.json {
            return self.line(line);
        }
        let value = output::json_line(value)?;
        if self.list.replace(list) == Some(list) {
            return self.write(&format!(", {value}"));
        }
        let before = std::mem::replace(&mut self.before, ", ");
        self.write(&format!("{before}\"{list}\": [{value}"))
    }

    /// A line of the table alone.
    pub fn line(&mut self, line: &str) -> Result<()> {
        if self.json { Ok(()) } else { self.write(&format!("{line}\n")) }
    }

    /// The outcome of some work of that name; why it failed is noted. Only the user ends the run.
    pub fn attempt<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<Result<T, String>> {
        let why = match catch_panic(work) {
            Ok(Err(Error::Interrupted)) => return Err(Error::Interrupted),
            Ok(Ok(outcome)) => return Ok(Ok(outcome)),
            Ok(Err(error)) => error.to_string(),
            Err(panicked) => panicked,
        };
        self.failed.push(name.into());
        Ok(Err(why))
    }

    /// What some work gives; none if it failed, which then stands in its place.
    pub fn made<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
        match self.attempt(name, work)? {
            Ok(outcome) => Ok(Some(outcome)),
            Err(why) => self.figure(name, json!({ "failed": why })).map(|()| None),
        }
    }

    /// The figure that some work measures.
    pub fn part(&mut self, name: &str, work: impl FnOnce() -> Result<f64>) -> Result<()> {
        match self.made(name, work)? {
            Some(value) => self.figure(name, value),
            None => Ok(()),
        }
    }

    /// The end of the table or object; what failed, if anything did.
    pub fn end(mut self) -> Result<Vec<String>> {
        if self.json {
            let empty = if self.before == "{" { "{" } else { "" };
            let end = if self.list.is_some() { "]" } else { "" };
            self.write(&format!("{empty}{end}}}\n"))?;
        }
        Ok(self.failed)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn reported(json: bool) -> (String, Vec<String>) {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out, json);
        report.figure("on", "a\u{9b}b").unwrap();
        report.part("slider_ms", || Ok(1.5)).unwrap();
        report.part("core", || Err(Error::invalid("out of memory"))).unwrap();
        report.part("rank_s", || panic!("no driver")).unwrap();
        for ms in [1, 2] {
            report.item("kernels", &json!({ "ms": ms }), &format!("kernel {ms}")).unwrap();
        }
        report.figure("rss", None::<f64>).unwrap();
        let failed = report.end().unwrap();
        (String::from_utf8(out).unwrap(), failed)
    }

    #[test]
    fn one_object_on_a_line_with_failures_in_their_places() {
        let (text, failed) = reported(true);
        assert_eq!(failed, ["core", "rank_s"]);
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        assert!(!text.contains('\u{9b}'), "{text:?}");
        let want = json!({
            "on": "a\u{9b}b", "slider_ms": 1.5, "core": { "failed": "out of memory" }, "rank_s": { "failed": "no driver" },
            "kernels": [{ "ms": 1 }, { "ms": 2 }], "rss": null,
        });
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), want);
    }

    #[test]
    fn the_table_says_the_same() {
        let (text, _) = reported(false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "slider_ms            1.5");
        assert!(lines[2].starts_with("core ") && lines[2].contains("out of memory"), "{text}");
        assert_eq!(lines[4..], ["kernel 1", "kernel 2", "rss                  -"]);
    }

    /// Written and flushed at once: a run that is killed leaves what it had.
    #[test]
    fn a_run_cut_short_leaves_what_it_measured() {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out, true);
        report.part("slider_ms", || Ok(1.5)).unwrap();
        report.item("kernels", &1, "").unwrap();
        drop(report);
        let text = String::from_utf8(out).unwrap();
        let value: Value = serde_json::from_str(&(text + "]}")).unwrap();
        assert_eq!(value, json!({ "slider_ms": 1.5, "kernels": [1] }));
    }

    #[test]
    fn only_the_user_ends_a_run() {
        let mut out = Vec::new();
        let stopped = Report::new(&mut out, true).part("core", || Err(Error::Interrupted));
        assert!(matches!(stopped, Err(Error::Interrupted)));
    }
}
