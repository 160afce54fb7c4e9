//! A tensor's numbers on their way from the file to the device, part by part: nothing else of their size is made.

use std::{path::Path, sync::mpsc, thread};

use candle_core::{DType, Device, Tensor, WithDType};
use half::{bf16, f16, slice::HalfFloatSliceExt};
use prunelens_kernels::pointwise::all_finite;
use rayon::prelude::*;

use super::{Kind, Weights};
use crate::{
    digest::{STRETCH, stretches},
    error::{Error, Result},
};

/// Numbers that are read at a time by one thread: whole blocks of every type that has some.
const PART: usize = 1 << 18;

/// Numbers that travel to a GPU at a time, while the next are read.
const SLAB: usize = 32 * STRETCH;

/// A tensor where it was asked for.
pub struct Read {
    /// In the shape and type that were asked for.
    pub tensor: Tensor,
    /// Its [`content`](crate::digest::content), if its numbers went to a GPU by way of the processor.
    pub content: Option<Vec<u8>>,
}

/// What tensors are made of.
pub(super) trait Number: WithDType + Default {
    fn narrow(from: &[f32], to: &mut [Self]);
    fn all_finite(values: &[Self]) -> bool;
    fn content(values: &[Self]) -> Vec<u8>;

    /// Whether files of this kind have the very bytes.
    fn is_stored(kind: Kind) -> bool;
}

impl Number for f32 {
    fn narrow(from: &[f32], to: &mut [Self]) {
        to.copy_from_slice(from);
    }

    fn all_finite(values: &[Self]) -> bool {
        all_finite(values)
    }

    fn content(values: &[Self]) -> Vec<u8> {
        stretches(values, |value| value.to_le_bytes())
    }

    fn is_stored(kind: Kind) -> bool {
        kind == Kind::F32
    }
}

macro_rules! half {
    ($type:ty, $kind:ident) => {
        impl Number for $type {
            fn narrow(from: &[f32], to: &mut [Self]) {
                to.convert_from_f32_slice(from);
            }

            fn all_finite(values: &[Self]) -> bool {
                // Without a way out in the middle, so that many are looked at at once.
                values.iter().fold(true, |all, value| all & value.is_finite())
            }

            fn content(values: &[Self]) -> Vec<u8> {
                stretches(values, |value| value.to_le_bytes())
            }

            fn is_stored(kind: Kind) -> bool {
                kind == Kind::$kind
            }
        }
    };
}
half!(bf16, BF16);
half!(f16, F16);

impl Weights {
    /// Tensors of as many columns below each other, as one: by name and shape. They are plain floats or blocks in row-major order
    /// for as many as can be; others are read by [`Weights::tensor`].
    pub fn stacked(&self, parts: &[(String, Vec<usize>)], dtype: DType, device: &Device) -> Result<Read> {
        let mut shape = match parts {
            [(_, shape), ..] => shape.clone(),
            [] => return Err(Error::invalid("no tensors to be read")),
        };
        shape[0] = parts.iter().map(|(_, shape)| shape[0]).sum();
        let mut plain = true;
        for (name, shape) in parts {
            plain &= self.is_plain(name, shape)?;
        }
        match dtype {
            DType::F32 if plain => self.read_to::<f32>(parts, &shape, device),
            DType::BF16 if plain => self.read_to::<bf16>(parts, &shape, device),
            DType::F16 if plain => self.read_to::<f16>(parts, &shape, device),
            _ => {
                let each = parts.iter().map(|(name, shape)| self.tensor(name, shape, dtype, device));
                let mut each = each.collect::<Result<Vec<_>>>()?;
                let tensor = if each.len() == 1 { each.remove(0) } else { Tensor::cat(&each, 0)? };
                Ok(Read { tensor, content: None })
            }
        }
    }

