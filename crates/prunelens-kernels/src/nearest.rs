//! For every vector another one with which its cosine is largest, without a table of all cosines in memory.

use std::{ops::Range, sync::Arc};

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use crate::{
    device::{self, Backend},
    error::Result,
    ops::Ops,
    panel::{self, PANEL, Products, TILE},
    simd::dispatch,
    with_f32,
};

/// A vector's nearest one and their cosine; none where there is no other, or where no cosine is a number. The lowest index
/// among equals.
pub type Found = Option<(u32, f32)>;

/// Rows and columns of a block of the table: some milliseconds of work, the longest the caller waits.
const HERE: (usize, usize) = (4 * TILE, 8192);
const ON_DEVICE: (usize, usize) = (2048, 16_384);
/// Columns that a thread takes at a time.
const STRIPE: usize = 16 * PANEL;

/// The search: of the vectors of one matrix among those of another, and the other way round; or among each other. It goes on
/// block by block.
pub struct Nearest {
    search: Search,
    blocks: Vec<[Range<usize>; 2]>,
    next: usize,
}

enum Search {
    Here(Here),
    OnDevice(OnDevice),
}

impl Nearest {
    /// Of `vectors [n, width]` among `others [m, width]`, or among each other without these.
    pub fn new(ops: &dyn Ops, vectors: &Tensor, others: Option<&Tensor>) -> Result<Self> {
        let (n, width) = vectors.dims2()?;
        let m = others.map_or(Ok(n), |others| others.dim(0))?;
        let ((rows, columns), search) = match ops.backend() {
            None => {
                let (from, to) = (unit_rows(vectors)?, others.map(unit_rows).transpose()?);
                (HERE, Search::Here(Here::new(from, to, width)))
            }
            Some(backend) => (ON_DEVICE, Search::OnDevice(OnDevice::new(backend.clone(), vectors, others)?)),
        };
        // Cosines among each other are symmetric: what is below the diagonal is left out.
        let first = |row: usize| if others.is_none() { row } else { 0 };
        let block = |row: usize, column: usize| [row..(row + rows).min(n), column..(column + columns).min(m)];
        let of_row = |row: usize| (first(row)..m).step_by(columns).map(move |column| block(row, column));
        Ok(Self { search, blocks: (0..n).step_by(rows).flat_map(of_row).collect(), next: 0 })
    }

    /// Do one block; false when there was none left.
    pub fn step(&mut self) -> Result<bool> {
        let Some([rows, columns]) = self.blocks.get(self.next).cloned() else { return Ok(false) };
        match &mut self.search {
            Search::Here(search) => search.take(rows, columns),
            Search::OnDevice(search) => search.take(rows, columns)?,
        }
        self.next += 1;
        Ok(true)
    }

    /// Blocks done and blocks in all.
    pub fn progress(&self) -> (usize, usize) {
        (self.next, self.blocks.len())
    }

    /// What was found so far for each of the vectors.
    pub fn of_vectors(&self) -> Result<Vec<Found>> {
        match &self.search {
            Search::Here(search) => Ok(search.of_rows.found()),
            Search::OnDevice(search) => search.of_rows.found(&*search.backend),
        }
    }

    /// What was found so far for each of the others.
    pub fn of_others(&self) -> Result<Vec<Found>> {
        match &self.search {
            Search::Here(search) => Ok(search.of_columns.as_ref().unwrap_or(&search.of_rows).found()),
            Search::OnDevice(search) => search.of_columns.as_ref().unwrap_or(&search.of_rows).found(&*search.backend),
        }
    }
}

/// Below any norm that counts: a row of zeros stays one, and its cosines are 0.
const LEAST: f32 = 1e-12;

/// Rows of norm 1.
fn unit_rows(vectors: &Tensor) -> Result<Vec<f32>> {
    let width = vectors.dim(1)?;
    let mut unit = with_f32(vectors, <[f32]>::to_vec)?;
    unit.par_chunks_exact_mut(width.max(1)).for_each(|row| {
        let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt().max(LEAST);
        row.iter_mut().for_each(|v| *v /= norm);
    });
    Ok(unit)
}

/// On the CPU.
struct Here {
    from: Vec<f32>,
    to: Option<Vec<f32>>,
    width: usize,
    of_rows: Largest,
    of_columns: Option<Largest>,
}

/// The largest number that each row (or column) has shown, and where.
struct Largest {
    values: Vec<f32>,
    places: Vec<u32>,
}

impl Largest {
    fn new(len: usize) -> Self {
        Self { values: vec![f32::NEG_INFINITY; len], places: vec![u32::MAX; len] }
    }

    fn raise(&mut self, at: usize, value: f32, place: u32) {
        if value > self.values[at] || (value == self.values[at] && place < self.places[at]) {
            (self.values[at], self.places[at]) = (value, place);
        }
    }

