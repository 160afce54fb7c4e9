//! `prunelens data entities`.

use super::facts::{Known, keep_known};
use crate::{
    cli::EntitiesArgs,
    data::entities::{
        EntityClass,
        table::{LeftOut, TableSpec, read_table},
        write_class,
    },
    error::{Error, Result},
    files::create_folder,
    model::{Tick, ragged::readable},
    output::{self, ProgressLine, printable},
    session::{Compress, Models, SessionSpec},
    text::safe,
};

/// Make the files of one entity class from a table, asking the model what it knows.
pub fn run(args: &EntitiesArgs, spec: &SessionSpec, tick: Tick) -> Result<()> {
    let named = |c: char| c.is_alphanumeric() || "_-".contains(c);
    if args.class.is_empty() || args.class.len() > 80 || !args.class.chars().all(named) {
        return Err(Error::Usage(format!(
            "--class {:?}: expected a short name of letters, digits, _ and -",
            safe(&args.class)
        )));
    }
    let repeated = args.attributes.iter().enumerate().find(|(at, a)| args.attributes[..*at].contains(a));
    if let Some((_, attribute)) = repeated {
        return Err(Error::Usage(format!("--attributes: {:?} is named twice", safe(attribute))));
    }
    let table = TableSpec {
        class: &args.class,
        entity: &args.entity,
        attributes: &args.attributes,
        limit: args.limit,
        seed: args.seed,
    };
    let (class, out) = read_table(&args.input, &table, args.templates.as_deref())?;
    let folder = args.out.join("ravel");
    create_folder(&folder)?;
    // Only the model itself is asked: nothing is pruned for this.
    let spec = SessionSpec { compress: Compress::None, pruned_model: None, ..spec.clone() };
    let models = Models::load(&spec, &mut output::listener())?;
    let model = readable(&models.original)?;
    let mut line = ProgressLine::new();
    let report = &mut |done: usize, all: usize| line.line(|| format!("asking: {done} of {all} prompts"));
    let (kept, known) = keep_known(&class, &model, &models.tokenizer, args.any, tick, report)?;
    line.clear();
    let mut text = summary(&model.name, &class, &kept, &known, out);
    for path in write_class(&folder, &kept)? {
        text += &format!("written: {}\n", path.display());
    }
    output::answer(&printable(&text))
}

fn summary(model: &str, class: &EntityClass, kept: &EntityClass, known: &[Known], out: LeftOut) -> String {
    let mut text = format!(
        "{}: {} of {} entities kept, as {} knows them\n",
        safe(&kept.name),
        kept.entities.len(),
        class.entities.len(),
        safe(model)
    );
    let width = known.iter().map(|k| k.attribute.chars().count()).max().unwrap_or(0).min(40);
    for (k, attribute) in known.iter().zip(&class.attributes) {
        text += &format!(
            "  {:width$}  known of {:>6} entities, {:>7} of {:>7} prompts right, {} of {} templates kept\n",
            safe(&k.attribute),
            k.entities,
            k.prompts,
            k.asked,
            k.templates,
            attribute.templates.len()
        );
    }
    for (count, what) in [
        (out.incomplete, "rows without a name or a label left out"),
        (out.repeated, "rows with a name that was there before left out"),
        (out.examples, "entities are examples in the templates, and not asked about"),
    ] {
        if count > 0 {
            text += &format!("  {count} {what}\n");
        }
    }
    text
}