    fn read_to<T: Number>(&self, parts: &[(String, Vec<usize>)], shape: &[usize], device: &Device) -> Result<Read> {
        if !device.is_cpu() {
            return self.by_slabs::<T>(parts, shape, device, SLAB);
        }
        let mut values = vec![T::default(); shape.iter().product()];
        self.fill_stack(parts, 0, &mut values)?;
        Ok(Read { tensor: Tensor::from_vec(values, shape, device)?, content: None })
    }

    /// One slab is read, and its digest taken, while the one before is on its way.
    fn by_slabs<T: Number>(
        &self,
        parts: &[(String, Vec<usize>)],
        shape: &[usize],
        device: &Device,
        slab: usize,
    ) -> Result<Read> {
        let total = shape.iter().product();
        let out = Tensor::zeros(total, T::DTYPE, device)?;
        let mut content = Vec::new();
        let read = |start: usize| {
            let mut values = vec![T::default(); slab.min(total - start)];
            self.fill_stack(parts, start, &mut values)?;
            let content = T::content(&values);
            Ok((values, content))
        };
        in_turn((0..total).step_by(slab), read, |start, (values, of_it)| {
            let n = values.len();
            out.slice_set(&Tensor::from_vec(values, n, device)?, 0, start)?;
            content.extend(of_it);
            Ok(())
        })?;
        Ok(Read { tensor: out.reshape(shape)?, content: Some(content) })
    }

    /// Numbers of the stack from `from` on.
    fn fill_stack<T: Number>(&self, parts: &[(String, Vec<usize>)], from: usize, out: &mut [T]) -> Result<()> {
        let (mut start, mut rest, mut at) = (0, out, from);
        for (name, shape) in parts {
            let n: usize = shape.iter().product();
            let here = (start + n).saturating_sub(at).min(rest.len());
            if here > 0 {
                let (own, after) = rest.split_at_mut(here);
                self.fill(name, at - start, own)?;
                (rest, at) = (after, at + here);
            }
            start += n;
        }
        Ok(())
    }

    /// Stored numbers of a tensor from `from` on, in their order: parts are read and converted side by side.
    pub(super) fn fill<T: Number>(&self, name: &str, from: usize, out: &mut [T]) -> Result<()> {
        let entry = self.entry(name)?;
        let shard = &self.shards[entry.shard];
        let wrong = || Error::file(&shard.path, format!("tensor {name:?}: expected floats, found {:?}", entry.kind));
        let first = entry.kind.bytes(from).ok_or_else(wrong)?;
        let step = entry.kind.bytes(PART).ok_or_else(wrong)?;
        let as_stored = T::is_stored(entry.kind) && cfg!(target_endian = "little");
        out.par_chunks_mut(PART).enumerate().try_for_each(|(part, out)| -> Result<()> {
            let start = entry.start + (first + part * step) as u64;
            let finite = if as_stored {
                // SAFETY: any bytes are numbers of these types, and the lengths agree.
                let bytes = unsafe { std::slice::from_raw_parts_mut(out.as_mut_ptr().cast::<u8>(), size_of_val(out)) };
                shard.bytes.read_at(bytes, start).map_err(|e| Error::io(&shard.path, e))?;
                T::all_finite(out)
            } else {
                let mut bytes = vec![0; entry.kind.bytes(out.len()).ok_or_else(wrong)?];
                shard.bytes.read_at(&mut bytes, start).map_err(|e| Error::io(&shard.path, e))?;
                let values = entry.kind.floats(&bytes).ok_or_else(wrong)?;
                T::narrow(&values, out);
                all_finite(&values)
            };
            if finite { Ok(()) } else { Err(not_finite(&shard.path, name)) }
        })
    }
}

pub(super) fn not_finite(path: &Path, name: &str) -> Error {
    Error::file(path, format!("tensor {name:?} holds NaN or infinite values"))
}