    /// Take what was found for rows from `first` on.
    fn merge(&mut self, first: usize, other: Self) {
        for (at, (value, place)) in (first..).zip(other.values.into_iter().zip(other.places)) {
            self.raise(at, value, place);
        }
    }

    fn found(&self) -> Vec<Found> {
        let found = |(value, place): (&f32, &u32)| (*value > f32::NEG_INFINITY).then_some((*place, *value));
        self.values.iter().zip(&self.places).map(found).collect()
    }
}

impl Here {
    fn new(from: Vec<f32>, to: Option<Vec<f32>>, width: usize) -> Self {
        let rows = |values: &Vec<f32>| Largest::new(values.len() / width.max(1));
        Self { of_rows: rows(&from), of_columns: to.as_ref().map(rows), from, to, width }
    }

    fn take(&mut self, rows: Range<usize>, columns: Range<usize>) {
        let part = |range: &Range<usize>| range.start * self.width..range.end * self.width;
        let tiles = panel::tiles(&self.from[part(&rows)], self.width);
        let to = &self.to.as_ref().unwrap_or(&self.from)[part(&columns)];
        // Each task has columns of its own.
        let found: Vec<_> = (to.par_chunks(STRIPE * self.width).zip(columns.into_par_iter().step_by(STRIPE)))
            .map(|(vectors, first)| (first, self.stripe(&tiles, rows.clone(), vectors, first)))
            .collect();
        for (first, (in_rows, in_columns)) in found {
            self.of_rows.merge(rows.start, in_rows);
            self.of_columns.as_mut().unwrap_or(&mut self.of_rows).merge(first, in_columns);
        }
    }

    /// The largest cosines of some rows, in tiles, with the vectors of some columns from `first` on.
    fn stripe(&self, tiles: &[f32], rows: Range<usize>, vectors: &[f32], first: usize) -> (Largest, Largest) {
        let width = self.width;
        let (mut in_rows, mut in_columns) = (Largest::new(rows.len()), Largest::new(vectors.len() / width));
        let mut products = [[0.0; TILE]; PANEL];
        let mut last = Vec::new();
        for (at, vectors) in vectors.chunks(PANEL * width).enumerate() {
            let count = vectors.len() / width;
            let vectors = if count == PANEL {
                vectors
            } else {
                // The last ones, filled up with zeros.
                last.extend_from_slice(vectors);
                last.resize(PANEL * width, 0.0);
                &last
            };
            for (tile, start) in tiles.chunks(TILE * width).zip((0..rows.len()).step_by(TILE)) {
                panel::multiply(vectors, tile, width, &mut products);
                let here = start..(start + TILE).min(rows.len());
                let column = first + at * PANEL;
                if self.to.is_none() {
                    // Not with itself.
                    for (i, products) in products.iter_mut().enumerate() {
                        if let Some(lane) = (column + i).checked_sub(rows.start + start).filter(|lane| *lane < TILE) {
                            products[lane] = f32::NEG_INFINITY;
                        }
                    }
                }
                let (values, places) = (&mut in_rows.values[here.clone()], &mut in_rows.places[here]);
                let tops = raise_rows(&products, count, column as u32, values, places);
                for (i, top) in tops.into_iter().enumerate().take(count) {
                    if top > in_columns.values[at * PANEL + i]
                        && let Some(lane) = products[i].iter().position(|v| *v == top)
                    {
                        in_columns.raise(at * PANEL + i, top, (rows.start + start + lane) as u32);
                    }
                }
            }
        }
        (in_rows, in_columns)
    }
}

dispatch! {
    /// Raise the largest numbers of a tile's rows by `count` columns, and return the largest of each column.
    fn raise_rows(products: &Products, count: usize, column: u32, values: &mut [f32], places: &mut [u32]) -> [f32; PANEL] {
        let mut tops = [f32::NEG_INFINITY; PANEL];
        for ((products, top), column) in products.iter().zip(&mut tops).zip(column..).take(count) {
            let mut lanes = [f32::NEG_INFINITY; 16];
            for ((products, values), places) in products.chunks(16).zip(values.chunks_mut(16)).zip(places.chunks_mut(16)) {
                for (((v, value), place), lane) in products.iter().zip(values).zip(places).zip(&mut lanes) {
                    *place = if *v > *value { column } else { *place };
                    *value = if *v > *value { *v } else { *value };
                    *lane = if *v > *lane { *v } else { *lane };
                }
            }
            *top = lanes.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        }
        tops
    }
}

/// On a GPU, from which nothing comes back before the end.
struct OnDevice {
    backend: Arc<dyn Backend>,
    from: Tensor,
    to: Option<Tensor>,
    of_rows: device::Largest,
    of_columns: Option<device::Largest>,
}

