//! What a study's results say together, as Markdown, as one page of HTML with its charts in it, and as data.

mod curves;
mod data;
mod paper;
mod parts;
mod tables;

use prunelens_core::error::Result;

use self::parts::{Parts, html, markdown};
use crate::study::{
    Study,
    decide::{Decided, Rules, decide},
    results::Results,
};

/// Everything that the pages are made of.
pub struct Report<'a> {
    /// Of the study: its file's.
    pub name: String,
    pub rules: Rules,
    pub results: &'a Results,
    pub decided: Vec<Decided>,
}

impl<'a> Report<'a> {
    pub fn of(study: &Study, results: &'a Results) -> Self {
        let file = &study.file.origin.file;
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let rules = study.file.decide;
        Self { name, rules, results, decided: decide(results, &rules) }
    }

    /// All files, by name.
    pub fn files(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let title = format!("Study {}", self.name);
        let mut parts = Parts::default();
        self.write(&mut parts);
        let mut files = vec![
            ("report.md".to_owned(), markdown(&title, &parts).into_bytes()),
            ("report.html".to_owned(), html(&title, &parts).into_bytes()),
        ];
        files.extend(parts.charts().map(|(name, svg)| (name.to_owned(), svg.as_bytes().to_vec())));
        files.extend(data::files(self)?);
        Ok(files)
    }

    fn write(&self, out: &mut Parts) {
        let (measured, missing) = (self.results.measured.len(), self.results.missing.len());
        out.text(match missing {
            0 => format!("All {measured} cells are measured."),
            _ => format!("{measured} of {} cells are measured; the others are listed at the end.", measured + missing),
        });
        let elsewhere = self.results.measured.iter().filter(|cell| cell.elsewhere).count();
        if elsewhere > 0 {
            out.text(format!(
                "{elsewhere} of them were measured on another machine or by another version of the program; they are of the same as \
                 far as it can be told here."
            ));
        }
        parts::decisions(self, out);
        for session in self.results.sessions() {
            out.heading(2, format!("{}, compressed by {}", session.name, session.compress));
            tables::write(&session, out);
            curves::write(self, &session, out);
            paper::write(&session, out);
        }
        parts::missing(self.results, out);
        parts::method(self, out);
    }
}
