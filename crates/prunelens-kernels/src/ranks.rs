//! Ranks in a comparison group, and the mask at a ratio: computed once, exact and reversible at any ratio.

use rayon::prelude::*;

/// How many weights of a group go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sparsity {
    /// The `floor(len * ratio)` smallest of each output row.
    Ratio(f64),
    /// The `n` smallest of every `m` consecutive inputs.
    NM(usize, usize),
}

/// The rank of each weight in its comparison group: 0 for the smallest score, the lower index first among equals.
/// Stored like the matrix.
#[derive(Clone, Debug, PartialEq)]
pub enum Ranks {
    /// Of groups of up to 65,536 weights.
    U16(Vec<u16>),
    /// Of larger groups.
    U32(Vec<u32>),
}

impl Ranks {
    /// The rank of the weight at this place of the matrix.
    #[inline]
    pub fn get(&self, at: usize) -> u32 {
        match self {
            Self::U16(ranks) => u32::from(ranks[at]),
            Self::U32(ranks) => ranks[at],
        }
    }

    /// Memory that they take.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::U16(ranks) => 2 * ranks.len() as u64,
            Self::U32(ranks) => 4 * ranks.len() as u64,
        }
    }
}

/// Along which axis of a `[rows, cols]` matrix weights are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Each row is a group.
    Row,
    /// Each column is a group.
    Column,
}

impl Group {
    /// Number of weights in a group.
    pub fn len(self, rows: usize, cols: usize) -> usize {
        match self {
            Self::Row => cols,
            Self::Column => rows,
        }
    }
}

/// How many weights of a group are pruned at a ratio: `floor(len * ratio)` in f64. A weight is kept iff its rank reaches it.
pub fn cut(group_len: usize, ratio: f64) -> u32 {
    (group_len as f64 * ratio) as u32
}

/// Zero the weights of lowest score in each group of each row of `w [rows, cols]`; the score is |w| times the column's norm.
pub fn prune_rows(w: &[f32], norm: Option<&[f32]>, cols: usize, sparsity: Sparsity) -> Vec<f32> {
    let mut out = w.to_vec();
    out.par_chunks_mut(cols).for_each_init(Vec::new, |order: &mut Vec<u64>, row| {
        let (group, n) = match sparsity {
            Sparsity::Ratio(ratio) => (cols, cut(cols, ratio) as usize),
            Sparsity::NM(n, m) => (m, n),
        };
        for (start, chunk) in row.chunks_mut(group).enumerate() {
            order.clear();
            order.extend(chunk.iter().enumerate().map(|(at, w)| {
                let score = w.abs() * norm.map_or(1.0, |norm| norm[start * group + at]);
                u64::from(score.to_bits()) << 32 | at as u64
            }));
            let n = n.min(order.len());
            if n > 0 {
                order.select_nth_unstable(n - 1);
                order[..n].iter().for_each(|key| chunk[*key as u32 as usize] = 0.0);
            }
        }
    });
    out
}

/// Ranks of `[rows, cols]` weights by `score(row, col)`, which must be finite and not negative.
pub fn ranks(rows: usize, cols: usize, group: Group, score: impl Fn(usize, usize) -> f32 + Sync) -> Ranks {
    if group.len(rows, cols) <= usize::from(u16::MAX) + 1 {
        Ranks::U16(fill(rows, cols, group, score, |rank| rank as u16))
    } else {
        Ranks::U32(fill(rows, cols, group, score, |rank| rank as u32))
    }
}

fn fill<T: Copy + Default + Send + Sync>(
    rows: usize,
    cols: usize,
    group: Group,
    score: impl Fn(usize, usize) -> f32 + Sync,
    narrow: impl Fn(usize) -> T + Sync,
) -> Vec<T> {
    match group {
        Group::Row => {
            let mut out = vec![T::default(); rows * cols];
            out.par_chunks_mut(cols).enumerate().for_each_init(Sorter::default, |sorter, (row, out)| {
                for (rank, at) in sorter.sort((0..cols).map(|col| score(row, col))).iter().enumerate() {
                    out[*at as usize] = narrow(rank);
                }
            });
            out
        }
        Group::Column => {
            // A group is a column: ranks are found column by column into a transposed matrix, which is then turned.
            // Columns are taken a few at a time so that each cache line of the scores is read once.
            const COLUMNS: usize = 16;
            let mut turned = vec![T::default(); rows * cols];
            turned.par_chunks_mut(rows * COLUMNS).enumerate().for_each_init(
                || (Sorter::default(), Vec::new()),
                |(sorter, scores), (block, out)| {
                    let first = block * COLUMNS;
                    let width = out.len() / rows;
                    scores.clear();
                    scores.resize(rows * width, 0.0_f32);
                    for row in 0..rows {
                        for at in 0..width {
                            scores[at * rows + row] = score(row, first + at);
                        }
                    }
                    for (scores, out) in scores.chunks(rows).zip(out.chunks_mut(rows)) {
                        for (rank, at) in sorter.sort(scores.iter().copied()).iter().enumerate() {
                            out[*at as usize] = narrow(rank);
                        }
                    }
                },
            );
            crate::matmul::transpose(&turned, cols, rows)
        }
    }
}

