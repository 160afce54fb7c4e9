//! `prunelens data labels`.

use std::path::PathBuf;

use clap::Args;
use prunelens_core::{
    data::labelled::{Making, make_dataset},
    error::{Error, Result},
    text::safe,
};

use crate::output::{self, printable};

#[derive(Args, Clone, Debug)]
pub struct LabelsArgs {
    /// Tables: .csv, .jsonl, .csv.zst, .jsonl.zst or .parquet.
    #[arg(value_name = "INPUT", required = true)]
    pub inputs: Vec<PathBuf>,
    /// Column with the text.
    #[arg(long, value_name = "COLUMN", default_value = "text")]
    pub text: String,
    /// Column with the label.
    #[arg(long, value_name = "COLUMN", default_value = "label")]
    pub label: String,
    /// Column with the second label, for SCR.
    #[arg(long, value_name = "COLUMN")]
    pub spurious: Option<String>,
    /// Labels to keep, with commas between [default: all].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub classes: Vec<String>,
    /// The two values of the second label that count [default: what is found, if that is two].
    #[arg(long, value_name = "A,B", value_delimiter = ',', requires = "spurious")]
    pub spurious_values: Vec<String>,
    /// Pairs of classes for SCR, as A:B with commas between [default: the classes two by two].
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "spurious")]
    pub pairs: Vec<String>,
    /// What results call the data set [default: the name of --out].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Folder to write the data set to.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Share of the texts to test with.
    #[arg(long, value_name = "SHARE", default_value_t = 0.2)]
    pub test_share: f64,
    /// Seed of the split.
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
}

/// Make a data set from a table of labelled texts.
pub fn run(args: &LabelsArgs) -> Result<()> {
    let made = make_dataset(&making(args)?)?;
    let mut text = format!("{}\n", safe(&made.about.name));
    let width = made.counts.iter().map(|(class, ..)| safe(class).chars().count()).max().unwrap_or(0).min(40);
    for (class, train, test) in &made.counts {
        text += &format!("  {:width$}  {train:>7} to train  {test:>7} to test\n", safe(class));
    }
    for (count, what) in [
        (made.other, "of other classes or values left out"),
        (made.incomplete, "without a value in a column needed left out"),
        (made.repeated, "with a text that was there before left out"),
        (made.contradictory, "with a text that another row labels otherwise left out"),
    ] {
        if count > 0 {
            text += &format!("  {count} rows {what}\n");
        }
    }
    if let Some([a, b]) = &made.about.spurious_values {
        let pairs: Vec<_> = made.about.scr_pairs.iter().map(|[a, b]| format!("{}:{}", safe(a), safe(b))).collect();
        text += &format!("  second label {} / {}, pairs {}\n", safe(a), safe(b), pairs.join(", "));
    }
    text += &format!("written: {}\n", args.out.display());
    output::answer(&printable(&text))
}

fn making(args: &LabelsArgs) -> Result<Making> {
    let pair = |text: &String| {
        let pair = text.split_once(':').map(|(a, b)| [a.to_owned(), b.to_owned()]);
        pair.ok_or_else(|| Error::Usage(format!("--pairs: {:?} is no pair; expected CLASS:CLASS", safe(text))))
    };
    let spurious_values = match &args.spurious_values[..] {
        [] => None,
        [a, b] => Some([a.clone(), b.clone()]),
        other => return Err(Error::Usage(format!("--spurious-values: {} values, expected 2", other.len()))),
    };
    if args.spurious.as_ref().is_some_and(|spurious| spurious == &args.label) {
        let label = safe(&args.label);
        return Err(Error::Usage(format!(
            "--spurious {label} is --label itself: a second label tells the classes apart"
        )));
    }
    Ok(Making {
        inputs: args.inputs.clone(),
        text: args.text.clone(),
        label: args.label.clone(),
        spurious: args.spurious.clone(),
        classes: args.classes.clone(),
        spurious_values,
        pairs: args.pairs.iter().map(pair).collect::<Result<_>>()?,
        name: args.name.clone(),
        out: args.out.clone(),
        test_share: args.test_share,
        seed: args.seed,
    })
}
