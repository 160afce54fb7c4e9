//! Making a data set from a table that a user has.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{ABOUT, About, TEST, TRAIN};
use crate::{
    data::read_records,
    error::{Error, Result},
    files::{create_folder, write_atomic},
    rng::Rng,
    text::{safe, shorten},
};

/// What to make of it.
#[derive(Clone, Debug)]
pub struct Making {
    /// Tables of one kind, read one after the other.
    pub inputs: Vec<PathBuf>,
    /// What is read.
    pub text: String,
    /// Which class it belongs to.
    pub label: String,
    /// Column of the second label.
    pub spurious: Option<String>,
    /// Labels to keep, in this order; all of them if none is named.
    pub classes: Vec<String>,
    /// Default: what is found, if that is two values.
    pub spurious_values: Option<[String; 2]>,
    /// Default, with a second label: the classes two by two.
    pub pairs: Vec<[String; 2]>,
    /// Default: the name of `out`.
    pub name: Option<String>,
    /// Folder to write.
    pub out: PathBuf,
    /// Share of every class that is kept for the test.
    pub test_share: f64,
    /// Of the split into training and test texts.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// What the data set consists of.
    pub about: About,
    /// Training and test texts of each class.
    pub counts: Vec<(String, usize, usize)>,
    /// Rows of other classes, without a value in a column needed, and with a text that was there before.
    pub other: usize,
    /// Rows without a text or a label.
    pub incomplete: usize,
    /// Texts that stood there before.
    pub repeated: usize,
    /// Texts left out because another row labels them otherwise.
    pub contradictory: usize,
}

struct Row {
    text: String,
    label: String,
    spurious: Option<String>,
}

/// More classes than anyone probes for: rather a column of numbers or of texts.
const MAX_CLASSES: usize = 1000;

/// Read, split and write. Every class, and every value of the second label within it, is split alike.
pub fn make_dataset(making: &Making) -> Result<Made> {
    if !(making.test_share > 0.0 && making.test_share < 1.0) {
        return Err(Error::Usage(format!(
            "a test share of {} does not leave both parts; expected 0 to 1",
            making.test_share
        )));
    }
    if let Some(old) = [TRAIN, TEST, ABOUT].iter().map(|name| making.out.join(name)).find(|path| path.exists()) {
        return Err(Error::file(old, "is there already; choose another --out, so that no data set is mixed with it"));
    }
    let mut made =
        Made { about: About::default(), counts: Vec::new(), other: 0, incomplete: 0, repeated: 0, contradictory: 0 };
    let mut rows = read_rows(making, &mut made)?;
    let classes = classes(making, &rows)?;
    let found = rows.len();
    rows.retain(|row| classes.contains(&row.label));
    made.other = found - rows.len();
    let spurious_values = spurious_values(making, &rows)?;
    if let Some(values) = &spurious_values {
        let found = rows.len();
        rows.retain(|row| row.spurious.as_ref().is_some_and(|value| values.contains(value)));
        made.other += found - rows.len();
    }
    let (train, test) = split(making, rows, &classes)?;
    for class in &classes {
        let count = |rows: &[Row]| rows.iter().filter(|row| row.label == *class).count();
        made.counts.push((class.clone(), count(&train), count(&test)));
    }
    let name = making.name.clone().or_else(|| Some(making.out.file_name()?.to_string_lossy().into_owned()));
    made.about = About {
        name: name.unwrap_or_else(|| "texts".into()),
        scr_pairs: pairs(making, &classes, spurious_values.is_some())?,
        classes,
        spurious_values,
    };
    create_folder(&making.out)?;
    write_rows(&making.out.join(TRAIN), &train)?;
    write_rows(&making.out.join(TEST), &test)?;
    let about = serde_json::to_string_pretty(&made.about).map_err(|e| Error::invalid(e.to_string()))?;
    write_atomic(making.out.join(ABOUT), format!("{about}\n").as_bytes())?;
    Ok(made)
}

fn read_rows(making: &Making, made: &mut Made) -> Result<Vec<Row>> {
    let mut columns = vec![&making.text[..], &making.label];
    columns.extend(making.spurious.as_deref());
    let mut seen: HashMap<String, usize> = HashMap::new();
    let (mut rows, mut torn): (Vec<Row>, Vec<bool>) = (Vec::new(), Vec::new());
    for input in &making.inputs {
        for record in read_records(input, &columns)? {
            let complete: Option<Vec<String>> =
                record.values.into_iter().map(|v| v.filter(|v| !v.trim().is_empty())).collect();
            let Some(mut values) = complete.map(Vec::into_iter) else {
                made.incomplete += 1;
                continue;
            };
            let (Some(text), Some(label)) = (values.next(), values.next()) else { continue };
            let row = Row { text, label, spurious: values.next() };
            // A text on both sides of the split would be learnt by heart, and one with two labels cannot be learnt.
            if let Some(&before) = seen.get(&row.text) {
                made.repeated += 1;
                torn[before] |= rows[before].label != row.label || rows[before].spurious != row.spurious;
                continue;
            }
            seen.insert(row.text.clone(), rows.len());
            rows.push(row);
            torn.push(false);
        }
    }
    made.contradictory = torn.iter().filter(|torn| **torn).count();
    let mut torn = torn.into_iter();
    rows.retain(|_| torn.next() != Some(true));
    Ok(rows)
}

