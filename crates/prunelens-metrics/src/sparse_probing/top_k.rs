//! A logistic regression on the columns that differ most between the classes.

use crate::texts::{
    Draw,
    linear::{Examples, mean_difference},
    logistic::Logistic,
};

/// The probe, and which columns it reads.
#[derive(Clone, Debug, PartialEq)]
pub struct TopK {
    /// Ascending.
    pub columns: Vec<usize>,
    /// On the chosen columns alone.
    pub probe: Logistic,
}

/// scikit-learn's default, as in SAEBench.
const C: f64 = 1.0;

/// Choose the `k` columns with the largest difference of the means over the two kinds of rows, and fit on them.
pub fn fit(examples: &impl Examples, train: &Draw, k: usize) -> TopK {
    let difference = mean_difference(examples, train);
    let mut order: Vec<usize> = (0..difference.len()).collect();
    // Of columns that differ alike the first.
    order.sort_by(|&a, &b| difference[b].abs().total_cmp(&difference[a].abs()).then(a.cmp(&b)));
    order.truncate(k);
    order.sort_unstable();
    let x: Vec<f64> =
        train.0.iter().flat_map(|(row, _)| order.iter().map(|&at| f64::from(examples.value(*row, at)))).collect();
    let positive: Vec<bool> = train.0.iter().map(|(_, positive)| *positive).collect();
    TopK { probe: Logistic::fit(&x, order.len(), &positive, &[], C), columns: order }
}

impl TopK {
    /// Share of a draw that is told rightly.
    pub fn accuracy(&self, examples: &impl Examples, test: &Draw) -> f64 {
        test.accuracy(|row| self.probe.score(self.columns.iter().map(|&at| f64::from(examples.value(row, at)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::texts::linear::Dense;

    #[test]
    fn the_columns_that_differ_most() {
        // Column 1 tells the classes apart, column 3 the other way round and less, the others do not.
        let values =
            [[0.0f32, 3.0, 5.0, 0.0], [1.0, 4.0, 5.0, 1.0], [1.0, 0.0, 5.0, 2.0], [0.0, 1.0, 5.0, 3.0]].concat();
        let examples = Dense { values: &values, width: 4 };
        let draw = Draw(vec![(0, true), (2, false), (1, true), (3, false)]);
        assert_eq!(mean_difference(&examples, &draw), [0.0, 3.0, 0.0, -2.0]);
        let probe = fit(&examples, &draw, 2);
        assert_eq!(probe.columns, [1, 3]);
        assert!(probe.probe.weights[0] > 0.0 && probe.probe.weights[1] < 0.0);
        assert_eq!(probe.accuracy(&examples, &draw), 1.0);
        assert_eq!(fit(&examples, &draw, 1).columns, [1]);
        assert_eq!(fit(&examples, &draw, 9).columns, [0, 1, 2, 3]);
    }
}
