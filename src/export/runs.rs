//! A metric run, and one beside it, as JSON, CSV and Markdown.

use prunelens_metrics::{Detail, JobSpec, MetricTable};
use serde_json::{Value, json};

use super::{Document, details, table};
use crate::safe;

/// A run with everything it has to show.
#[derive(Clone, Debug)]
pub struct RunFigures {
    pub spec: JobSpec,
    /// What it was measured on, in a few words.
    pub session: String,
    pub table: MetricTable,
    pub details: Vec<Detail>,
    /// The run it is compared with, and what that one was measured on.
    pub beside: Option<(String, MetricTable)>,
}

impl RunFigures {
    /// Stem of its files: the metric's name.
    pub fn name(&self) -> String {
        let name: String = self.spec.family.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        if name.is_empty() { "metrics".into() } else { name }
    }

    pub fn documents(&self) -> Vec<Document> {
        // A value of plain numbers and strings always serialises.
        let json = serde_json::to_string_pretty(&self.json()).unwrap_or_default() + "\n";
        let document = |extension: &str, text: String| Document { extension: extension.to_owned(), text };
        let mut documents =
            vec![document("json", json), document("csv", table::csv(&self.table)), document("md", self.markdown())];
        let details = self.details.iter().enumerate();
        documents.extend(details.map(|(at, detail)| document(&format!("detail-{}.csv", at + 1), details::csv(detail))));
        if let Some((_, table)) = &self.beside {
            documents.push(document("beside.csv", table::csv(table)));
        }
        documents
    }

    pub fn json(&self) -> Value {
        let mut object = table::json(&self.table);
        object["params"] = json!(self.spec.params);
        object["session"] = json!(self.session);
        object["details"] = json!(self.details);
        if let Some((session, table)) = &self.beside {
            object["beside"] = table::json(table);
            object["beside"]["session"] = json!(session);
        }
        object
    }

    pub fn markdown(&self) -> String {
        let mut out = table::markdown(&self.table);
        out += &format!("\nMeasured on {}.\n", safe::line(&self.session));
        for detail in &self.details {
            out += &format!("\n{}", details::markdown(detail));
        }
        if let Some((session, table)) = &self.beside {
            out += &format!("\nBeside it, on {}:\n\n{}", safe::line(session), table::markdown(table));
        }
        out
    }
}
