//! A table of entities made into an entity class, with templates to ask for its attributes.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;

use super::{Attribute, EntityClass, files::check_template};
use crate::{
    data::{Record, read_records},
    error::{Error, Result},
    rng::Rng,
    text::shorten,
};

/// What is wanted of a table.
#[derive(Clone, Debug)]
pub struct TableSpec<'a> {
    /// Name of the class, such as `city`.
    pub class: &'a str,
    /// Column of the names.
    pub entity: &'a str,
    /// Columns of the labels; attributes are called like their columns.
    pub attributes: &'a [String],
    /// Entities taken, from the table's start.
    pub limit: usize,
    /// Of the draws.
    pub seed: u64,
}

/// Rows that were left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Without a name or a label.
    pub incomplete: usize,
    /// With a name that was there before.
    pub repeated: usize,
    /// Entities that templates have as examples.
    pub examples: usize,
}

/// Longest name or label, in bytes: longer ones are texts, not names.
const LONGEST: usize = 200;

/// Read the first entities of a table. `templates` is a file `{attribute: [template]}`; without one there are built-in
/// templates, whose examples are entities of the table that are then no longer among those asked about.
pub fn read_table(path: &Path, spec: &TableSpec, templates: Option<&Path>) -> Result<(EntityClass, LeftOut)> {
    let mut columns = vec![spec.entity];
    columns.extend(spec.attributes.iter().map(String::as_str));
    let records = read_records(path, &columns)?;
    let examples = if templates.is_some() { 0 } else { EXAMPLES };
    let (mut entities, mut out) = collect(records, spec, spec.limit.saturating_add(examples));
    let attributes = match templates {
        Some(file) => read_templates(file, spec.attributes)?,
        None => {
            let chosen = choose_examples(&entities, spec.attributes);
            let made =
                built_in(spec.class, spec.attributes, &chosen.iter().map(|&at| &entities[at]).collect::<Vec<_>>());
            out.examples = chosen.len();
            let mut at = 0;
            entities.retain(|_| {
                at += 1;
                !chosen.contains(&(at - 1))
            });
            made
        }
    };
    entities.truncate(spec.limit);
    if entities.len() < 2 {
        return Err(Error::file(
            path,
            format!(
                "{} usable entities; at least two are needed, with a name and all of {}",
                entities.len(),
                spec.attributes.join(", ")
            ),
        ));
    }
    let mut rng = Rng::new(spec.seed, 0);
    let entity_split = split(entities.iter().map(|(name, _)| name), &mut rng);
    let template_split = split(attributes.iter().flat_map(|a: &Attribute| &a.templates), &mut rng);
    Ok((EntityClass { name: spec.class.to_owned(), attributes, entities, entity_split, template_split }, out))
}

type Entity = (String, BTreeMap<String, String>);

fn collect(records: Vec<Record>, spec: &TableSpec, limit: usize) -> (Vec<Entity>, LeftOut) {
    let (mut entities, mut out) = (Vec::new(), LeftOut::default());
    let mut seen = std::collections::HashSet::new();
    for record in records {
        if entities.len() == limit {
            break;
        }
        let value = |v: Option<String>| v.map(|v| v.trim().to_owned()).filter(|v| !v.is_empty() && v.len() <= LONGEST);
        let mut values = record.values.into_iter().map(value);
        let name = values.next().flatten().filter(|name| !name.contains("%s"));
        let labels: Option<BTreeMap<String, String>> =
            spec.attributes.iter().zip(values).map(|(a, v)| Some((a.clone(), v?))).collect();
        match (name, labels) {
            (Some(name), Some(_)) if !seen.insert(name.clone()) => out.repeated += 1,
            (Some(name), Some(labels)) => entities.push((name, labels)),
            _ => out.incomplete += 1,
        }
    }
    (entities, out)
}

/// Entities that a built-in template gives as examples.
const EXAMPLES: usize = 3;
/// They are well known if the table begins with what matters most.
const EXAMPLES_AMONG: usize = 60;

