//! The atlas on screen: which figures are laid against each other, what is filtered, and which latents are listed.

pub mod axis;
mod drawn;

use std::sync::Arc;

pub use drawn::{BINS, Bin, Drawn, FATES, bin};
use prunelens_metrics::{
    RunFile,
    atlas::{Atlas, Fate},
};

use super::{JobState, SavedAtlas, State};
use crate::export::table::short;

/// Bins from one corner to the other, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    pub from: (u16, u16),
    pub to: (u16, u16),
}

impl Region {
    /// Between two corners, whichever they are.
    pub fn between(a: (u16, u16), b: (u16, u16)) -> Self {
        Self { from: (a.0.min(b.0), a.1.min(b.1)), to: (a.0.max(b.0), a.1.max(b.1)) }
    }
}

/// Latents that have something to do with what was looked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Only {
    pub why: String,
    pub latents: Vec<u32>,
}

/// What the plot's place shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Look {
    #[default]
    Plot,
    /// How many latents have which fate at each ratio.
    Fates,
}

/// Ratios of the grid, and how many latents have which fate at each.
pub type ByRatio = Vec<(f64, [usize; FATES])>;

#[derive(Clone, Debug)]
pub struct AtlasView {
    /// What is wanted on screen, and what was asked for last.
    pub wanted: Option<RunFile>,
    pub asked: Option<(u64, RunFile)>,
    pub waiting: bool,
    pub atlas: Option<Arc<Atlas>>,
    pub by_ratio: Arc<ByRatio>,
    /// Columns: across, up, and the one that the list is ordered by.
    pub across: usize,
    pub up: usize,
    pub rank: usize,
    pub ascending: bool,
    pub fate: Option<Fate>,
    pub only: Option<Only>,
    pub region: Option<Region>,
    /// The cross, and the corner from which a region is being drawn.
    pub cursor: (u16, u16),
    pub anchor: Option<(u16, u16)>,
    /// Where the mouse was pressed, for a drag.
    pub held: Option<(u16, u16)>,
    pub look: Look,
    /// The list has the keys, not the plot.
    pub in_list: bool,
    /// Of the lists that are worth a look, the one taken last.
    pub list: usize,
    pub drawn: Option<Arc<Drawn>>,
    /// How a view has it, until it is read.
    pub saved: Option<SavedAtlas>,
}

impl Default for AtlasView {
    fn default() -> Self {
        Self {
            wanted: None,
            asked: None,
            waiting: false,
            atlas: None,
            by_ratio: Arc::default(),
            across: 0,
            up: 0,
            rank: 0,
            ascending: false,
            fate: None,
            only: None,
            region: None,
            cursor: (BINS.0 / 2, BINS.1 / 2),
            anchor: None,
            held: None,
            look: Look::Plot,
            in_list: true,
            list: 0,
            drawn: None,
            saved: None,
        }
    }
}

impl AtlasView {
    /// Another atlas: density against the ratio of death, the first to die first.
    pub fn show(&mut self, atlas: Arc<Atlas>) {
        let at = |name: &str| atlas.columns.iter().position(|(column, _)| column == name).unwrap_or(0);
        let (wanted, asked, saved) = (self.wanted.take(), self.asked.take(), self.saved.take());
        let (across, up) = (at("density.original"), at("dies_half"));
        let by_ratio = Arc::new(atlas.fates_by_ratio());
        let ascending = !atlas.about.descends();
        *self = Self { wanted, asked, saved, across, up, rank: up, ascending, by_ratio, ..Self::default() };
        self.atlas = Some(atlas);
        self.refresh();
    }

    /// Count and list anew, after something was chosen.
    pub fn refresh(&mut self) {
        self.drawn = self.atlas.as_ref().map(|atlas| Arc::new(Drawn::new(atlas, self)));
    }

    /// The bin of a latent on the two axes, whether it passes the filters or not.
    pub fn place(&self, latent: u32) -> Option<(u16, u16)> {
        let (atlas, drawn) = (self.atlas.as_ref()?, self.drawn.as_ref()?);
        let value = |at: usize| {
            let (name, values) = atlas.columns.get(at)?;
            let value = *values.get(latent as usize)?;
            let lives = axis::is_death(name) && value.is_nan();
            let fires =
                atlas.column("mass.transfer").and_then(|mass| mass.get(latent as usize)).is_some_and(|m| *m > 0.0);
            Some(if lives && fires { axis::outlives(atlas) } else { value })
        };
        let x = drawn.x.share(value(self.across)?, latent)?;
        let y = drawn.y.share(value(self.up)?, latent.wrapping_add(1))?;
        Some(bin(x, y))
    }

    /// What the filters leave, in words.
    pub fn filters(&self) -> Vec<String> {
        let mut out: Vec<String> = self.fate.iter().map(|fate| fate.name().to_owned()).collect();
        out.extend(self.only.iter().map(|only| format!("{} latents: {}", only.latents.len(), only.why)));
        if let (Some(region), Some(drawn)) = (self.region, &self.drawn) {
            let side = |axis: &axis::Axis, from: u16, to: u16, n: u16| {
                let end = |bin: u16| short(axis.value(f64::from(bin) / f64::from(n)));
                format!("{} {} to {}", axis.name, end(from), end(to + 1))
            };
            out.push(side(&drawn.x, region.from.0, region.to.0, BINS.0));
            out.push(side(&drawn.y, region.from.1, region.to.1, BINS.1));
        }
        out
    }

    /// Name of a column.
    pub fn name(&self, at: usize) -> &str {
        self.atlas.as_ref().and_then(|atlas| atlas.columns.get(at)).map_or("", |(name, _)| name)
    }
}

impl State {
    /// The first file of the newest atlas of this session: of a job that is done, else of an earlier run.
    pub fn newest_atlas(&self) -> Option<RunFile> {
        let label = self.info.as_ref().map(|info| info.label());
        let of_job = self.jobs.iter().rev().filter(|job| job.is_here()).find_map(|job| match &job.state {
            JobState::Done { files, .. } if job.spec.family == "atlas" => files.first().cloned(),
            _ => None,
        });
        let run =
            || self.past.runs.iter().find(|run| run.spec.family == "atlas" && Some(&run.session) == label.as_ref());
        of_job.or_else(|| run()?.results().next())
    }
}
