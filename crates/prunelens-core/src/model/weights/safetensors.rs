//! Safetensors headers, checked by the `safetensors` crate against the file's size.

use std::path::Path;

use safetensors::SafeTensors;

use super::{Bytes, Entry, Kind, Shard, Weights};
use crate::{
    error::{Error, Result},
    text::shorten,
};

impl Weights {
    pub(super) fn add_safetensors(&mut self, path: &Path, bytes: Bytes) -> Result<()> {
        let read = |bytes: &[u8]| {
            SafeTensors::read_metadata(bytes).map_err(|e| {
                let why = shorten(&e.to_string(), 200);
                let start = &bytes[..bytes.len().min(64)];
                let text =
                    start.first() != Some(&b'{') && start.iter().all(|b| matches!(b, b'\t'..=b'\r' | b' '..=b'~'));
                let advice = match super::what_else(start) {
                    "" if text && !start.is_empty() => "; it is a text file",
                    "" => "; fetch it again",
                    what => what,
                };
                Error::file(path, format!("not a whole safetensors file ({why}){advice}"))
            })
        };
        let (len, metadata) = match &bytes {
            Bytes::Static(bytes) => read(bytes)?,
            Bytes::Memory(bytes) => read(bytes)?,
            Bytes::File(file) => {
                // SAFETY: the map lives only while the header is parsed; a file cut short in that moment would end the
                // program with SIGBUS, which no reader of mapped files can prevent. Data is read with ordinary reads.
                let map = unsafe { memmap2::Mmap::map(file) }.map_err(|e| Error::io(path, e))?;
                read(&map)?
            }
        };
        for (name, info) in metadata.tensors() {
            let (start, end) = info.data_offsets;
            let Some(kind) = Kind::of_safetensors(info.dtype) else {
                self.unread.insert(name, format!("{:?}", info.dtype));
                continue;
            };
            let start_in_file = 8 + len as u64 + start as u64;
            let (shard, shape) = (self.shards.len(), info.shape.clone());
            let entry = Entry { shard, kind, shape, strides: None, start: start_in_file, len: end - start };
            self.enter(path, name, entry)?;
        }
        self.shards.push(Shard { path: path.to_path_buf(), bytes });
        Ok(())
    }
}