fn classes(making: &Making, rows: &[Row]) -> Result<Vec<String>> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    rows.iter().for_each(|row| *counts.entry(&row.label).or_default() += 1);
    let label = safe(&making.label);
    if let Some(missing) = making.classes.iter().find(|class| !counts.contains_key(&class[..])) {
        let found: Vec<_> = counts.keys().take(20).map(|class| shorten(class, 40)).collect();
        return Err(Error::invalid(format!(
            "no row has {:?} in column {label:?}; found {}",
            shorten(missing, 40),
            found.join(", ")
        )));
    }
    let classes: Vec<String> = match &making.classes[..] {
        [] => counts.keys().map(|class| (*class).to_owned()).collect(),
        named => named.to_vec(),
    };
    match classes.len() {
        0 | 1 => Err(Error::invalid(format!(
            "column {label:?} has {} value in the rows that count; at least 2 classes are needed",
            classes.len()
        ))),
        2..=MAX_CLASSES => Ok(classes),
        many => Err(Error::invalid(format!(
            "column {label:?} has {many} values, which are no classes; name those that count with --classes"
        ))),
    }
}

fn spurious_values(making: &Making, rows: &[Row]) -> Result<Option<[String; 2]>> {
    let Some(column) = &making.spurious else { return Ok(None) };
    if let Some(values) = &making.spurious_values {
        return Ok(Some(values.clone()));
    }
    let mut values: Vec<&String> = rows.iter().filter_map(|row| row.spurious.as_ref()).collect();
    values.sort_unstable();
    values.dedup();
    match &values[..] {
        [a, b] => Ok(Some([(*a).clone(), (*b).clone()])),
        other => Err(Error::invalid(format!(
            "column {:?} has {} values, the second label needs two; name them with --spurious-values",
            safe(column),
            other.len()
        ))),
    }
}

fn pairs(making: &Making, classes: &[String], spurious: bool) -> Result<Vec<[String; 2]>> {
    if let Some(unknown) = making.pairs.iter().flatten().find(|class| !classes.contains(class)) {
        return Err(Error::Usage(format!("--pairs: {:?} is not one of the classes", shorten(unknown, 40))));
    }
    if !making.pairs.is_empty() || !spurious {
        return Ok(making.pairs.clone());
    }
    Ok(classes.as_chunks::<2>().0.to_vec())
}

/// Training and test rows, each in an order that mixes the classes.
fn split(making: &Making, mut rows: Vec<Row>, classes: &[String]) -> Result<(Vec<Row>, Vec<Row>)> {
    let order = Rng::new(making.seed, 1).permutation(rows.len());
    let mut groups: BTreeMap<(String, Option<String>), Vec<u32>> = BTreeMap::new();
    for &at in &order {
        let row = &rows[at as usize];
        groups.entry((row.label.clone(), row.spurious.clone())).or_default().push(at);
    }
    let mut in_test = vec![false; rows.len()];
    for group in groups.values() {
        // At least one on either side, where there are two.
        let most = group.len().saturating_sub(1);
        let count = ((group.len() as f64 * making.test_share).round() as usize).clamp(most.min(1), most);
        group[..count].iter().for_each(|&at| in_test[at as usize] = true);
    }
    for class in classes {
        let of_class = |at: &usize| rows[*at].label == *class;
        let (test, train): (Vec<usize>, Vec<usize>) = (0..rows.len()).filter(of_class).partition(|&at| in_test[at]);
        if test.is_empty() || train.is_empty() {
            return Err(Error::invalid(format!(
                "class {:?} has {} text; at least 2 are needed, one to train on and one to test with",
                shorten(class, 40),
                test.len() + train.len()
            )));
        }
    }
    let (mut train, mut test) = (Vec::new(), Vec::new());
    let mut rows: Vec<Option<Row>> = rows.drain(..).map(Some).collect();
    for at in order {
        let side = if in_test[at as usize] { &mut test } else { &mut train };
        side.extend(rows[at as usize].take());
    }
    Ok((train, test))
}