/// Stable ascending sort of non-negative scores, giving the order of their indices.
#[derive(Default)]
struct Sorter {
    keys: Vec<u64>,
    spare: Vec<u64>,
    order: Vec<u32>,
}

impl Sorter {
    /// Below this length a comparison sort wins over the radix sort's tables.
    const SHORT: usize = 1 << 9;

    fn sort(&mut self, scores: impl Iterator<Item = f32>) -> &[u32] {
        // The bits of a non-negative float order like the float; the index below them makes the order total and stable.
        self.keys.clear();
        self.keys.extend((0_u64..).zip(scores).map(|(at, s)| u64::from((s + 0.0).to_bits()) << 32 | at));
        if self.keys.len() < Self::SHORT {
            self.keys.sort_unstable();
        } else {
            self.radix();
        }
        self.order.clear();
        self.order.extend(self.keys.iter().map(|key| *key as u32));
        &self.order
    }

    /// Least significant digit first, three digits of the score's bits; stable, so the index needs no digits.
    fn radix(&mut self) {
        const BITS: u32 = 11;
        self.spare.resize(self.keys.len(), 0);
        for digit in 0..3 {
            let shift = 32 + digit * BITS;
            let mut starts = [0_u32; 1 << BITS];
            for key in &self.keys {
                starts[(key >> shift) as usize & ((1 << BITS) - 1)] += 1;
            }
            let mut total = 0;
            for start in &mut starts {
                (*start, total) = (total, total + *start);
            }
            for key in &self.keys {
                let start = &mut starts[(key >> shift) as usize & ((1 << BITS) - 1)];
                self.spare[*start as usize] = *key;
                *start += 1;
            }
            std::mem::swap(&mut self.keys, &mut self.spare);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(row: usize, col: usize) -> f32 {
        ((row * 7919 + col * 104_729) % 61) as f32 / 7.0
    }

    fn plain(rows: usize, cols: usize, group: Group) -> Vec<u32> {
        let mut out = vec![0; rows * cols];
        let (groups, len) = match group {
            Group::Row => (rows, cols),
            Group::Column => (cols, rows),
        };
        let place = |g: usize, at: usize| if group == Group::Row { (g, at) } else { (at, g) };
        for g in 0..groups {
            let mut order: Vec<usize> = (0..len).collect();
            let value = |at: usize| {
                let (row, col) = place(g, at);
                score(row, col)
            };
            order.sort_by(|a, b| value(*a).total_cmp(&value(*b)));
            for (rank, at) in order.into_iter().enumerate() {
                let (row, col) = place(g, at);
                out[row * cols + col] = rank as u32;
            }
        }
        out
    }

    #[test]
    fn ranks_are_those_of_a_stable_sort() {
        for (rows, cols) in [(5, 9), (33, 700), (1500, 21), (1, 1)] {
            for group in [Group::Row, Group::Column] {
                let got = ranks(rows, cols, group, score);
                let want = plain(rows, cols, group);
                assert!((0..rows * cols).all(|at| got.get(at) == want[at]), "{rows}x{cols} {group:?}");
            }
        }
    }

    #[test]
    fn long_groups_take_wide_ranks() {
        let got = ranks(1, 70_000, Group::Row, |_, col| (70_000 - col) as f32);
        assert!(matches!(got, Ranks::U32(_)));
        assert_eq!((got.get(0), got.get(69_999)), (69_999, 0));
    }

    #[test]
    fn the_cut_is_pythons() {
        assert_eq!(cut(100, 0.29), 28); // int(100 * 0.29) == 28
        assert_eq!(cut(768, 0.5), 384);
        assert_eq!(cut(10, 0.0), 0);
        assert_eq!(cut(24576, 0.99), 24330);
    }
}
