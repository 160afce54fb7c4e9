//! An atlas as a job on what a session has loaded, batch by batch.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use prunelens_core::{
    digest::{fnv1a_of, sha256},
    error::{Error, Result},
    model::ragged::reads_ragged,
    progress::Tick,
    sae::{Knob, Scale},
    session::Session,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    AtlasOptions, Fate, RATIOS, Spec, blocks, columns, files,
    options::{PARAMS, cost, default_traced},
    read::Batch,
    readers::Readers,
    summary,
    sums::Sums,
};
use crate::{
    Cost, Detail, Metric, MetricTable, Param,
    core::{CoreOptions, job as core, options::BATCH},
    fingerprint,
    job::{Job, JobProgress, Step, from_bytes, to_bytes},
    readers::{Names, setting},
};

/// An atlas under way.
pub struct AtlasJob {
    session: Session,
    spec: Spec,
    rows: Vec<Vec<u32>>,
    special: HashSet<u32>,
    /// Made by the first step.
    readers: Option<Readers>,
    /// Rows that are in the sums.
    done: usize,
    sums: Sums,
}

#[derive(Serialize, Deserialize)]
struct State<S> {
    /// Which atlas it is of.
    of: u64,
    done: usize,
    sums: S,
}

impl Metric for AtlasJob {
    const NAME: &'static str = "atlas";
    const TITLE: &'static str = "Every latent of the dictionary over a corpus: what pruning makes of it";
    const PARAMS: &'static [Param] = PARAMS;
    type Options = AtlasOptions;

    fn cost(session: &Session, options: &AtlasOptions) -> Result<Cost> {
        Ok(cost(session, options))
    }

    /// Read the text and check what was asked for; ranks and matches come with the first step.
    fn new(session: &Session, options: &AtlasOptions) -> Result<Self> {
        let setting = setting(session, options.knob, options.ratio, options.criterion)?;
        let ratios = grid(setting.knob.scale(session.sae.d_in()), &options.ratios)?;
        let batch = options.batch.unwrap_or(BATCH);
        if options.rows == Some(0) || batch == 0 {
            return Err(Error::Usage("--rows and --batch must be at least 1".into()));
        }
        // Rows are independent of each other: the last batch may be smaller.
        let wanted = CoreOptions {
            text: options.text.clone(),
            rows: options.rows,
            context: options.context,
            batch: Some(1),
            ..CoreOptions::default()
        };
        let (core, rows) = core::rows(session, &wanted)?;
        let special = session.models.tokenizer.specials();
        let tokens = rows.len().saturating_mul(core.context_size);
        if u32::try_from(tokens).is_err() {
            return Err(Error::Usage(format!(
                "{tokens} tokens are more than the {} of an atlas; give fewer --rows",
                u32::MAX
            )));
        }
        if rows.iter().flatten().all(|id| special.contains(id)) {
            return Err(Error::invalid(format!(
                "{}: all {tokens} tokens of the rows are BOS, EOS or padding, and none counts; give other text",
                core.dataset
            )));
        }
        let traced = options.importance_rows.unwrap_or(default_traced(core.context_size)).min(rows.len());
        let spec = Spec { setting, batch, context: core.context_size, traced, dataset: core.dataset, ratios };
        let trained = session.trained.as_ref().map_or(0, |trained| trained.d_sae());
        let (d_sae, ratios) = (session.sae.d_sae(), spec.ratios.len());
        let sums = Sums::new(d_sae, trained, ratios, blocks::number(rows.len(), d_sae, ratios));
        Ok(Self { session: session.clone(), spec, rows, special, readers: None, done: 0, sums })
    }
}

/// Settings of the knob as they were given, if they go away from the untouched SAE.
fn grid(scale: Scale, given: &[f64]) -> Result<Vec<f64>> {
    if let Knob::Bits | Knob::Rank = scale.knob {
        let all = if given.is_empty() { scale.grid() } else { given.to_vec() };
        let all = all.into_iter().map(|at| scale.check(at)).collect::<Result<Vec<_>>>()?;
        return match all.windows(2).find(|pair| pair[0] <= pair[1]) {
            None => Ok(all),
            Some(pair) => Err(Error::Usage(format!(
                "--ratios: expected {} to descend, found {} before {}; sort them, each once",
                scale.knob.name(),
                pair[0],
                pair[1]
            ))),
        };
    }
    given.iter().try_for_each(|at| scale.check(*at).map(drop))?;
    ratios(given)
}