fn write_rows(path: &Path, rows: &[Row]) -> Result<()> {
    let mut out = String::new();
    for row in rows {
        let mut line = json!({ "text": row.text, "label": row.label });
        if let Some(spurious) = &row.spurious {
            line["spurious"] = spurious[..].into();
        }
        out += &line.to_string();
        out.push('\n');
    }
    write_atomic(path, out.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data::read_datasets;

    fn making(folder: &Path, input: &str) -> Making {
        fs::write(folder.join("in.csv"), input).unwrap();
        Making {
            inputs: vec![folder.join("in.csv")],
            text: "prompt".into(),
            label: "target".into(),
            spurious: None,
            classes: Vec::new(),
            spurious_values: None,
            pairs: Vec::new(),
            name: None,
            out: folder.join("news"),
            test_share: 0.25,
            seed: 0,
        }
    }

    fn table(rows: usize) -> String {
        let row = |n: usize| format!("text {n},{},{}\n", ["a", "b", "c"][n % 3], ["m", "f"][n / 3 % 2]);
        "prompt,target,gender\n".to_owned() + &(0..rows).map(row).collect::<String>()
    }

    #[test]
    fn every_text_is_in_one_part_and_classes_are_split_alike() {
        let folder = tempfile::tempdir().unwrap();
        let making = Making {
            spurious: Some("gender".into()),
            ..making(folder.path(), &(table(48) + "text 0,a,m\n,b,m\ntwo,a,m\ntwo,b,m\n"))
        };
        let made = make_dataset(&making).unwrap();
        assert_eq!((made.repeated, made.incomplete, made.contradictory, made.other), (2, 1, 1, 0));
        assert_eq!(made.counts, [("a".into(), 12, 4), ("b".into(), 12, 4), ("c".into(), 12, 4)]);
        assert_eq!(made.about.scr_pairs, [["a".to_owned(), "b".into()]]);
        assert_eq!(made.about.spurious_values, Some(["f".to_owned(), "m".into()]));

        let read = read_datasets(folder.path(), &["news".into()]).unwrap().remove(0);
        assert_eq!(read.about, made.about);
        let mut texts: Vec<_> = read.train.iter().chain(&read.test).map(|t| t.text.clone()).collect();
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), 48);
        let men =
            |rows: &[crate::data::LabelledText]| rows.iter().filter(|t| t.spurious.as_deref() == Some("m")).count();
        assert_eq!((men(&read.train), men(&read.test)), (18, 6));

        // The same again is refused, and elsewhere gives the same files.
        let message = make_dataset(&making).unwrap_err().to_string();
        assert!(message.contains("is there already"), "{message}");
        let again = Making { out: folder.path().join("again"), ..making.clone() };
        make_dataset(&again).unwrap();
        assert_eq!(fs::read(making.out.join(TRAIN)).unwrap(), fs::read(again.out.join(TRAIN)).unwrap());
    }

    #[test]
    fn classes_can_be_chosen() {
        let folder = tempfile::tempdir().unwrap();
        let making = Making {
            classes: vec!["c".into(), "a".into()],
            name: Some("x/y".into()),
            ..making(folder.path(), &table(30))
        };
        let made = make_dataset(&making).unwrap();
        assert_eq!(
            (made.about.classes.clone(), made.other, made.about.scr_pairs.len()),
            (vec!["c".to_owned(), "a".into()], 10, 0)
        );
        assert_eq!(made.about.name, "x/y");
    }

    #[test]
    fn what_cannot_be_made_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let base = making(folder.path(), &table(12));
        let one = "prompt,target\na,x\nb,x\n";
        let single = "prompt,target\na,x\nb,x\nc,y\n";
        let twice = "prompt,target\na,x\nb,y\na,y\n";
        let cases: [(&str, Making, &str); 9] = [
            (&table(12), Making { text: "text".into(), ..base.clone() }, "no column \"text\""),
            (&table(12), Making { classes: vec!["z".into()], ..base.clone() }, "no row has \"z\""),
            (&table(12), Making { test_share: 1.0, ..base.clone() }, "test share"),
            (&table(12), Making { test_share: f64::NAN, ..base.clone() }, "test share"),
            (&table(12), Making { spurious: Some("prompt".into()), ..base.clone() }, "12 values"),
            (&table(12), Making { pairs: vec![["a".into(), "q".into()]], ..base.clone() }, "\"q\" is not one"),
            (one, base.clone(), "at least 2 classes"),
            (single, base.clone(), "\"y\" has 1 text"),
            (twice, base.clone(), "has 1 value in the rows that count"),
        ];
        for (input, making, expected) in cases {
            fs::write(&making.inputs[0], input).unwrap();
            let message = make_dataset(&making).unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} should say {expected:?}");
            assert!(!making.out.join(ABOUT).exists());
        }
    }
}
