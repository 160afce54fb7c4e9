//! How sparse each matrix became.

use serde::Serialize;

/// One matrix of the file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Matrix {
    /// As the file names it.
    pub name: String,
    /// As the file stores it.
    pub shape: Vec<usize>,
    /// How many there are.
    pub weights: u64,
    /// How many of them are zero.
    pub zeros: u64,
    /// Share of zeros.
    pub sparsity: f64,
}

impl Matrix {
    /// Counts of one matrix.
    pub fn new(name: &str, shape: &[usize], zeros: u64) -> Self {
        let weights = shape.iter().product::<usize>() as u64;
        Self { name: name.to_owned(), shape: shape.to_vec(), weights, zeros, sparsity: share(zeros, weights) }
    }
}

/// What was written, from what, and how.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The folder written.
    pub out: String,
    /// Model, SAE, rule and ratio: enough to make it again.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// One each.
    pub matrices: Vec<Matrix>,
    /// Over these matrices.
    pub weights: u64,
    /// In all matrices.
    pub zeros: u64,
    /// Share of zeros in all matrices.
    pub sparsity: f64,
}

impl Report {
    /// Of a folder, the settings it was made by, and its matrices.
    pub fn new(out: String, settings: serde_json::Map<String, serde_json::Value>, matrices: Vec<Matrix>) -> Self {
        let sum = |of: fn(&Matrix) -> u64| matrices.iter().map(of).sum();
        let (weights, zeros) = (sum(|m| m.weights), sum(|m| m.zeros));
        Self { out, settings, matrices, weights, zeros, sparsity: share(zeros, weights) }
    }

    /// For people to read.
    pub fn table(&self) -> String {
        let mut rows: Vec<[String; 4]> = vec![["matrix", "shape", "zeros", "sparsity"].map(str::to_owned)];
        let row = |name: &str, shape: String, zeros: u64, sparsity: f64| {
            [name.to_owned(), shape, zeros.to_string(), format!("{:.2} %", 100.0 * sparsity)]
        };
        rows.extend(self.matrices.iter().map(|m| {
            let shape: Vec<_> = m.shape.iter().map(usize::to_string).collect();
            row(&m.name, shape.join("x"), m.zeros, m.sparsity)
        }));
        rows.push(row("all of these", self.weights.to_string(), self.zeros, self.sparsity));
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let [a, b, c, d] = [0, 1, 2, 3].map(width);
        let mut text = String::new();
        for [name, shape, zeros, sparsity] in &rows {
            text.push_str(&format!("{name:<a$}  {shape:>b$}  {zeros:>c$}  {sparsity:>d$}\n"));
        }
        text.push_str(&format!("\nwritten to {}\n", self.out));
        text
    }
}

fn share(zeros: u64, weights: u64) -> f64 {
    if weights == 0 { 0.0 } else { zeros as f64 / weights as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_weigh_by_size() {
        let matrices = vec![Matrix::new("W_enc", &[4, 6], 12), Matrix::new("W_dec", &[6, 1], 0)];
        let report = Report::new("out".into(), Default::default(), matrices);
        assert_eq!((report.weights, report.zeros, report.sparsity), (30, 12, 0.4));
        assert_eq!(
            report.table(),
            "\
matrix        shape  zeros  sparsity
W_enc           4x6     12   50.00 %
W_dec           6x1      0    0.00 %
all of these     30     12   40.00 %

written to out
"
        );
    }
}
