//! The demo's data for metrics: labelled texts and a class of entities, from the texts that its model was trained on.

use std::{
    path::{Path, PathBuf},
    sync::LazyLock,
};

use super::name;
use crate::{
    data::{
        Dataset, LabelledText,
        entities::{EntityClass, files::class_of},
        labelled::{About, read::wanted_of},
        records::read_csv,
    },
    digest::sha256,
    error::{Error, Result},
};

/// One text a row, with all its labels.
const TEXTS: &str = include_str!("../../demo/labelled.csv");
/// The files of the class, as `prunelens data entities` wrote them.
const CHARACTERS: [(&str, &str); 4] = [
    (
        "ravel_character_attribute_to_prompts.json",
        include_str!("../../demo/ravel/ravel_character_attribute_to_prompts.json"),
    ),
    ("ravel_character_entity_attributes.json", include_str!("../../demo/ravel/ravel_character_entity_attributes.json")),
    ("ravel_character_entity_to_split.json", include_str!("../../demo/ravel/ravel_character_entity_to_split.json")),
    ("ravel_character_prompt_to_split.json", include_str!("../../demo/ravel/ravel_character_prompt_to_split.json")),
];

/// A column of the texts as a data set, with another as second label.
struct Set {
    label: &'static str,
    classes: &'static [&'static str],
    second: Option<(&'static str, [&'static str; 2])>,
}

const EARLY: &str = "early-speech";
const LATE: &str = "late-speech";

/// Named by their column, in the order of names, as folders are. Three classes each: of two, either is against the other,
/// and TPP has nothing to tell.
const SETS: [Set; 2] = [
    Set { label: "kind", classes: &[EARLY, LATE, "novel"], second: None },
    Set { label: "theme", classes: &["money", "war", "nations"], second: Some(("kind", [EARLY, LATE])) },
];

impl Set {
    fn about(&self) -> (PathBuf, About) {
        let text = |text: &&str| (*text).to_owned();
        let pairs = |(at, a): (usize, &&'static str)| {
            let after = self.classes[at + 1..].iter();
            after.map(|b| [text(a), text(b)]).collect::<Vec<_>>()
        };
        let about = About {
            name: self.label.into(),
            classes: self.classes.iter().map(text).collect(),
            spurious_values: self.second.map(|(_, values)| values.map(str::to_owned)),
            scr_pairs: match self.second {
                Some(_) => self.classes.iter().enumerate().flat_map(pairs).collect(),
                None => Vec::new(),
            },
        };
        (name(self.label), about)
    }

    fn read(&self, folder: PathBuf, about: About) -> Result<Dataset> {
        let columns: Vec<&str> =
            ["part", "text", self.label].into_iter().chain(self.second.map(|(column, _)| column)).collect();
        let (mut train, mut test) = (Vec::new(), Vec::new());
        for record in read_csv(&name("labelled.csv"), TEXTS.as_bytes(), &columns)? {
            let mut values = record.values.into_iter();
            let mut value = || values.next().flatten();
            // A novel has no theme.
            let (Some(part), Some(text), Some(label)) = (value(), value(), value()) else { continue };
            let text = LabelledText { text, label, spurious: value(), place: record.place };
            if part == "train" { train.push(text) } else { test.push(text) }
        }
        Ok(Dataset { folder, about, train, test })
    }
}

/// The data sets, or those of them named.
pub fn datasets(wanted: &[String]) -> Result<Vec<Dataset>> {
    let chosen = wanted_of(Path::new("demo"), SETS.iter().map(Set::about).collect(), wanted)?;
    let read = |(folder, about): (PathBuf, About)| {
        let set = SETS.iter().find(|set| set.label == about.name);
        set.ok_or_else(|| Error::file(&folder, "is no data set of the demo"))?.read(folder, about)
    };
    chosen.into_iter().map(read).collect()
}

/// Characters of novels, with what the demo's model says of them.
pub fn classes() -> Result<Vec<EntityClass>> {
    let open = |path: &Path| {
        let file = CHARACTERS.iter().find(|(file, _)| path.ends_with(file));
        let (_, text) = file.ok_or_else(|| Error::file(path, "is no file of the demo"))?;
        Ok(text.as_bytes().to_vec())
    };
    Ok(vec![class_of(&name("ravel"), "character".into(), &open)?])
}

/// SHA-256 of all of it: what tells these data from those of another version of the program.
pub fn digest() -> &'static str {
    static DIGEST: LazyLock<String> = LazyLock::new(|| {
        let parts = [TEXTS].into_iter().chain(CHARACTERS.iter().map(|(_, text)| *text));
        // The parts' own digests side by side, so that nothing can move from one to the next unseen.
        sha256(parts.map(|part| sha256(part.as_bytes())).collect::<String>().as_bytes())
    });
    &DIGEST
}
