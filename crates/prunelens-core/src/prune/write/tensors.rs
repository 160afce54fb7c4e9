//! Safetensors files copied with some of their values changed: names, shapes and order stay, and types but where they could not
//! hold the new values.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use half::{bf16, f16};
use safetensors::{
    Dtype, SafeTensors,
    tensor::{Metadata, TensorInfo},
};

use super::checkpoint::Edit;
use crate::{
    error::{Error, Result},
    model::weights::read_at,
    text::shorten,
};

enum Bytes {
    File(File),
    Static(&'static [u8]),
}

/// A file to copy, its header read.
pub struct TensorFile {
    path: PathBuf,
    bytes: Bytes,
    /// Everything before the data.
    header: Vec<u8>,
    metadata: Metadata,
}

impl TensorFile {
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        // SAFETY: the map lives only while the header is parsed; nothing can keep another program from cutting the
        // file short in that moment. Data is read with ordinary reads.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| Error::io(path, e))?;
        let (header, metadata) = parse(path, &map)?;
        Ok(Self { path: path.to_path_buf(), bytes: Bytes::File(file), header, metadata })
    }

    /// A file in memory; `name` stands for its path in messages.
    pub fn from_static(name: &str, bytes: &'static [u8]) -> Result<Self> {
        let (header, metadata) = parse(Path::new(name), bytes)?;
        Ok(Self { path: name.into(), bytes: Bytes::Static(bytes), header, metadata })
    }

    /// Copy to `target`, tensor by tensor. The inner error is the target's.
    pub fn copy(&self, target: &Path, edit: Edit) -> Result<io::Result<()>> {
        self.copy_wider(target, &[], edit)
    }

    /// The same with these tensors as `F32` where they are of 16 bits.
    pub fn copy_wider(&self, target: &Path, wider: &[&str], edit: Edit) -> Result<io::Result<()>> {
        let infos = self.infos(wider);
        let file = match self.start(target, &infos) {
            Ok(file) => file,
            Err(e) => return Ok(Err(e)),
        };
        let mut file = BufWriter::new(file);
        for (name, info) in &infos {
            let Some(from) = self.metadata.info(name) else { continue };
            let mut bytes = self.read(from)?;
            if from.dtype != info.dtype {
                bytes = widened(&bytes, from.dtype);
            }
            edit(name, info, &mut bytes)?;
            if let Err(e) = file.write_all(&bytes) {
                return Ok(Err(e));
            }
        }
        Ok(file.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| file.sync_all()))
    }

    /// What the copy holds, in the order of the offsets, which leave no holes.
    fn infos(&self, wider: &[&str]) -> Vec<(String, TensorInfo)> {
        let mut end = 0;
        let mut infos = Vec::new();
        for name in self.metadata.offset_keys() {
            let Some(from) = self.metadata.info(&name) else { continue };
            let halves = wider.contains(&name.as_str()) && matches!(from.dtype, Dtype::F16 | Dtype::BF16);
            let (dtype, times) = if halves { (Dtype::F32, 2) } else { (from.dtype, 1) };
            let start = end;
            end += times * (from.data_offsets.1 - from.data_offsets.0);
            infos.push((name, TensorInfo { dtype, shape: from.shape.clone(), data_offsets: (start, end) }));
        }
        infos
    }

    /// The header, byte for byte where no type has changed.
    fn start(&self, target: &Path, infos: &[(String, TensorInfo)]) -> io::Result<File> {
        let same =
            |(name, info): &(String, TensorInfo)| self.metadata.info(name).is_some_and(|i| i.dtype == info.dtype);
        let mut file = File::create(target)?;
        if infos.iter().all(same) {
            file.write_all(&self.header)?;
        } else {
            let about = self.metadata.metadata().clone();
            file.write_all(&header(&Metadata::new(about, infos.to_vec()).map_err(io::Error::other)?)?)?;
        }
        Ok(file)
    }

    fn read(&self, info: &TensorInfo) -> Result<Vec<u8>> {
        let (start, end) = (self.header.len() + info.data_offsets.0, self.header.len() + info.data_offsets.1);
        match &self.bytes {
            // The header was checked against the length.
            Bytes::Static(all) => Ok(all[start..end].to_vec()),
            Bytes::File(file) => {
                let mut bytes = vec![0; end - start];
                read_at(file, &mut bytes, start as u64).map_err(|e| Error::io(&self.path, e))?;
                Ok(bytes)
            }
        }
    }
}