/// As they were given, if they ascend.
fn ratios(given: &[f64]) -> Result<Vec<f64>> {
    // -0 is written as 0.
    let ratios: Vec<f64> =
        if given.is_empty() { RATIOS.into() } else { given.iter().map(|ratio| ratio + 0.0).collect() };
    match ratios.windows(2).find(|pair| pair[0] >= pair[1]) {
        None => Ok(ratios),
        Some(pair) if pair[0] == pair[1] => {
            Err(Error::Usage(format!("--ratios: {} is there twice; give each ratio once", pair[0])))
        }
        Some(pair) => Err(Error::Usage(format!(
            "--ratios: expected them to ascend, found {} before {}; sort them",
            pair[0], pair[1]
        ))),
    }
}

impl AtlasJob {
    /// All that makes one atlas another, among those of one session.
    fn fingerprint(&self) -> u64 {
        let bits: Vec<u64> =
            self.spec.ratios.iter().chain([&self.spec.setting.at]).map(|ratio| ratio.to_bits()).collect();
        let trained = self.session.trained.as_ref().map(|trained| trained.config.name.as_str());
        let saes = (&self.session.sae.config.name, trained, self.session.hook.to_string());
        let batches = (self.spec.batch, self.spec.traced);
        fnv1a_of(&(bits, self.spec.setting.knob.to_string(), batches, &self.rows, saes))
    }

    fn settings(&self) -> Vec<(String, String)> {
        let spec = &self.spec;
        let mut settings = Names::of(&self.session).settings();
        let pruned = match spec.setting.knob {
            Knob::Ratio(criterion) => format!("{criterion} at {}", spec.setting.at),
            _ => spec.setting.words(),
        };
        let own = [
            ("text", spec.dataset.clone()),
            ("rows", format!("{} of {} tokens, in batches of {}", self.rows.len(), spec.context, spec.batch)),
            ("positions", format!("{}, and {} special tokens left out", self.sums.positions, self.sums.masked)),
            ("hook", self.session.hook.to_string()),
            ("pruned", pruned),
            ("ratios", spec.ratios.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
            ("importance", format!("{}, by one backward pass each; it holds for small changes only", self.traced())),
        ];
        settings.extend(own.map(|(name, value)| (name.to_owned(), value)));
        settings
    }

    /// What the files are of. Nothing in it changes from run to run.
    fn summary(&self, columns: Vec<&str>) -> Value {
        let (sums, spec) = (&self.sums, &self.spec);
        let fates = columns::fates(sums);
        let count = |fate: Fate| (fate.name().to_owned(), fates.iter().filter(|found| **found == fate).count().into());
        let ids: Vec<u8> = self.rows.iter().flatten().flat_map(|id| id.to_le_bytes()).collect();
        json!({
            "program": concat!("prunelens ", env!("CARGO_PKG_VERSION")),
            "rows": self.rows.len(),
            "context": spec.context,
            "positions": sums.positions,
            "masked": sums.masked,
            "importance_rows": spec.traced,
            "blocks": sums.blocks.len(),
            "predicted": sums.predicted,
            "ce_loss": sums.loss / sums.predicted as f64,
            "d_sae": sums.d_sae(),
            "d_sae_trained": self.session.trained.as_ref().map(|trained| trained.d_sae()),
            "hook": self.session.hook.to_string(),
            "knob": spec.setting.knob.name(),
            "ratio": spec.setting.at,
            "criterion": spec.setting.knob.rule(),
            "ratios": spec.ratios,
            "text": spec.dataset,
            "tokens_sha256": sha256(&ids),
            "fates": Fate::ALL.into_iter().map(count).collect::<Map<_, _>>(),
            "columns": columns,
            "session": fingerprint::of_session(&self.session),
        })
    }

    /// The block of the next row, where there are any, and where its rows end.
    fn block(&self) -> (Option<usize>, usize) {
        let (rows, blocks) = (self.rows.len(), self.sums.blocks.len());
        let end = |block: usize| (block + 1) * rows / blocks;
        match (0..blocks).find(|block| self.done < end(*block)) {
            Some(block) => (Some(block), end(block)),
            None => (None, rows),
        }
    }

    /// Of which rows importance is.
    fn traced(&self) -> String {
        match self.spec.traced == self.rows.len() {
            true => "first order over all rows".into(),
            false => format!("first order over the first {} rows", self.spec.traced),
        }
    }

    fn warnings(&self) -> Vec<String> {
        let moved = "importance is computed in f32 whatever the session runs in";
        if reads_ragged(&self.session.models.original) { Vec::new() } else { vec![moved.into()] }
    }

    /// Tokens done and in all.
    fn tokens(&self) -> (usize, usize) {
        (self.done * self.spec.context, self.rows.len() * self.spec.context)
    }
}

impl Job for AtlasJob {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn step(&mut self, tick: Tick) -> Result<Step> {
        let Some(readers) = &self.readers else {
            self.readers = Some(Readers::new(&self.session, &self.spec, tick)?);
            return Ok(Step::more_if(self.done < self.rows.len()));
        };
        if self.done < self.rows.len() {
            let (block, last) = self.block();
            let end = last.min(self.done + self.spec.batch);
            let traced = self.spec.traced.saturating_sub(self.done);
            let batch = Batch::read(readers, &self.rows[self.done..end], traced, &self.special, tick)?;
            self.sums.add(&batch, block, &readers.matches());
            self.done = end;
        }
        Ok(Step::more_if(self.done < self.rows.len()))
    }