/// `put` what `read` gives of each of `starts`, in their order, while the next is read. Without a thread to be had one goes after
/// the other.
fn in_turn<T: Send>(
    starts: impl Iterator<Item = usize> + Clone + Send,
    read: impl Fn(usize) -> Result<T> + Sync,
    mut put: impl FnMut(usize, T) -> Result<()>,
) -> Result<()> {
    let read = &read;
    thread::scope(|scope| {
        let (send, receive) = mpsc::sync_channel(0);
        let ahead = starts.clone();
        let reading = move || {
            // Nobody listens any more if the other end failed.
            ahead.map(read).try_for_each(|part| send.send(part))
        };
        let started = thread::Builder::new().name("weights".into()).spawn_scoped(scope, reading);
        let next = |start| match (&started, receive.recv()) {
            (Ok(_), Ok(part)) => part,
            _ => read(start),
        };
        starts.into_iter().try_for_each(|start| put(start, next(start)?))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::digest;

    /// In slabs, as a GPU gets them, a stack is what it is in one piece, from every type of files to every type of models.
    #[test]
    fn slabs_make_the_same_tensor() {
        let folder = tempfile::tempdir().unwrap();
        for stored in [DType::F32, DType::BF16, DType::F16] {
            let path = folder.path().join(format!("{stored:?}.safetensors"));
            let tensor = |rows: usize| {
                let values: Vec<f32> = (0..rows * 5).map(|n| (n as f32 * 0.37).sin()).collect();
                Tensor::from_vec(values, (rows, 5), &Device::Cpu).unwrap().to_dtype(stored).unwrap()
            };
            let all = HashMap::from([("a", tensor(3)), ("b", tensor(1)), ("c", tensor(4))]);
            candle_core::safetensors::save(&all, &path).unwrap();
            let weights = Weights::open(&path).unwrap();
            let parts = [("a", 3), ("b", 1), ("c", 4)].map(|(name, rows)| (name.to_owned(), vec![rows, 5]));
            for dtype in [DType::F32, DType::BF16, DType::F16] {
                let each: Vec<Tensor> = ["a", "b", "c"].iter().map(|name| all[name].to_dtype(dtype).unwrap()).collect();
                let want = Tensor::cat(&each, 0).unwrap();
                let whole = weights.stacked(&parts, dtype, &Device::Cpu).unwrap().tensor;
                assert_eq!(digest::content(&whole), digest::content(&want), "{stored:?} as {dtype:?}");
                for slab in [7, 11, SLAB] {
                    let read = match dtype {
                        DType::F32 => weights.by_slabs::<f32>(&parts, &[8, 5], &Device::Cpu, slab),
                        DType::BF16 => weights.by_slabs::<bf16>(&parts, &[8, 5], &Device::Cpu, slab),
                        _ => weights.by_slabs::<f16>(&parts, &[8, 5], &Device::Cpu, slab),
                    };
                    let read = read.unwrap();
                    assert_eq!(read.tensor.dims(), [8, 5]);
                    assert_eq!(
                        digest::content(&read.tensor),
                        digest::content(&want),
                        "{stored:?} as {dtype:?}, {slab}"
                    );
                    assert!(slab < SLAB || read.content == digest::content(&want), "{stored:?} as {dtype:?}");
                }
            }
        }
    }

    #[test]
    fn one_is_read_while_the_last_is_put() {
        let mut put = Vec::new();
        let all = in_turn(
            (0..10).step_by(3),
            |start| Ok(start * 2),
            |start, twice| {
                put.push((start, twice));
                Ok(())
            },
        );
        assert!(all.is_ok());
        assert_eq!(put, [(0, 0), (3, 6), (6, 12), (9, 18)]);
        let fails_at = |n: usize| move |start: usize| if start == n { Err(Error::invalid("no")) } else { Ok(start) };
        assert!(in_turn(0..5, fails_at(3), |_, _| Ok(())).is_err());
        assert!(in_turn(0..500, Ok, |start, _| fails_at(2)(start).map(drop)).is_err());
    }
}
