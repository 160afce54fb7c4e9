//! SAEs that differ, trained on the same tokens of the original model and pruned alike: cost of pruning against redundancy.

use std::path::PathBuf;

use prunelens_core::{
    error::Result,
    progress::Tick,
    sae::Criterion,
    session::{Compress, Models, Session, SessionSpec, Source},
    text::safe,
};
use prunelens_metrics::{
    fingerprint,
    study::{
        Rows,
        redundancy::{Likeness, SaeFigures, Setting},
    },
    sweep::SweepSpec,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::cells::{cell, of, plain};
use crate::{
    output::{self, ProgressLine},
    training::{self, Finished, FinishedSae, Outcome, RunSpec},
};

/// What is asked for.
pub struct RedundancySpec<'a> {
    /// SAEs at one hook, two seeds of each setting.
    pub training: RunSpec<'a>,
    /// Model and compression.
    pub session: SessionSpec,
    /// At what the SAEs are pruned.
    pub sweep: SweepSpec,
    pub criterion: Criterion,
    /// Rows of held-out text to measure on, at most.
    pub rows: Option<usize>,
    /// The folder, for the cells.
    pub out: PathBuf,
}

/// How long one was trained.
#[derive(Clone, Debug, Serialize)]
pub struct Trained {
    pub name: String,
    pub tokens: u64,
}

/// What a study of redundancy finds.
#[derive(Clone, Debug, Serialize)]
pub struct RedundancyReport {
    pub model: String,
    pub compression: String,
    pub hook: String,
    pub criterion: String,
    pub rows: usize,
    pub context: usize,
    pub trained: Vec<Trained>,
    pub settings: Vec<Setting>,
    pub saes: Vec<(String, SaeFigures)>,
}

impl RedundancySpec<'_> {
    /// Train, or say what it takes. SAEs are of the original model: what pruning costs them is asked.
    pub fn train(&self, tick: Tick) -> Result<Outcome> {
        let alone = SessionSpec { compress: Compress::None, pruned_model: None, ..self.session.clone() };
        training::run(&self.training, &alone, tick)
    }

    /// Measure every SAE on held-out text, and lay two seeds of each setting beside each other.
    pub fn measure(&self, finished: &Finished, hook: String, tick: Tick) -> Result<RedundancyReport> {
        finished.check()?;
        let models = Models::load(&self.session, &mut output::listener())?;
        output::warn(&models.warnings);
        let (context, mut rows) = training::held_out(&self.training, &models)?;
        rows.truncate(self.rows.unwrap_or(usize::MAX));
        let rows = Rows { rows, context, text: "held-out text".into() };
        let cells = self.out.join("cells");
        let mut line = ProgressLine::new();
        let mut measured: Vec<(&FinishedSae, Value, SaeFigures)> = Vec::new();
        for sae in &finished.saes {
            let session = self.session_of(&models, sae)?;
            let about = of(json!({
                "session": fingerprint::of_session(&session),
                "rows": rows.digest(),
                "context": rows.context,
                "ratios": self.sweep.settings,
            }))?;
            let name = &sae.name;
            let mut listen =
                |done, total| line.line(|| format!("measuring  {name}  {:3.0} %", 100.0 * done as f64 / total as f64));
            let figures = cell(&cells.join(plain(name) + ".json"), &about, || {
                SaeFigures::measure(&session, &self.sweep, &rows, &mut listen, tick)
            })?;
            measured.push((sae, about["session"]["sae"].clone(), figures));
        }
        let mut names: Vec<String> = measured.iter().map(|(sae, ..)| setting(&sae.name)).collect();
        names.dedup();
        let mut settings = Vec::new();
        for name in &names {
            let own: Vec<_> = measured.iter().filter(|(sae, ..)| setting(&sae.name) == *name).collect();
            let likeness = match own[..] {
                [(a, of_a, _), (b, of_b, _), ..] => {
                    line.line(|| format!("matching  {name}"));
                    let path = cells.join(format!("{}--{}.json", plain(&a.name), plain(&b.name)));
                    Some(cell(&path, &of(json!([of_a, of_b]))?, || {
                        Likeness::of(&self.session_of(&models, a)?, &self.session_of(&models, b)?, tick)
                    })?)
                }
                _ => None,
            };
            let figures: Vec<_> = own.iter().map(|(sae, _, figures)| (sae.name.as_str(), figures)).collect();
            settings.extend(Setting::of(name, &figures, likeness));
        }
        let trained = |sae: &FinishedSae| Trained {
            name: sae.name.clone(),
            tokens: sae.report["training"]["tokens"].as_u64().unwrap_or(0),
        };
        Ok(RedundancyReport {
            model: safe(&models.original.name),
            compression: models.compression.clone(),
            hook,
            criterion: self.criterion.name().to_owned(),
            rows: rows.measured(),
            context,
            trained: finished.saes.iter().map(trained).collect(),
            settings,
            saes: measured.into_iter().map(|(sae, _, figures)| (sae.name.clone(), figures)).collect(),
        })
    }

    fn session_of(&self, models: &Models, sae: &FinishedSae) -> Result<Session> {
        let spec = SessionSpec { criterion: self.criterion, ..self.session.clone() };
        let spec = spec.with_sae(Source::Path(sae.folder.clone()));
        Session::with_models(&spec, models.clone(), &mut output::listener())
    }
}

/// Name of an SAE without its seed.
fn setting(name: &str) -> String {
    let is_seed = |part: &&str| part.strip_prefix("seed").is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    name.split('-').filter(|part| !is_seed(part)).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_name_without_its_seed() {
        for (name, expected) in [("k16-d-sae512-seed0", "k16-d-sae512"), ("seed11-l15", "l15"), ("topk-seed2", "topk")]
        {
            assert_eq!(setting(name), expected);
        }
    }
}