/// A file's beginning: the length of what follows, and names, types, shapes and places.
pub(super) fn header(metadata: &Metadata) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(metadata)?;
    text.resize(text.len().next_multiple_of(8), b' ');
    Ok([&(text.len() as u64).to_le_bytes()[..], &text].concat())
}

/// The same values as `F32`.
fn widened(halves: &[u8], dtype: Dtype) -> Vec<u8> {
    let value =
        |bits: u16| if dtype == Dtype::BF16 { bf16::from_bits(bits).to_f32() } else { f16::from_bits(bits).to_f32() };
    halves.chunks_exact(2).flat_map(|half| value(u16::from_le_bytes([half[0], half[1]])).to_le_bytes()).collect()
}

fn parse(path: &Path, bytes: &[u8]) -> Result<(Vec<u8>, Metadata)> {
    let (len, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| {
        Error::file(path, format!("not a whole safetensors file ({}); fetch it again", shorten(&e.to_string(), 200)))
    })?;
    Ok((bytes[..8 + len].to_vec(), metadata))
}

/// A float type of a file.
pub struct Floats {
    width: usize,
    write: fn(f32, &mut [u8]),
}

impl Floats {
    /// `None` where the tensor holds something else.
    pub fn of(dtype: Dtype) -> Option<Self> {
        let (width, write): (_, fn(f32, &mut [u8])) = match dtype {
            Dtype::F64 => (8, |v, out| out.copy_from_slice(&f64::from(v).to_le_bytes())),
            Dtype::F32 => (4, |v, out| out.copy_from_slice(&v.to_le_bytes())),
            Dtype::F16 => (2, |v, out| out.copy_from_slice(&f16::from_f32(v).to_le_bytes())),
            Dtype::BF16 => (2, |v, out| out.copy_from_slice(&bf16::from_f32(v).to_le_bytes())),
            _ => return None,
        };
        Some(Self { width, write })
    }

    /// Zero the values that `pruned` names by their place; all others keep their bits.
    pub fn zero(&self, bytes: &mut [u8], pruned: impl Fn(usize) -> bool) {
        for (at, value) in bytes.chunks_exact_mut(self.width).enumerate() {
            if pruned(at) {
                value.fill(0);
            }
        }
    }

    /// Put other values.
    pub fn put(&self, bytes: &mut [u8], value: impl Fn(usize) -> f32) {
        for (at, out) in bytes.chunks_exact_mut(self.width).enumerate() {
            (self.write)(value(at), out);
        }
    }

