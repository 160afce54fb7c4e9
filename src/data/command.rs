//! `prunelens data labels`.

use super::labelled::{Making, make_dataset};
use crate::{
    cli::data::LabelsArgs,
    error::{Error, Result},
    output::{self, printable},
    text::safe,
};

/// Make a data set from a table of labelled texts.
pub fn labels(args: &LabelsArgs) -> Result<()> {
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
