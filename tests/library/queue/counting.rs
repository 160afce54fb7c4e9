//! Jobs made for the purpose.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use prunelens_core::{
    error::{Error, Result},
    progress::Tick,
};
use prunelens_metrics::{
    Cost, Family, Job, JobProgress, JobSpec, Kind, MetricRow, MetricTable, Param, ParamValue, Params, Step,
    job::{from_bytes, to_bytes},
};

use crate::support::Place;

/// Counts in steps, each of a few ticks.
pub struct Count {
    done: u64,
    to: u64,
    /// Depends on every step and on their order.
    sum: u64,
    /// Memory runs out above this batch, whenever the second step is reached.
    batch: u64,
    fits: u64,
    fails_at: Option<u64>,
}

pub const NUMBER: Kind = Kind::Count { least: 0, most: 1 << 40 };

pub const fn number(name: &'static str, default: fn(&prunelens_core::session::Session) -> String) -> Param {
    Param { name, help: "a number", kind: NUMBER, default, of_session: false }
}

pub const PARAMS: &[Param] = &[
    number("to", |_| "40".into()),
    number("batch", |_| "8".into()),
    number("fits", |_| "1000".into()),
    number("fails-at", |_| String::new()),
    number("mebibytes", |_| "0".into()),
    Param { name: "file", help: "a file", kind: Kind::Path, default: |_| String::new(), of_session: false },
];

pub const FAMILIES: &[Family] = &[
    Family {
        name: "count",
        title: "Counts",
        params: PARAMS,
        cost: |_, params| {
            let each = params.get::<u64>("mebibytes")?.unwrap_or(0);
            let bytes = (each << 20).saturating_mul(params.get("batch")?.unwrap_or(8));
            Ok(Some(Cost { tokens: 40, passes: 2.0, bytes, ..Cost::default() }))
        },
        make: |_, params| Ok(Box::new(Count::new(params)?)),
        join: |_, _| Ok(None),
    },
    Family {
        name: "endless",
        title: "Never ends its first step",
        params: &[],
        cost: |_, _| Ok(None),
        make: |_, _| Ok(Box::new(Endless)),
        join: |_, _| Ok(None),
    },
];

impl Count {
    pub fn new(params: &Params) -> Result<Self> {
        let count = |name: &str| params.get::<u64>(name);
        Ok(Self {
            done: 0,
            to: count("to")?.unwrap_or(40),
            sum: 0,
            batch: count("batch")?.unwrap_or(8),
            fits: count("fits")?.unwrap_or(1000),
            fails_at: count("fails-at")?,
        })
    }
}

impl Job for Count {
    fn name(&self) -> &'static str {
        "count"
    }

    fn step(&mut self, tick: Tick) -> Result<Step> {
        for _ in 0..4 {
            tick()?;
            // Work that takes time.
            std::thread::sleep(Duration::from_micros(500));
        }
        if self.done == 1 && self.batch > self.fits {
            return Err(Error::Tensor(candle_core::Error::Msg("CUDA_ERROR_OUT_OF_MEMORY".into())));
        }
        if Some(self.done) == self.fails_at {
            return Err(Error::invalid("the text holds no row"));
        }
        self.done += 1;
        self.sum = self.sum.wrapping_mul(31).wrapping_add(self.done);
        Ok(if self.done >= self.to { Step::Done } else { Step::More })
    }

    fn progress(&self) -> JobProgress {
        JobProgress { done: self.done, total: self.to, unit: "steps", note: String::new() }
    }

    fn table(&self) -> MetricTable {
        let row = MetricRow {
            category: "count".into(),
            name: "sum".into(),
            better: prunelens_metrics::Better::Neither,
            values: vec![Some(self.sum as f64)],
        };
        MetricTable {
            metric: "count".into(),
            variants: vec![prunelens_core::compare::Variant::Original],
            rows: vec![row],
            progress: self.progress().share(),
            ..MetricTable::default()
        }
    }

    fn state(&self) -> Result<Vec<u8>> {
        to_bytes(&(self.done, self.sum))
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        (self.done, self.sum) = from_bytes(state)?;
        Ok(())
    }

    fn finish(&mut self, results: &Path) -> Result<Vec<PathBuf>> {
        prunelens_core::files::create_folder(results)?;
        let path = results.join(format!("count-{}-{}.txt", self.to, self.batch));
        prunelens_core::files::write_atomic(&path, self.sum.to_string().as_bytes())?;
        Ok(vec![path])
    }
}

/// A step that lasts until a tick ends it.
pub struct Endless;

impl Job for Endless {
    fn name(&self) -> &'static str {
        "endless"
    }

    fn step(&mut self, tick: Tick) -> Result<Step> {
        loop {
            tick()?;
            std::thread::yield_now();
        }
    }

    fn progress(&self) -> JobProgress {
        JobProgress { done: 0, total: 1, unit: "steps", note: String::new() }
    }

    fn table(&self) -> MetricTable {
        MetricTable::default()
    }

    fn state(&self) -> Result<Vec<u8>> {
        Ok(vec![1])
    }

    fn restore(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self, _: &Path) -> Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
}

/// What a count gives.
pub fn sum(to: u64) -> String {
    (1..=to).fold(0u64, |sum, n| sum.wrapping_mul(31).wrapping_add(n)).to_string()
}

pub fn count(to: u64) -> JobSpec {
    JobSpec::new("count").with("to", ParamValue::Number(to as f64))
}

pub fn checkpoints(place: &Place) -> Vec<String> {
    let entries = fs::read_dir(place.path("state/jobs")).into_iter().flatten().flatten();
    entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}

pub fn result(place: &Place, name: &str) -> String {
    fs::read_to_string(place.path("results").join(name)).unwrap()
}
