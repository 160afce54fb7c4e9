//! `prunelens data entities`.

use std::path::PathBuf;

use clap::Args;
use prunelens_core::{
    data::entities::{
        EntityClass,
        table::{LeftOut, TableSpec, read_table},
        write_class,
    },
    error::{Error, Result},
    files::create_folder,
    model::ragged::readable,
    session::{Compress, Models, SessionSpec},
    text::safe,
};
use prunelens_metrics::ravel::facts::{Known, keep_known};

use crate::{
    cli::setup,
    interrupt,
    output::{self, ProgressLine, printable},
    settings::ModelSettings,
};

#[derive(Args, Clone, Debug)]
pub struct EntitiesArgs {
    /// Table: .csv, .jsonl, .csv.zst, .jsonl.zst or .parquet. Of rows with one name the first counts.
    #[arg(value_name = "INPUT")]
    pub input: PathBuf,
    /// Column with the entities' names.
    #[arg(long, value_name = "COLUMN")]
    pub entity: String,
    /// Columns with what can be asked of them, with commas between.
    #[arg(long, value_name = "LIST", value_delimiter = ',', required = true)]
    pub attributes: Vec<String>,
    /// What the entities are: part of the files' names, and of the built-in templates.
    #[arg(long, value_name = "NAME")]
    pub class: String,
    /// Folder to write to; the files are in its folder ravel.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// JSON file {attribute: list of templates}, each template with one %s for the entity [default: built in].
    #[arg(long, value_name = "FILE")]
    pub templates: Option<PathBuf>,
    /// Entities to ask about, from the table's start.
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub limit: usize,
    /// Keep entities of which the model knows only a part, with that part.
    #[arg(long)]
    pub any: bool,
    /// Seed of the splits.
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
    #[command(flatten)]
    pub model: ModelSettings,
}

/// Make the files of one entity class from a table, asking the model what it knows.
pub fn run(args: &EntitiesArgs) -> Result<()> {
    let spec = setup::headless(args.model.clone())?.spec;
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
    let spec = SessionSpec { compress: Compress::None, pruned_model: None, ..spec };
    let models = Models::load(&spec, &mut output::listener())?;
    output::warn(&models.warnings);
    let model = readable(&models.original)?;
    let mut line = ProgressLine::new();
    let report = &mut |done: usize, all: usize| line.line(|| format!("asking: {done} of {all} prompts"));
    let (kept, known) = keep_known(&class, &model, &models.tokenizer, args.any, &mut interrupt::tick, report)?;
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
