//! The curve of a run beside its SAE: `training.jsonl`, one line a report.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use super::trainer::TrainFigures;
use crate::{
    error::{Error, Result},
    files::write_atomic,
};

/// Its name in the folder of the SAE.
pub const FILE: &str = "training.jsonl";

/// Longest file that is read: a hundred times as long as one is written.
const LONGEST: u64 = 64 << 20;

/// A file that grows by a line a report.
#[derive(Debug)]
pub struct Curve {
    path: PathBuf,
    file: File,
    /// Step of the last line.
    last: u64,
}

impl Curve {
    /// In the folder of an SAE, with the reports up to `step` that are there already: a run that goes on from a checkpoint
    /// takes the steps after it again.
    pub fn open(folder: &Path, step: u64) -> Result<Self> {
        let path = folder.join(FILE);
        let kept: String = match step {
            0 => String::new(),
            _ => read(folder).iter().filter(|report| report.step <= step).map(line).collect::<Result<_>>()?,
        };
        write_atomic(&path, kept.as_bytes())?;
        let file = File::options().append(true).open(&path).map_err(|e| Error::io(&path, e))?;
        Ok(Self { path, file, last: step })
    }

    /// One more line, unless there is one of this step.
    pub fn add(&mut self, report: &TrainFigures) -> Result<()> {
        if report.step <= self.last {
            return Ok(());
        }
        self.last = report.step;
        self.file.write_all(line(report)?.as_bytes()).map_err(|e| Error::io(&self.path, e))
    }
}

/// All reports as the file has them.
pub fn text(reports: &[TrainFigures]) -> Result<String> {
    reports.iter().map(line).collect()
}

fn line(report: &TrainFigures) -> Result<String> {
    let json = serde_json::to_string(report).map_err(|e| Error::invalid(format!("a report cannot be written: {e}")))?;
    Ok(json + "\n")
}

/// The reports in the folder of an SAE; none where there is no such file. Lines that are not reports are passed over: the last
/// one may be half written.
pub fn read(folder: &Path) -> Vec<TrainFigures> {
    let Ok(file) = File::open(folder.join(FILE)) else { return Vec::new() };
    let lines = BufReader::new(file.take(LONGEST)).lines().map_while(std::io::Result::ok);
    lines.filter_map(|line| serde_json::from_str(&line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(step: u64) -> TrainFigures {
        TrainFigures {
            step,
            tokens: 10 * step,
            seconds: 0.1 + 0.2,
            tokens_per_second: 1.0,
            loss: 1.0 / 3.0,
            mse: 0.5,
            explained_variance: 0.25,
            l0: 4.0,
            dead: 0.0,
            schedule: 1.0,
            progress: 0.5,
            seconds_left: 1.0,
        }
    }

    #[test]
    fn what_comes_after_a_checkpoint_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut curve = Curve::open(folder.path(), 0).unwrap();
        [2, 4, 6].into_iter().for_each(|step| curve.add(&report(step)).unwrap());
        // A line that a killed process left half written.
        curve.file.write_all(b"{\"step\": 8, \"tok").unwrap();
        assert_eq!(read(folder.path()), [2, 4, 6].map(report));
        let mut curve = Curve::open(folder.path(), 5).unwrap();
        curve.add(&report(6)).unwrap();
        assert_eq!(read(folder.path()), [2, 4, 6].map(report));
        Curve::open(folder.path(), 0).unwrap();
        assert_eq!(read(folder.path()), []);
    }
}
