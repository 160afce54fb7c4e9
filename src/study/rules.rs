//! The model compressed by several rules of equal sparsity: what each leaves of the latents.

use std::path::PathBuf;

use prunelens_core::{
    error::{Error, Result},
    progress::Tick,
    prune::masks,
    sae::Knob,
    session::{Compress, Session, SessionSpec},
    text::safe,
};
use prunelens_metrics::{
    Estimate, Job, Metric, Probe, Step,
    atlas::{Atlas, AtlasJob, AtlasOptions},
    fingerprint,
    study::{
        self, Rows,
        rules::{RuleFigures, Survival, survival},
    },
    sweep::{Mode, SweepJob, SweepOptions, SweepSpec},
};
use serde::Serialize;
use serde_json::json;

use super::cells::{cell, of, plain};
use crate::output::{self, ProgressLine};

/// What is asked for.
pub struct RulesSpec {
    /// Which SAE, and of which model.
    pub session: SessionSpec,
    pub rules: Vec<Compress>,
    /// Rows of text to measure on.
    pub rows: Option<usize>,
    /// Tokens in a row.
    pub context: Option<usize>,
    /// The folder, for the cells.
    pub out: PathBuf,
}

/// What a study of rules will take.
pub struct RulesPlan {
    /// The rules, and whether they are measured already.
    pub rules: Vec<(Compress, bool)>,
    /// Of any one of them, but for the making of its copy.
    pub estimate: Estimate,
}

/// What a rule leaves.
#[derive(Clone, Debug, Serialize)]
pub struct Rule {
    pub rule: String,
    pub figures: RuleFigures,
    pub survival: Survival,
}

/// What a study of rules finds.
#[derive(Clone, Debug, Serialize)]
pub struct RulesReport {
    pub model: String,
    pub sae: String,
    pub hook: String,
    pub criterion: String,
    /// At which the SAE is pruned.
    pub ratio: f64,
    pub rows: usize,
    pub positions: u64,
    pub text: String,
    pub rules: Vec<Rule>,
}

const FIGURES: &str = "figures.json";

impl RulesSpec {
    /// What is there, by its name, and what a rule takes.
    pub fn plan(&self, tick: Tick) -> Result<RulesPlan> {
        let session = self.session_of(&Compress::None)?;
        let probe = Probe::measure(&session, tick)?;
        let sweep = SweepOptions {
            variants: study::VARIANTS.to_vec(),
            ratios: vec![session.setting.at],
            rows: self.rows,
            context: self.context,
            ..SweepOptions::default()
        };
        let latents = probe.estimate(&AtlasJob::cost(&session, &self.options(&session))?);
        let curve = probe.estimate(&SweepJob::cost(&session, &sweep)?);
        let estimate = Estimate {
            passes: latents.passes + curve.passes,
            seconds: latents.seconds.zip(curve.seconds).map(|(a, b)| a + b),
            bytes: latents.bytes.max(curve.bytes),
            ..latents
        };
        let there = |rule: &Compress| {
            let folder = self.folder(rule);
            folder.join(FIGURES).is_file() && Atlas::open(&folder).is_ok()
        };
        Ok(RulesPlan { rules: self.rules.iter().map(|rule| (rule.clone(), there(rule))).collect(), estimate })
    }

    /// Measure what is not measured yet.
    pub fn measure(&self, tick: Tick) -> Result<RulesReport> {
        let (mut figures, mut atlases) = (Vec::new(), Vec::new());
        let mut about = None;
        for rule in &self.rules {
            let session = self.session_of(rule)?;
            let Knob::Ratio(criterion) = session.setting.knob else {
                return Err(Error::Usage("study rules prunes the SAE by --ratio; leave --knob out".into()));
            };
            let measured = self.cell(rule, &session, tick)?;
            about.get_or_insert_with(|| {
                let names =
                    (safe(&session.models.original.name), safe(&session.sae.config.name), session.hook.to_string());
                (names, criterion.name(), session.setting.at)
            });
            figures.push((rule.to_string(), measured.0));
            atlases.push(measured.1);
        }
        let Some(((model, sae, hook), criterion, ratio)) = about else {
            return Err(Error::Usage("--rules is empty: name at least one".into()));
        };
        let survived = survival(&atlases, 0)?;
        let about = &atlases[0].about;
        Ok(RulesReport {
            model,
            sae,
            hook,
            criterion: criterion.to_owned(),
            ratio,
            rows: about.rows,
            positions: about.positions,
            text: about.text.clone(),
            rules: figures
                .into_iter()
                .zip(survived)
                .map(|((rule, figures), survival)| Rule { rule, figures, survival })
                .collect(),
        })
    }

    fn session_of(&self, rule: &Compress) -> Result<Session> {
        let spec = SessionSpec { compress: rule.clone(), ..self.session.clone() };
        Session::load(&spec, &mut output::listener())
    }

    /// What is asked of the latents.
    fn options(&self, session: &Session) -> AtlasOptions {
        AtlasOptions {
            ratios: vec![session.setting.at],
            rows: self.rows,
            context: self.context,
            importance_rows: Some(0),
            ..AtlasOptions::default()
        }
    }

    fn folder(&self, rule: &Compress) -> PathBuf {
        self.out.join("cells").join(plain(&rule.to_string()))
    }

    /// One rule's cell: its figures, and the atlas of its latents.
    fn cell(&self, rule: &Compress, session: &Session, tick: Tick) -> Result<(RuleFigures, Atlas)> {
        let rows = study::rows(session, self.rows, self.context)?;
        let about = of(json!({ "session": fingerprint::of_session(session), "rows": rows.digest() }))?;
        let folder = self.folder(rule);
        let mut line = ProgressLine::new();
        // Both parts have to be there.
        let kept = Atlas::open(&folder).ok().filter(|atlas| atlas.about.tokens_sha256 == rows.digest());
        let path = folder.join(FIGURES);
        let mut fresh = None;
        let figures = cell(&path, &about, || {
            fresh = Some(self.atlas(session, rule, &mut line, tick)?);
            figures(session, &rows, rule, &mut line, tick)
        })?;
        let atlas = match (fresh, kept) {
            (Some(atlas), _) => atlas,
            (None, Some(atlas)) => atlas,
            (None, None) => self.atlas(session, rule, &mut line, tick)?,
        };
        Ok((figures, atlas))
    }

    fn atlas(&self, session: &Session, rule: &Compress, line: &mut ProgressLine, tick: Tick) -> Result<Atlas> {
        let mut job = AtlasJob::new(session, &self.options(session))?;
        while job.step(tick)? == Step::More {
            line.line(|| format!("latents  {rule}  {:3.0} %", 100.0 * job.progress().share()));
        }
        let folder = self.folder(rule);
        job.finish(&folder)?;
        Atlas::open(&folder)
    }
}

fn figures(
    session: &Session,
    rows: &Rows,
    rule: &Compress,
    line: &mut ProgressLine,
    tick: Tick,
) -> Result<RuleFigures> {
    let Knob::Ratio(criterion) = session.setting.knob else {
        return Err(Error::Usage("study rules prunes the SAE by --ratio".into()));
    };
    let at = [session.setting.at];
    let sweep = SweepSpec::new(Mode::Masked, Knob::Ratio(criterion), &at, &[criterion], session.sae.d_in())?;
    let mut listen =
        |done, total| line.line(|| format!("measuring  {rule}  {:3.0} %", 100.0 * done as f64 / total as f64));
    Ok(RuleFigures {
        zeros: masks::zeros(&session.models.pruned)?,
        curves: study::curve(session, &sweep, rows, &mut listen, tick)?,
    })
}
