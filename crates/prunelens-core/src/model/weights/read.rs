//! A tensor's numbers on their way from the file to the device, part by part: nothing else of their size is made.

use std::{
    path::Path,
    sync::{PoisonError, mpsc},
    thread,
};

use candle_core::{DType, Device, Tensor, WithDType};
use half::{bf16, f16, slice::HalfFloatSliceExt};
use prunelens_kernels::{
    device::{self, Backend, Buffer, Float, Staging},
    pointwise::all_finite,
};
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
pub(super) trait Number: WithDType + Float {
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
        if let Some(gpu) = device::of(device)? {
            return self.read_to_gpu::<T>(parts, shape, &*gpu);
        }
        let mut values = vec![T::default(); shape.iter().product()];
        self.fill_stack(parts, 0, &mut values)?;
        Ok(Read { tensor: Tensor::from_vec(values, shape, device)?, content: None })
    }

    /// Straight to their place in the GPU's memory, from memory that this file's tensors share.
    fn read_to_gpu<T: Number>(
        &self,
        parts: &[(String, Vec<usize>)],
        shape: &[usize],
        gpu: &dyn Backend,
    ) -> Result<Read> {
        let mut staging = std::mem::take(&mut *self.staging.lock().unwrap_or_else(PoisonError::into_inner));
        while staging.len() < 2 {
            staging.push(gpu.staging(SLAB * size_of::<f32>())?);
        }
        let total = shape.iter().product();
        let mut out = Buffer::<T>::new(gpu, total)?;
        let mut content = Vec::new();
        let staging = self.by_slabs::<T>(parts, total, SLAB, staging, |start, len, slab, of_it| {
            content.extend(of_it);
            out.send(gpu, start, slab, len)
        })?;
        *self.staging.lock().unwrap_or_else(PoisonError::into_inner) = staging;
        Ok(Read { tensor: out.into_tensor(gpu, shape)?, content: Some(content) })
    }

    /// One slab is read, and its digest taken, while the one before is `put`: where it begins, its length, the memory that it lies
    /// in, and the digest.
    fn by_slabs<T: Number>(
        &self,
        parts: &[(String, Vec<usize>)],
        total: usize,
        slab: usize,
        memory: Vec<Staging>,
        mut put: impl FnMut(usize, usize, &mut Staging, Vec<u8>) -> Result<()>,
    ) -> Result<Vec<Staging>> {
        let len = |start: usize| slab.min(total - start);
        let read = |start: usize, memory: &mut Staging| {
            let values = memory.numbers::<T>(len(start))?;
            self.fill_stack(parts, start, values)?;
            Ok(T::content(values))
        };
        let starts = (0..total).step_by(slab);
        in_turn(starts, memory, read, |start, memory, content| put(start, len(start), memory, content))
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

/// `put` what `read` gives of each of `starts`, in their order, while the next is read into another of `places`, which are given
/// back. Without a thread to be had one goes after the other.
fn in_turn<P: Send, T: Send>(
    starts: impl Iterator<Item = usize> + Clone + Send,
    mut places: Vec<P>,
    read: impl Fn(usize, &mut P) -> Result<T> + Sync,
    mut put: impl FnMut(usize, &mut P, T) -> Result<()>,
) -> Result<Vec<P>> {
    let read = &read;
    thread::scope(|scope| {
        let (free, empty) = mpsc::channel::<P>();
        let (send, full) = mpsc::channel();
        let ahead = starts.clone();
        // Nobody sends or listens any more if the other end failed.
        let reading = move || {
            for start in ahead {
                let Ok(mut place) = empty.recv() else { break };
                let done = read(start, &mut place);
                let failed = done.is_err();
                if send.send((place, done)).is_err() || failed {
                    break;
                }
            }
            empty
        };
        let Ok(reader) = thread::Builder::new().name("weights".into()).spawn_scoped(scope, reading) else {
            let place = places.first_mut().ok_or_else(|| Error::invalid("no memory to read into"))?;
            for start in starts {
                let done = read(start, place)?;
                put(start, place, done)?;
            }
            return Ok(places);
        };
        for place in places {
            let _ = free.send(place);
        }
        for start in starts {
            let Ok((mut place, done)) = full.recv() else { break };
            put(start, &mut place, done?)?;
            let _ = free.send(place);
        }
        drop(free);
        match reader.join() {
            Ok(empty) => Ok(empty.into_iter().collect()),
            Err(panic) => std::panic::resume_unwind(panic),
        }
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
                    let content = match dtype {
                        DType::F32 => put_together::<f32>(&weights, &parts, slab, &want),
                        DType::BF16 => put_together::<bf16>(&weights, &parts, slab, &want),
                        _ => put_together::<f16>(&weights, &parts, slab, &want),
                    };
                    assert!(slab < SLAB || Some(content) == digest::content(&want), "{stored:?} as {dtype:?}");
                }
            }
        }
    }

    /// The digests of slabs that make the tensor together.
    fn put_together<T: Number>(
        weights: &Weights,
        parts: &[(String, Vec<usize>)],
        slab: usize,
        want: &Tensor,
    ) -> Vec<u8> {
        let (mut all, mut content) = (Vec::<T>::new(), Vec::new());
        let memory = vec![Staging::plain(slab.min(40) * 4), Staging::plain(slab.min(40) * 4)];
        let memory = weights.by_slabs::<T>(parts, 40, slab, memory, |start, len, slab, of_it| {
            assert_eq!(start, all.len());
            all.extend_from_slice(slab.numbers(len)?);
            content.extend(of_it);
            Ok(())
        });
        assert_eq!(memory.unwrap().len(), 2);
        let all = Tensor::from_vec(all, (8, 5), &Device::Cpu).unwrap();
        assert_eq!(digest::content(&all), digest::content(want), "slabs of {slab}");
        content
    }

    #[test]
    fn one_is_read_while_the_last_is_put() {
        let mut put = Vec::new();
        let places = in_turn(
            (0..10).step_by(3),
            vec![0, 0],
            |start, place| {
                *place = start;
                Ok(start * 2)
            },
            |start, place, twice| {
                put.push((start, *place, twice));
                Ok(())
            },
        );
        assert_eq!(places.unwrap().len(), 2);
        assert_eq!(put, [(0, 0, 0), (3, 3, 6), (6, 6, 12), (9, 9, 18)]);
        let fails_at = |n: usize| move |start: usize| if start == n { Err(Error::invalid("no")) } else { Ok(start) };
        assert!(in_turn(0..5, vec![(); 2], |start, ()| fails_at(3)(start), |_, (), _| Ok(())).is_err());
        assert!(in_turn(0..500, vec![(); 2], |n, ()| Ok(n), |start, (), _| fails_at(2)(start).map(drop)).is_err());
    }
}
