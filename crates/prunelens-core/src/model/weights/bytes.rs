//! Where the bytes of a file are, and reading a part of them.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use crate::error::{Error, Result};

/// Where a file's bytes are.
#[derive(Debug)]
pub enum Bytes {
    /// On disk.
    File(File),
    /// Compiled into the program.
    Static(&'static [u8]),
    /// In memory.
    Memory(Vec<u8>),
}

impl Bytes {
    /// A file on disk.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        if file.metadata().map_err(|e| Error::io(path, e))?.is_dir() {
            return Err(Error::file(path, "is a folder; expected a file"));
        }
        Ok(Self::File(file))
    }

    /// How many bytes.
    pub fn size(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => Ok(file.metadata()?.len()),
            Self::Static(bytes) => Ok(bytes.len() as u64),
            Self::Memory(bytes) => Ok(bytes.len() as u64),
        }
    }

    /// Fill `out` with the bytes from `start` on.
    pub fn read_at(&self, out: &mut [u8], start: u64) -> io::Result<()> {
        let slice: &[u8] = match self {
            Self::File(file) => return read_at(file, out, start),
            Self::Static(bytes) => bytes,
            Self::Memory(bytes) => bytes,
        };
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        let from = start.checked_add(out.len()).and_then(|end| slice.get(start..end));
        out.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    /// To be read from the beginning.
    pub fn cursor(&self) -> io::Result<Cursor<'_>> {
        Ok(Cursor { bytes: self, at: 0, len: self.size()? })
    }
}

/// A place in the bytes, for readers that move through them.
#[derive(Clone)]
pub struct Cursor<'a> {
    bytes: &'a Bytes,
    at: u64,
    len: u64,
}

impl Read for Cursor<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = (self.len.saturating_sub(self.at)).min(out.len() as u64) as usize;
        self.bytes.read_at(&mut out[..n], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for Cursor<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(unix)]
pub(crate) fn read_at(file: &File, bytes: &mut [u8], start: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, start)
}

#[cfg(not(unix))]
pub(crate) fn read_at(mut file: &File, bytes: &mut [u8], start: u64) -> io::Result<()> {
    use std::sync::{Mutex, PoisonError};
    // A file has one place that it is read from, and several threads read.
    static PLACE: Mutex<()> = Mutex::new(());
    let _place = PLACE.lock().unwrap_or_else(PoisonError::into_inner);
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(bytes)
}