/// Places of entities whose labels all differ, as far as there are such.
fn choose_examples(entities: &[Entity], attributes: &[String]) -> Vec<usize> {
    let plain = |at: &usize| {
        let (name, labels) = &entities[*at];
        !name.contains(['"', '%', '\n']) && labels.values().all(|l| !l.contains(['"', '%', '\n', ',']))
    };
    let mut chosen: Vec<usize> = Vec::new();
    // As different as can be first; then fewer attributes need to differ.
    for same in 0..=attributes.len() {
        for at in (0..entities.len().min(EXAMPLES_AMONG)).filter(plain) {
            let alike = |other: &usize| {
                attributes.iter().filter(|a| entities[at].1.get(*a) == entities[*other].1.get(*a)).count() <= same
            };
            if chosen.len() < EXAMPLES && !chosen.contains(&at) && chosen.iter().all(alike) {
                chosen.push(at);
            }
        }
    }
    chosen
}

/// Templates with examples: even small models then know what is asked.
fn built_in(class: &str, attributes: &[String], examples: &[&Entity]) -> Vec<Attribute> {
    let class = class.replace(['_', '-'], " ");
    let make = |attribute: &String| {
        let name = attribute.replace('_', " ").to_lowercase();
        let join = |separator: &str, one: &dyn Fn(&str, &str) -> String| {
            let shown: Vec<String> =
                examples.iter().map(|(e, l)| one(e, l.get(attribute).map_or("", String::as_str)) + separator).collect();
            shown.concat()
        };
        let mut templates = vec![
            join(" ", &|e, l| format!("The {name} of {e} is {l}.")) + &format!("The {name} of %s is"),
            join("\n", &|e, l| format!("{e}: {l}")) + "%s:",
            join("\n\n", &|e, l| format!("{class}: {e}\n{name}: {l}")) + &format!("{class}: %s\n{name}:"),
            join(" ", &|e, l| format!("Q: What is the {name} of {e}? A: {l}."))
                + &format!("Q: What is the {name} of %s? A:"),
            format!("[{}", join(", ", &|e, l| format!("{{\"{class}\": \"{e}\", \"{name}\": \"{l}\"}}")))
                + &format!("{{\"{class}\": \"%s\", \"{name}\": \""),
        ];
        let sentence: Option<[&str; 2]> = match name.as_str() {
            "country" => Some(["", "is in the country of"]),
            "continent" => Some(["", "is on the continent of"]),
            "language" => Some(["The language that people in ", "speak is"]),
            _ => None,
        };
        if let Some([before, after]) = sentence {
            let ask = |e: &str| format!("{before}{e} {after}");
            templates.push(join(" ", &|e, l| format!("{} {l}.", ask(e))) + &ask("%s"));
        }
        Attribute { name: attribute.clone(), templates }
    };
    attributes.iter().map(make).collect()
}

fn read_templates(path: &Path, attributes: &[String]) -> Result<Vec<Attribute>> {
    const MAX_BYTES: u64 = 16 << 20;
    let size = fs::metadata(path).map_err(|e| Error::io(path, e))?.len();
    if size > MAX_BYTES {
        return Err(Error::file(path, format!("{size} bytes are too many for templates")));
    }
    let text = fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let json: Value = serde_json::from_str(&text)
        .map_err(|e| Error::file(path, format!("not JSON: {}", shorten(&e.to_string(), 200))))?;
    let read = |name: &String| {
        let wrong = || Error::file(path, format!("expected a list of templates at {:?}", shorten(name, 60)));
        let list = json.get(name).and_then(Value::as_array).filter(|list| !list.is_empty()).ok_or_else(wrong)?;
        let templates =
            list.iter().map(|t| t.as_str().map(str::to_owned).ok_or_else(wrong)).collect::<Result<Vec<_>>>()?;
        templates.iter().try_for_each(|template| check_template(path, template))?;
        Ok(Attribute { name: name.clone(), templates })
    };
    attributes.iter().map(read).collect()
}