    /// How many values are zero, of either sign.
    pub fn zeros(&self, bytes: &[u8]) -> u64 {
        let zero = |value: &&[u8]| match value.split_last() {
            Some((sign, rest)) => rest.iter().all(|b| *b == 0) && sign & 0x7f == 0,
            None => false,
        };
        bytes.chunks_exact(self.width).filter(zero).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use safetensors::tensor::{TensorView, serialize_to_file};

    use super::*;

    #[test]
    fn a_copy_differs_only_where_it_was_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let floats: Vec<u8> = [1.0_f32, -2.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let halves: Vec<u8> = [1.5_f32, 0.0, -0.0].iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect();
        let tensors = [
            ("a", TensorView::new(Dtype::F32, vec![2, 2], &floats).unwrap()),
            ("b", TensorView::new(Dtype::BF16, vec![3], &halves).unwrap()),
            ("ids", TensorView::new(Dtype::U8, vec![2], &[7, 8]).unwrap()),
        ];
        let note = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        serialize_to_file(tensors, Some(note), &from).unwrap();

        let file = TensorFile::open(&from).unwrap();
        file.copy(&to, &mut |_, _, _| Ok(())).unwrap().unwrap();
        assert_eq!(std::fs::read(&from).unwrap(), std::fs::read(&to).unwrap());

        let mut zeros = Vec::new();
        let mut edit = |name: &str, info: &TensorInfo, bytes: &mut [u8]| {
            if let Some(floats) = Floats::of(info.dtype) {
                if name == "a" {
                    floats.zero(bytes, |at| at == 1);
                }
                zeros.push((name.to_owned(), floats.zeros(bytes)));
            }
            Ok(())
        };
        file.copy(&to, &mut edit).unwrap().unwrap();
        zeros.sort();
        assert_eq!(zeros, [("a".to_owned(), 1), ("b".to_owned(), 2)]);
        let bytes = std::fs::read(&to).unwrap();
        let read = SafeTensors::deserialize(&bytes).unwrap();
        let expected: Vec<u8> = [1.0_f32, 0.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(read.tensor("a").unwrap().data(), expected);
        assert_eq!((read.tensor("b").unwrap().data(), read.tensor("ids").unwrap().data()), (&*halves, &[7, 8][..]));
    }

    #[test]
    fn wider_tensors_hold_the_same_and_more() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let values = [1.5_f32, 0.0, -3.25];
        let halves: Vec<u8> = values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
        let brains: Vec<u8> = values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect();
        let tensors = [
            ("W_dec", TensorView::new(Dtype::F16, vec![3], &halves).unwrap()),
            ("W_enc", TensorView::new(Dtype::BF16, vec![3], &brains).unwrap()),
            ("b_enc", TensorView::new(Dtype::F16, vec![3], &halves).unwrap()),
        ];
        let note = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        serialize_to_file(tensors, Some(note.clone()), &from).unwrap();
        let mut edit = |name: &str, info: &TensorInfo, bytes: &mut [u8]| {
            if name == "W_dec" {
                // No number of 16 bits.
                Floats::of(info.dtype).unwrap().put(bytes, |at| 0.1 + at as f32);
            }
            Ok(())
        };
        TensorFile::open(&from).unwrap().copy_wider(&to, &["W_enc", "W_dec"], &mut edit).unwrap().unwrap();
        let bytes = std::fs::read(&to).unwrap();
        let read = SafeTensors::deserialize(&bytes).unwrap();
        let floats = |name: &str| -> Vec<f32> {
            let tensor = read.tensor(name).unwrap();
            assert_eq!(tensor.dtype(), Dtype::F32, "{name}");
            tensor.data().chunks_exact(4).map(|v| f32::from_le_bytes(v.try_into().unwrap())).collect()
        };
        assert_eq!((floats("W_dec"), floats("W_enc")), (vec![0.1, 1.1, 2.1], values.to_vec()));
        assert_eq!(
            (read.tensor("b_enc").unwrap().dtype(), read.tensor("b_enc").unwrap().data()),
            (Dtype::F16, &*halves)
        );
        assert_eq!(SafeTensors::read_metadata(&bytes).unwrap().1.metadata(), &Some(note));
    }

    #[test]
    fn values_take_the_type_of_the_file() {
        for (dtype, width) in [(Dtype::F64, 8), (Dtype::F32, 4), (Dtype::F16, 2), (Dtype::BF16, 2)] {
            let mut bytes = vec![0xff; 2 * width];
            let floats = Floats::of(dtype).unwrap();
            floats.put(&mut bytes, |at| at as f32);
            assert_eq!(floats.zeros(&bytes), 1, "{dtype:?}");
            floats.put(&mut bytes, |_| -0.0);
            assert_eq!(floats.zeros(&bytes), 2, "{dtype:?}");
        }
        assert!(Floats::of(Dtype::I64).is_none());
    }

    #[test]
    fn a_cut_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut.safetensors");
        for bytes in [&b"\x40\0\0\0\0\0\0\0{\"a\":"[..], b"", b"\xff\xff\xff\xff\xff\xff\xff\xff{}"] {
            std::fs::write(&path, bytes).unwrap();
            let message = TensorFile::open(&path).err().unwrap().to_string();
            assert!(message.contains("cut.safetensors"), "{message}");
        }
    }
}
