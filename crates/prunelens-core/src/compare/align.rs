//! Tokens of two texts beside each other.

/// Which token of one text stands beside which of another, in reading order: what both begin with and what both end with,
/// token by token; between these the texts are paired from their ends, and the longer one's first tokens stand alone.
pub fn align(first: &[u32], second: &[u32]) -> Vec<(Option<usize>, Option<usize>)> {
    let same = |n: usize, at: &dyn Fn(usize) -> bool| (0..n).take_while(|i| at(*i)).count();
    let shorter = first.len().min(second.len());
    let start = same(shorter, &|i| first[i] == second[i]);
    let end = same(shorter - start, &|i| first[first.len() - 1 - i] == second[second.len() - 1 - i]);
    let middles = [first.len(), second.len()].map(|n| n - start - end);
    let longer = middles[0].max(middles[1]);
    let token = |at: usize, middle: usize| (at + middle >= longer).then(|| start + at + middle - longer);
    let between = (0..longer).map(|at| (token(at, middles[0]), token(at, middles[1])));
    let common = (0..start).map(|at| (Some(at), Some(at)));
    let last = (0..end).rev().map(|at| (Some(first.len() - 1 - at), Some(second.len() - 1 - at)));
    common.chain(between).chain(last).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minimal_pairs_stand_beside_each_other() {
        let both = |all: &[(usize, usize)]| all.iter().map(|(a, b)| (Some(*a), Some(*b))).collect::<Vec<_>>();
        assert_eq!(align(&[1, 2, 3], &[1, 2, 3]), both(&[(0, 0), (1, 1), (2, 2)]));
        assert_eq!(align(&[1, 2, 3], &[1, 9, 3]), both(&[(0, 0), (1, 1), (2, 2)]));
        // "the army of", "the old navy of": what stands before the common end is paired.
        assert_eq!(
            align(&[1, 2, 3], &[1, 7, 9, 3]),
            [&both(&[(0, 0)])[..], &[(None, Some(1))], &both(&[(1, 2), (2, 3)])].concat()
        );
        assert_eq!(align(&[1, 2], &[1]), [(Some(0), Some(0)), (Some(1), None)]);
        assert_eq!(align(&[], &[4]), [(None, Some(0))]);
    }

    #[test]
    fn every_token_stands_once_and_in_order() {
        for (a, b) in
            [(vec![1, 1, 1], vec![1, 1]), (vec![1, 2, 1, 2], vec![2, 1]), (vec![], vec![]), (vec![5], vec![6, 5, 5])]
        {
            let pairs = align(&a, &b);
            assert_eq!(pairs.iter().filter_map(|p| p.0).collect::<Vec<_>>(), (0..a.len()).collect::<Vec<_>>());
            assert_eq!(pairs.iter().filter_map(|p| p.1).collect::<Vec<_>>(), (0..b.len()).collect::<Vec<_>>());
        }
    }
}
