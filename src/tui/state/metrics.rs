//! What of the Metrics screen is chosen: a job or run, and which view of it.

use prunelens_metrics::MetricTable;

use crate::tui::state::{Chosen, State};

/// A way to look at a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Figures x variants.
    Figures,
    /// Bars, one a layer, of runs that differ in their layer only.
    Layers,
    /// The run beside the one marked for comparing.
    Compare,
    /// A table or chart of the family's own.
    Detail(usize),
}

/// Where the Metrics screen is.
#[derive(Clone, Debug, Default)]
pub struct MetricsView {
    /// Row of the list: jobs first, then earlier runs.
    pub row: usize,
    /// Among [`State::views`].
    pub view: usize,
    pub scroll: usize,
    /// The figure that bars show, among the table's rows.
    pub figure: usize,
    /// The row that others are compared with.
    pub beside: Option<usize>,
    /// It was opened from a study, and goes back there.
    pub from_study: bool,
}

/// One bar of the view by layers.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer<'a> {
    pub hook: &'a str,
    pub table: &'a MetricTable,
}

impl State {
    pub fn rows_of_metrics(&self) -> usize {
        self.jobs.len() + self.past.len()
    }

    pub fn row_of_metrics(&self, row: usize) -> Option<Chosen<'_>> {
        let run = || self.past.get(row.checked_sub(self.jobs.len())?).map(Chosen::Run);
        self.jobs.get(row).map(Chosen::Job).or_else(run)
    }

    pub fn chosen(&self) -> Option<Chosen<'_>> {
        self.row_of_metrics(self.metrics.row)
    }

    /// The run that the chosen one is compared with, if they can be.
    pub fn beside(&self) -> Option<Chosen<'_>> {
        let beside = self.metrics.beside.filter(|row| *row != self.metrics.row)?;
        let (other, chosen) = (self.row_of_metrics(beside)?, self.chosen()?);
        let (a, b) = (other.table()?, chosen.table()?);
        (a.metric == b.metric).then_some(other)
    }

    /// Views that the chosen run has.
    pub fn views(&self) -> Vec<View> {
        let details = self.chosen().map_or(0, |chosen| chosen.details().len());
        let mut views = vec![View::Figures];
        if self.beside().is_some() {
            views.push(View::Compare);
        }
        if self.layers().len() > 1 {
            views.push(View::Layers);
        }
        views.extend((0..details).map(View::Detail));
        views
    }

    pub fn view(&self) -> View {
        self.views().get(self.metrics.view).copied().unwrap_or(View::Figures)
    }

    /// Runs that differ from the chosen one in their hook only, by layer; the newest of each.
    pub fn layers(&self) -> Vec<Layer<'_>> {
        let table = self.chosen().and_then(Chosen::table).filter(|table| setting(table, HOOK).is_some());
        let Some(table) = table else { return Vec::new() };
        let mut layers: Vec<Layer> = Vec::new();
        let chosen = std::iter::once(self.metrics.row);
        for row in chosen.chain((0..self.rows_of_metrics()).filter(|row| *row != self.metrics.row)) {
            let Some(other) = self.row_of_metrics(row).and_then(Chosen::table) else { continue };
            let Some(hook) = setting(other, HOOK) else { continue };
            if is_sibling(table, other) && layers.iter().all(|l| l.hook != hook) {
                layers.push(Layer { hook, table: other });
            }
        }
        layers.sort_by_key(|layer| (number(layer.hook), layer.hook));
        layers
    }
}

const HOOK: &str = "hook";

fn setting<'a>(table: &'a MetricTable, name: &str) -> Option<&'a str> {
    table.settings.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

/// The same metric on the same text with the same settings, whatever the hook.
fn is_sibling(a: &MetricTable, b: &MetricTable) -> bool {
    let rest = |t: &MetricTable| t.settings.iter().filter(|(name, _)| name != HOOK).cloned().collect::<Vec<_>>();
    a.metric == b.metric && a.variants == b.variants && rest(a) == rest(b)
}

/// The layer in a hook's name.
fn number(hook: &str) -> u64 {
    hook.split('.').find_map(|part| part.parse().ok()).unwrap_or(u64::MAX)
}