impl OnDevice {
    fn new(backend: Arc<dyn Backend>, vectors: &Tensor, others: Option<&Tensor>) -> Result<Self> {
        let unit = |vectors: &Tensor| -> Result<Tensor> {
            let vectors = vectors.to_device(backend.device())?.contiguous()?;
            let norms = device::row_norms(&*backend, &device::Matrix::of(&*backend, &vectors)?, &[None])?;
            let norms = norms.into_tensor(&*backend, &[vectors.dim(0)?, 1])?.maximum(LEAST)?;
            Ok(vectors.to_dtype(DType::F32)?.broadcast_div(&norms)?)
        };
        let (from, to) = (unit(vectors)?, others.map(unit).transpose()?);
        let of_columns = to.as_ref().map(|to| device::Largest::new(&*backend, to.dim(0)?)).transpose()?;
        Ok(Self { of_rows: device::Largest::new(&*backend, from.dim(0)?)?, of_columns, from, to, backend })
    }

    fn take(&mut self, rows: Range<usize>, columns: Range<usize>) -> Result<()> {
        let to = self.to.as_ref().unwrap_or(&self.from);
        let first = (rows.start, columns.start);
        let table =
            self.from.narrow(0, rows.start, rows.len())?.matmul(&to.narrow(0, columns.start, columns.len())?.t()?)?;
        device::raise_largest(&*self.backend, &table, first, &self.of_rows, self.of_columns.as_ref())?;
        self.backend.await_previous()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::ops;

    /// Numbers that repeat late, in steps of an eighth: many are equal.
    fn vectors(count: usize, width: usize, salt: usize) -> Tensor {
        let value = |i: usize| ((i * 7919 + (i / 13) * 104_729 + salt) % 17) as f32 / 8.0 - 1.0;
        let mut values: Vec<f32> = (0..count * width).map(value).collect();
        // Without direction.
        values[7 * width..8 * width].fill(0.0);
        Tensor::from_vec(values, (count, width), &Device::Cpu).unwrap()
    }

    fn search(vectors: &Tensor, others: Option<&Tensor>) -> Nearest {
        let mut search = Nearest::new(&*ops::on(None), vectors, others).unwrap();
        while search.step().unwrap() {}
        assert_eq!(search.progress().0, search.progress().1);
        search
    }

    /// In f64, by a plain table.
    fn cosine(a: &[f32], b: &[f32]) -> f64 {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        dot(a, b) / dot(a, a).sqrt().max(1e-12) / dot(b, b).sqrt().max(1e-12)
    }

    fn check(found: &[Found], a: &Tensor, b: &Tensor, among_each_other: bool) {
        let (a, b): (Vec<Vec<f32>>, Vec<Vec<f32>>) = (a.to_vec2().unwrap(), b.to_vec2().unwrap());
        assert_eq!(found.len(), a.len());
        for i in (0..a.len()).step_by(37).chain([7, 511, 512, a.len() - 1]) {
            let others = (0..b.len()).filter(|j| !(among_each_other && i == *j));
            let want = others.map(|j| cosine(&a[i], &b[j])).fold(f64::NEG_INFINITY, f64::max);
            let (place, value) = found[i].unwrap();
            assert!(!(among_each_other && place as usize == i));
            assert!((f64::from(value) - want).abs() < 1e-6, "{i}: {value} is not {want}");
            assert!((cosine(&a[i], &b[place as usize]) - want).abs() < 1e-6, "{i}: {place}");
        }
    }

    #[test]
    fn agrees_with_a_plain_table_over_several_blocks() {
        let (a, b) = (vectors(2600, 5, 0), vectors(700, 5, 4));
        let alone = search(&a, None);
        check(&alone.of_vectors().unwrap(), &a, &a, true);
        assert_eq!(alone.of_others().unwrap(), alone.of_vectors().unwrap());
        assert_eq!(alone.of_vectors().unwrap()[7], Some((0, 0.0)));
        for (a, b) in [(&a, &b), (&b, &a)] {
            let both = search(a, Some(b));
            check(&both.of_vectors().unwrap(), a, b, false);
            check(&both.of_others().unwrap(), b, a, false);
        }
    }

    #[test]
    fn the_lowest_index_goes_first_among_equals() {
        let one = Tensor::ones((1100, 1), candle_core::DType::F32, &Device::Cpu).unwrap();
        let found = search(&one, None).of_vectors().unwrap();
        assert_eq!(found[0], Some((1, 1.0)));
        assert!(found[1..].iter().all(|found| *found == Some((0, 1.0))));
        let both = search(&one, Some(&one));
        let all_first = |found: Vec<Found>| found.iter().all(|found| *found == Some((0, 1.0)));
        assert!(all_first(both.of_vectors().unwrap()) && all_first(both.of_others().unwrap()));
    }

    #[test]
    fn one_vector_has_no_other() {
        let one = Tensor::ones((1, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        assert_eq!(search(&one, None).of_vectors().unwrap(), [None]);
    }
}
