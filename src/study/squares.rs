//! A study as a grid: rows are groups, columns are what is measured. Plain data for a screen.

use std::path::PathBuf;

use super::{Group, Study, status::Counts};

/// What became of a study's cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Overview {
    pub folder: PathBuf,
    /// What all groups have in common.
    pub common: String,
    /// What each group is, in words; and without what all have in common.
    pub names: Vec<String>,
    pub labels: Vec<String>,
    pub columns: Vec<Column>,
    /// For each group, the cell of each column, if it has one.
    pub places: Vec<Vec<Option<usize>>>,
    pub rows: Vec<Row>,
    pub pace: Option<Pace>,
}

/// What a column's cells measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name of the cells.
    pub name: String,
    pub metric: String,
    /// What tells it from the metric's other columns.
    pub rest: String,
}

/// A group's cells, in its own order.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub squares: Vec<Square>,
    pub worker: Option<String>,
}

/// One cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Square {
    Done,
    /// Being measured, and the share that was done at its last checkpoint.
    Working(Option<f64>),
    Waiting,
    /// It could not be measured, and why.
    Failed(String),
}

/// How fast cells are done, over the hour before the last one was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    pub an_hour: f64,
}

impl Overview {
    /// Of a study that was not looked at yet.
    pub fn of(study: &Study) -> Self {
        let mut names: Vec<&str> = Vec::new();
        let mut known = std::collections::BTreeSet::new();
        for (_, cell) in study.cells() {
            if known.insert(cell.name.as_str()) {
                names.push(&cell.name);
            }
        }
        let columns = columns(&names);
        let place = |group: &Group| {
            let at = |column: &Column| group.cells.iter().position(|cell| cell.name == column.name);
            columns.iter().map(at).collect()
        };
        let parts: Vec<[String; 4]> = study.groups.iter().map(parts).collect();
        let varies: [bool; 4] = std::array::from_fn(|at| parts.iter().any(|part| part[at] != parts[0][at]));
        let join = |part: &[String; 4], which: &dyn Fn(usize) -> bool| {
            let chosen = part.iter().enumerate().filter(|(at, text)| which(*at) && !text.is_empty());
            chosen.map(|(_, text)| text.as_str()).collect::<Vec<_>>().join(" · ")
        };
        let label = |part: &[String; 4]| match varies.contains(&true) {
            true => join(part, &|at| varies[at]),
            false => join(part, &|_| true),
        };
        let common = parts.first().filter(|_| varies.contains(&true)).map(|part| join(part, &|at| !varies[at]));
        Self {
            folder: study.folder.clone(),
            common: common.unwrap_or_default(),
            names: parts.iter().map(|part| join(part, &|_| true)).collect(),
            labels: parts.iter().map(label).collect(),
            places: study.groups.iter().map(place).collect(),
            rows: Vec::new(),
            columns,
            pace: None,
        }
    }

    pub fn counts(&self) -> Counts {
        let all = || self.rows.iter().flat_map(|row| &row.squares);
        Counts {
            done: all().filter(|square| **square == Square::Done).count(),
            failed: all().filter(|square| matches!(square, Square::Failed(_))).count(),
            cells: all().count(),
            groups: self.rows.len(),
            worked_on: self.rows.iter().filter(|row| row.worker.is_some()).count(),
        }
    }

    /// The cell at a row and a column, if there is one.
    pub fn square(&self, row: usize, column: usize) -> Option<&Square> {
        let cell = (*self.places.get(row)?.get(column)?)?;
        self.rows.get(row)?.squares.get(cell)
    }

    /// Seconds until all is done at the pace so far, while somebody works.
    pub fn left(&self) -> Option<f64> {
        let counts = self.counts();
        let pace = self.pace.filter(|_| counts.worked_on > 0 && counts.done < counts.cells)?;
        Some((counts.cells - counts.done) as f64 / pace.an_hour * 3600.0)
    }
}

/// Session, compression, hook or layer, seed.
fn parts(group: &Group) -> [String; 4] {
    let place = &group.place;
    let hook = group.spec.hook.map(|hook| hook.to_string());
    [
        place.session.clone(),
        place.compress.clone(),
        hook.or_else(|| place.layer.map(|layer| format!("layer {layer}"))).unwrap_or_default(),
        place.seed.map(|seed| format!("seed {seed}")).unwrap_or_default(),
    ]
}

/// Columns of one metric stand together, and are told apart by the words in which their names differ.
fn columns(names: &[&str]) -> Vec<Column> {
    let metric = |name: &str| name.split(' ').next().unwrap_or_default().to_owned();
    let mut metrics: Vec<String> = Vec::new();
    for name in names {
        if !metrics.contains(&metric(name)) {
            metrics.push(metric(name));
        }
    }
    let mut all = Vec::new();
    for one in metrics {
        let of: Vec<Vec<&str>> =
            names.iter().filter(|name| metric(name) == one).map(|name| name.split(' ').collect()).collect();
        let differs = |at: usize| of.iter().any(|words| words.get(at) != of[0].get(at));
        for words in &of {
            let rest = words.iter().enumerate().skip(1).filter(|(at, _)| differs(*at)).map(|(_, word)| *word);
            let rest = rest.collect::<Vec<_>>().join(" ");
            all.push(Column { name: words.join(" "), metric: one.clone(), rest });
        }
    }
    all
}

/// What a pace is counted over, in seconds.
const HOUR: f64 = 3600.0;

impl Pace {
    /// Of times in seconds at which cells were done; they are put in order.
    pub fn of(times: &mut Vec<f64>) -> Option<Self> {
        times.sort_by(f64::total_cmp);
        let last = *times.last()?;
        let recent = times.split_off(times.partition_point(|time| *time < last - HOUR));
        let span = last - recent.first()?;
        (recent.len() > 1 && span > 0.0).then(|| Self { an_hour: (recent.len() - 1) as f64 / span * HOUR })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_say_in_what_they_differ() {
        let of = |names: &[&str]| {
            columns(names).into_iter().map(|column| format!("{}|{}", column.metric, column.rest)).collect::<Vec<_>>()
        };
        assert_eq!(of(&["core wanda 0.25", "sweep", "core wanda 0.5"]), ["core|0.25", "core|0.5", "sweep|"]);
        assert_eq!(of(&["tpp wanda 0.5 seed0", "tpp paper 0.5 seed0"]), ["tpp|wanda", "tpp|paper"]);
        assert_eq!(of(&["core wanda 0.25"]), ["core|"]);
    }

    #[test]
    fn the_pace_is_that_of_the_last_hour() {
        assert_eq!(Pace::of(&mut Vec::new()), None);
        assert_eq!(Pace::of(&mut vec![10.0]), None);
        let pace = Pace::of(&mut vec![9000.0, 100.0, 9600.0, 9060.0, 9300.0]).unwrap();
        assert_eq!(pace.an_hour, 18.0, "the one long before does not count");
    }
}