/// Seven of ten to train with, the rest shared between val and test.
fn split<'a>(keys: impl Iterator<Item = &'a String>, rng: &mut Rng) -> BTreeMap<String, String> {
    let keys: Vec<&String> = keys.collect();
    let n = keys.len();
    let part = |at: usize| {
        if at * 10 < n * 7 {
            "train"
        } else if at * 20 < n * 17 {
            "val"
        } else {
            "test"
        }
    };
    let order = rng.permutation(n);
    order.iter().enumerate().map(|(at, key)| (keys[*key as usize].clone(), part(at).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(csv: &str, limit: usize, templates: Option<&str>) -> Result<(EntityClass, LeftOut)> {
        let dir = tempfile::tempdir().unwrap();
        let table = dir.path().join("t.csv");
        fs::write(&table, csv).unwrap();
        let file = templates.map(|text| {
            let file = dir.path().join("templates.json");
            fs::write(&file, text).unwrap();
            file
        });
        let attributes = ["Country".to_owned(), "Capital_of".to_owned()];
        let spec = TableSpec { class: "big_city", entity: "name", attributes: &attributes, limit, seed: 1 };
        read_table(&table, &spec, file.as_deref())
    }

    fn rows(n: usize) -> String {
        let row = |i: usize| format!("City{i},Land{},Place{}\n", i % 7, i % 3);
        "name,Country,Capital_of\n".to_owned() + &(0..n).map(row).collect::<String>()
    }

    #[test]
    fn built_in_templates_have_examples_that_are_not_asked_about() {
        let (class, out) = read(&rows(30), 20, None).unwrap();
        assert_eq!((class.entities.len(), out), (20, LeftOut { examples: 3, ..LeftOut::default() }));
        let names: Vec<&str> = class.entities.iter().map(|(name, _)| name.as_str()).collect();
        assert!(!names.contains(&"City0") && !names.contains(&"City1") && !names.contains(&"City2"), "{names:?}");
        assert_eq!(class.entity_split.len(), 20);
        let texts: Vec<&String> = class.attributes.iter().flat_map(|a| &a.templates).collect();
        assert_eq!(class.template_split.len(), texts.len());
        for text in &texts {
            check_template(Path::new("t"), text).unwrap();
            assert!(text.contains("City1") && (text.contains("Land1") || text.contains("Place1")), "{text}");
        }
        assert!(texts.iter().any(|t| t.ends_with("is in the country of")));
        assert!(texts.iter().any(|t| t.contains("big city: %s\ncapital of:")), "{texts:?}");
        let parts = |part: &str| class.entity_split.values().filter(|p| *p == part).count();
        assert_eq!((parts("train"), parts("val"), parts("test")), (14, 3, 3));
    }

    #[test]
    fn rows_that_cannot_be_used_are_counted() {
        let csv = "name,Country,Capital_of\nA,1,2\nA,3,4\n,1,2\nB,,2\nC%s,1,2\nD,2,3\n";
        let templates = r#"{"Country": ["%s in"], "Capital_of": ["of %s"]}"#;
        let (class, out) = read(csv, 9, Some(templates)).unwrap();
        assert_eq!(out, LeftOut { incomplete: 3, repeated: 1, examples: 0 });
        assert_eq!(class.entities.len(), 2);
        assert_eq!(class.entities[0].1["Country"], "1");
        assert!(read("name,Country,Capital_of\nA,1,2\n", 9, Some(templates)).is_err());
        for (templates, expected) in [
            (r#"{"Country": ["%s in"]}"#, "Capital_of"),
            (r#"{"Country": ["%s in"], "Capital_of": []}"#, "Capital_of"),
            (r#"{"Country": ["in"], "Capital_of": ["%s"]}"#, "0 places"),
            ("[", "not JSON"),
        ] {
            let message = read(csv, 9, Some(templates)).unwrap_err().to_string();
            assert!(message.contains(expected) && message.contains("templates.json"), "{message}");
        }
    }
}
