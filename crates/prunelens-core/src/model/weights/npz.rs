//! Zip archives, and NumPy's `.npz` in them.

use std::{io::Read, path::Path};

use zip::{CompressionMethod, ZipArchive};

use super::{Bytes, Entry, Kind, Weights, bytes::Cursor};
use crate::{
    error::{Error, Result},
    text::shorten,
};

/// Members that no archive of tensors exceeds in number.
const MEMBERS: usize = 1 << 16;

/// One file of an archive.
pub struct Member {
    /// Without the folder that all members of PyTorch's archives are in.
    pub name: String,
    index: usize,
    /// Where its bytes are in the archive, if they are stored as they are.
    pub stored: Option<u64>,
    pub size: u64,
}

/// The table of contents of a zip archive.
pub struct Zip<'a> {
    archive: ZipArchive<Cursor<'a>>,
    pub members: Vec<Member>,
}

fn damaged(path: &Path, e: impl std::fmt::Display) -> Error {
    Error::file(path, format!("not a whole zip archive ({}); fetch it again", shorten(&e.to_string(), 200)))
}

impl<'a> Zip<'a> {
    pub fn open(path: &Path, bytes: &'a Bytes) -> Result<Self> {
        let cursor = bytes.cursor().map_err(|e| Error::io(path, e))?;
        let len = bytes.size().map_err(|e| Error::io(path, e))?;
        let mut archive = ZipArchive::new(cursor).map_err(|e| damaged(path, e))?;
        if archive.len() > MEMBERS {
            return Err(Error::file(path, format!("{} members are too many for an archive of tensors", archive.len())));
        }
        let mut members = Vec::new();
        for index in 0..archive.len() {
            let file = archive.by_index_raw(index).map_err(|e| damaged(path, e))?;
            let name = file.name().map_err(|e| damaged(path, e))?;
            let name = name.split_once('/').map_or(&*name, |(_, rest)| rest).to_owned();
            let size = file.size();
            let stored = (file.compression() == CompressionMethod::Stored && !file.encrypted())
                .then(|| file.data_start())
                .flatten();
            if stored.is_some_and(|start| start.checked_add(size).is_none_or(|end| end > len)) {
                return Err(damaged(path, format!("member {:?} ends beyond it", shorten(&name, 60))));
            }
            members.push(Member { name, index, stored, size });
        }
        Ok(Self { archive, members })
    }

    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|m| m.name == name)
    }

    /// A whole member, decompressed if need be; refused where it has more than `limit` bytes.
    pub fn read(&mut self, path: &Path, at: usize, limit: u64) -> Result<Vec<u8>> {
        let (index, size) = (self.members[at].index, self.members[at].size);
        let name = shorten(&self.members[at].name, 60);
        let too_large = || Error::file(path, format!("member {name:?} has more than {limit} bytes"));
        if size > limit {
            return Err(too_large());
        }
        let file = self.archive.by_index(index).map_err(|e| damaged(path, e))?;
        let mut out = Vec::new();
        file.take(limit + 1).read_to_end(&mut out).map_err(|e| damaged(path, e))?;
        if out.len() as u64 > limit { Err(too_large()) } else { Ok(out) }
    }
}

/// What a `.npy` header says.
struct Header {
    kind: Kind,
    fortran: bool,
    shape: Vec<usize>,
    /// Bytes before the numbers.
    len: usize,
}

/// Longest header: the dictionary names a type and a shape.
const HEADER: usize = 4096;

impl Weights {
    /// Note the arrays of an archive that will be the next shard; gives what had to be unpacked, the shards after it.
    pub(super) fn enter_npz(&mut self, path: &Path, zip: &mut Zip, bytes: &Bytes) -> Result<Vec<Vec<u8>>> {
        // Compressed members are unpacked into memory: as much as twice the file, and some for small files.
        let mut budget = 2 * bytes.size().map_err(|e| Error::io(path, e))? + (32 << 20);
        let mut entries = Vec::new();
        let mut unpacked = Vec::new();
        for at in 0..zip.members.len() {
            let member = &zip.members[at];
            let Some(name) = member.name.strip_suffix(".npy").map(str::to_owned) else { continue };
            let size = member.size;
            let (start, head, shard) = match member.stored {
                Some(start) => {
                    let mut head = vec![0; size.min(HEADER as u64) as usize];
                    bytes.read_at(&mut head, start).map_err(|e| Error::io(path, e))?;
                    (start, head, 0)
                }
                None => {
                    let content = zip.read(path, at, budget)?;
                    budget -= content.len() as u64;
                    let head = content[..content.len().min(HEADER)].to_vec();
                    unpacked.push(content);
                    (0, head, unpacked.len())
                }
            };
            let Some(header) = header(&head) else {
                return Err(Error::file(path, format!("member {:?} is not a plain NumPy array", shorten(&name, 60))));
            };
            let strides = header.fortran.then(|| {
                header
                    .shape
                    .iter()
                    .scan(1_usize, |step, d| Some(std::mem::replace(step, step.saturating_mul(*d))))
                    .collect()
            });
            let len = if shard == 0 { size } else { unpacked[shard - 1].len() as u64 };
            entries.push((
                name,
                Entry {
                    shard: self.shards.len() + shard,
                    kind: header.kind,
                    shape: header.shape,
                    strides,
                    start: start + header.len as u64,
                    len: (len as usize).saturating_sub(header.len),
                },
            ));
        }
        if entries.is_empty() {
            return Err(Error::file(path, "a zip archive with neither PyTorch's data.pkl nor NumPy arrays in it"));
        }
        for (name, entry) in entries {
            self.enter(path, name, entry)?;
        }
        Ok(unpacked)
    }
}

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }` behind magic, version and length.
fn header(bytes: &[u8]) -> Option<Header> {
    let (start, len): (usize, usize) = match (bytes.strip_prefix(b"\x93NUMPY")?.first()?, bytes.get(8..12)?) {
        (1, [a, b, ..]) => (10, usize::from(u16::from_le_bytes([*a, *b]))),
        (2 | 3, [a, b, c, d]) => (12, usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).ok()?),
        _ => return None,
    };
    let end = start.checked_add(len)?;
    let text = std::str::from_utf8(bytes.get(start..end)?).ok()?;
    let after = |key: &str| text.split_once(key).map(|(_, rest)| rest.trim_start());
    let kind = match after("'descr':")?.strip_prefix('\'')?.split_once('\'')?.0 {
        "<f8" => Kind::F64,
        "<f4" => Kind::F32,
        "<f2" => Kind::F16,
        "<i8" => Kind::I64,
        "<i4" => Kind::I32,
        "<i2" => Kind::I16,
        "|i1" => Kind::I8,
        "<u4" => Kind::U32,
        "|u1" => Kind::U8,
        "|b1" => Kind::Bool,
        _ => return None,
    };
    let fortran = after("'fortran_order':")?.starts_with("True");
    let shape = after("'shape':")?.strip_prefix('(')?.split_once(')')?.0;
    let shape = shape.split(',').map(str::trim).filter(|d| !d.is_empty()).map(|d| d.parse().ok());
    Some(Header { kind, fortran, shape: shape.collect::<Option<_>>()?, len: end })
}
