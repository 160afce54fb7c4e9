//! A recording of the screen under way: it goes to its file frame by frame, so that it takes no memory and a program that is
//! killed leaves what was recorded.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Instant,
};

use prunelens_core::error::{Error, Result};
use ratatui::{buffer::Buffer, layout::Position};

use crate::export::cast::Recording;

pub struct Recorder {
    recording: Recording<File>,
    path: PathBuf,
    since: Instant,
}

impl Recorder {
    /// To a file that must not be there yet.
    pub fn begin(path: &Path, size: (u16, u16)) -> Result<Self> {
        let refused = |e| Error::io(path, e);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        }
        let file = File::options().write(true).create_new(true).open(path).map_err(refused)?;
        let recording = Recording::new(file, size, "prunelens").map_err(refused)?;
        Ok(Self { recording, path: path.to_path_buf(), since: Instant::now() })
    }

    /// The screen as it is now.
    pub fn frame(&mut self, buffer: &Buffer, cursor: Option<Position>) -> Result<()> {
        let seconds = self.since.elapsed().as_secs_f64();
        self.recording.frame(seconds, buffer, cursor).map_err(|source| {
            let why = format!("the recording ends here, as it cannot be written: {source}");
            Error::file(&self.path, why)
        })
    }

    /// Its file, whole and on disk.
    pub fn end(self) -> Result<PathBuf> {
        let (file, bytes) = self.recording.finish();
        // A line that found no room goes.
        let ended = file.set_len(bytes).and_then(|()| file.sync_all());
        ended.map(|()| self.path.clone()).map_err(|e| Error::io(&self.path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_recorded_is_in_the_file_at_any_moment() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("casts/a.cast");
        let mut recorder = Recorder::begin(&path, (5, 1)).unwrap();
        assert!(Recorder::begin(&path, (5, 1)).is_err(), "it is there already");
        for (line, lines) in [("abcde", 2), ("fghij", 3), ("fghij", 3)] {
            recorder.frame(&Buffer::with_lines([line]), None).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), lines);
        }
        assert_eq!(recorder.end().unwrap(), path);
    }
}