    fn progress(&self) -> JobProgress {
        let note = match &self.readers {
            None => "ranking and matching latents".into(),
            Some(readers) => {
                format!("{} latents, {} ratios", self.sums.d_sae(), readers.ratios.len())
            }
        };
        JobProgress::new(self.tokens(), "tokens", note)
    }

    fn table(&self) -> MetricTable {
        let (done, total) = self.tokens();
        MetricTable {
            metric: Self::NAME.into(),
            settings: self.settings(),
            variants: summary::variants(&self.sums),
            rows: summary::rows(&self.sums),
            warnings: self.warnings(),
            progress: done as f64 / total.max(1) as f64,
            blocks: Vec::new(),
        }
    }

    fn details(&self) -> Vec<Detail> {
        summary::details(&self.sums, &self.spec)
    }

    fn state(&self) -> Result<Vec<u8>> {
        to_bytes(&State { of: self.fingerprint(), done: self.done, sums: &self.sums })
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        let state: State<Sums> = from_bytes(state)?;
        if state.of != self.fingerprint() || state.done > self.rows.len() || !state.sums.fits(&self.sums) {
            return Err(Error::invalid("the saved state is of another atlas; start it anew"));
        }
        (self.done, self.sums) = (state.done, state.sums);
        Ok(())
    }

    /// Three files in `folder`; their names do not tell runs apart, so an earlier atlas of something else is kept under another.
    fn finish(&mut self, folder: &Path) -> Result<Vec<PathBuf>> {
        if self.done < self.rows.len() {
            return Err(Error::invalid("the atlas is not finished"));
        }
        let made;
        let readers = match &self.readers {
            Some(readers) => readers,
            // Only the results of an earlier process have to be written.
            None => {
                made = Readers::new(&self.session, &self.spec, &mut || Ok(()))?;
                &made
            }
        };
        let frame = columns::frame(&self.sums, &self.spec, readers);
        let summary = self.summary(frame.names().collect());
        let blocks = &self.sums.blocks;
        let blocks = (!blocks.is_empty()).then(|| blocks::to_safetensors(blocks, &self.spec.ratios)).transpose()?;
        files::write(folder, &frame, blocks, summary)
    }
}
