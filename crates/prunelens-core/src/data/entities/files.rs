//! The four files: `ravel_{class}_entity_attributes.json`, `..._attribute_to_prompts.json`, `..._entity_to_split.json` and
//! `..._prompt_to_split.json`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{Attribute, EntityClass};
use crate::{
    error::{Error, Result},
    files::write_atomic,
    text::shorten,
};

/// Largest file read; the public set's are a few megabytes.
const MAX_BYTES: u64 = 256 << 20;
/// Longest entity, attribute, label or template, in bytes.
const MAX_TEXT: usize = 1 << 16;

const LABELS: &str = "entity_attributes";
const TEMPLATES: &str = "attribute_to_prompts";
const ENTITY_SPLIT: &str = "entity_to_split";
const TEMPLATE_SPLIT: &str = "prompt_to_split";

fn path(dir: &Path, class: &str, what: &str) -> PathBuf {
    dir.join(format!("ravel_{class}_{what}.json"))
}

/// All entity classes of a folder, or of its folder `ravel`, by name.
pub fn read_classes(dir: &Path) -> Result<Vec<EntityClass>> {
    let inner = dir.join("ravel");
    let dir = if inner.is_dir() { &inner } else { dir };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| Error::io(dir, e))? {
        let name = entry.map_err(|e| Error::io(dir, e))?.file_name();
        let class = name.to_str().and_then(|n| n.strip_prefix("ravel_"));
        // Any of the four files shows that a class is meant; what is missing is then named.
        let class = class.and_then(|n| {
            let of = |what: &str| n.strip_suffix(&format!("_{what}.json"));
            of(LABELS).or_else(|| of(TEMPLATES)).or_else(|| of(ENTITY_SPLIT)).or_else(|| of(TEMPLATE_SPLIT))
        });
        names.extend(class.filter(|c| !c.is_empty()).map(str::to_owned));
    }
    names.sort();
    names.dedup();
    if names.is_empty() {
        return Err(Error::file(
            dir,
            "holds no entity class; expected files ravel_CLASS_entity_attributes.json, ..._attribute_to_prompts.json, ..._entity_to_split.json and ..._prompt_to_split.json, here or in a folder ravel (`prunelens data entities` makes them)",
        ));
    }
    names.into_iter().map(|name| class_of(dir, name, &from_disk)).collect()
}

/// What a file holds.
type Open<'a> = &'a dyn Fn(&Path) -> Result<Vec<u8>>;

/// The class of this name, whose four files `open` gives the bytes of; `dir` is where they are, for messages.
pub(crate) fn class_of(dir: &Path, name: String, open: Open) -> Result<EntityClass> {
    let at = path(dir, &name, TEMPLATES);
    let mut attributes = Vec::new();
    for (attribute, list) in read(&at, open)? {
        let wrong = || Error::file(&at, format!("{:?}: expected a list of templates", shorten(&attribute, 60)));
        let templates: Vec<String> = list
            .as_array()
            .ok_or_else(wrong)?
            .iter()
            .map(|t| t.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect::<Result<_>>()?;
        templates.iter().try_for_each(|template| check_template(&at, template))?;
        attributes.push(Attribute { name: attribute, templates });
    }
    let at = path(dir, &name, LABELS);
    let mut entities = Vec::new();
    for (entity, labels) in read(&at, open)? {
        let wrong = |what: &str| Error::file(&at, format!("entity {:?}: {what}", shorten(&entity, 60)));
        if entity.is_empty() {
            return Err(wrong("a name is needed"));
        }
        let labels = labels.as_object().ok_or_else(|| wrong("expected an object {attribute: label}"))?;
        let label = |(attribute, label): (&String, &Value)| match label {
            Value::String(label) => Ok((attribute.clone(), label.clone())),
            other => {
                let (attribute, found) = (shorten(attribute, 60), shorten(&other.to_string(), 60));
                Err(wrong(&format!("the label of {attribute:?} must be a text, found {found}")))
            }
        };
        let labels = labels.iter().filter(|(_, l)| !l.is_null()).map(label).collect::<Result<BTreeMap<_, _>>>()?;
        entities.push((entity, labels));
    }
    if entities.is_empty() {
        return Err(Error::file(&at, "holds no entity"));
    }
    let entity_split = split(&path(dir, &name, ENTITY_SPLIT), open)?;
    let template_split = split(&path(dir, &name, TEMPLATE_SPLIT), open)?;
    Ok(EntityClass { name, attributes, entities, entity_split, template_split })
}

/// Refuse a template that does not say once where the entity goes.
pub fn check_template(path: &Path, template: &str) -> Result<()> {
    match template.matches("%s").count() {
        1 => Ok(()),
        n => Err(Error::file(
            path,
            format!("template {:?} has {n} places for the entity; expected one %s", shorten(template, 80)),
        )),
    }
}

fn split(path: &Path, open: Open) -> Result<BTreeMap<String, String>> {
    let one = |(key, value): (String, Value)| match value {
        Value::String(part) if ["train", "val", "test"].contains(&part.as_str()) => Ok((key, part)),
        other => {
            let (key, found) = (shorten(&key, 60), shorten(&other.to_string(), 60));
            Err(Error::file(path, format!("{key:?}: expected train, val or test, found {found}")))
        }
    };
    read(path, open)?.into_iter().map(one).collect()
}

fn from_disk(path: &Path) -> Result<Vec<u8>> {
    let size = fs::metadata(path).map_err(|e| Error::io(path, e))?.len();
    if size > MAX_BYTES {
        return Err(Error::file(path, format!("{size} bytes are too many; at most {MAX_BYTES} are read")));
    }
    fs::read(path).map_err(|e| Error::io(path, e))
}

fn read(path: &Path, open: Open) -> Result<Map<String, Value>> {
    let value: Value = serde_json::from_slice(&open(path)?)
        .map_err(|e| Error::file(path, format!("not JSON: {}", shorten(&e.to_string(), 200))))?;
    let Value::Object(map) = value else { return Err(Error::file(path, "expected an object")) };
    if let Some(key) = map.keys().find(|key| key.len() > MAX_TEXT) {
        return Err(Error::file(path, format!("{:?}: a text of {} bytes is too long", shorten(key, 60), key.len())));
    }
    Ok(map)
}

/// Write the four files of a class into a folder. Gives their paths.
pub fn write_class(dir: &Path, class: &EntityClass) -> Result<Vec<PathBuf>> {
    let templates: Map<String, Value> =
        class.attributes.iter().map(|a| (a.name.clone(), a.templates.clone().into())).collect();
    let labels = |labels: &BTreeMap<String, String>| -> Map<String, Value> {
        let one = |a: &Attribute| labels.get(&a.name).map(|label| (a.name.clone(), label.clone().into()));
        class.attributes.iter().filter_map(one).collect()
    };
    let entities: Map<String, Value> =
        class.entities.iter().map(|(name, all)| (name.clone(), labels(all).into())).collect();
    let splits = |splits: &BTreeMap<String, String>| -> Map<String, Value> {
        splits.iter().map(|(key, part)| (key.clone(), part.clone().into())).collect()
    };
    let mut written = Vec::new();
    for (what, map) in [
        (LABELS, entities),
        (TEMPLATES, templates),
        (ENTITY_SPLIT, splits(&class.entity_split)),
        (TEMPLATE_SPLIT, splits(&class.template_split)),
    ] {
        let path = path(dir, &class.name, what);
        let text = serde_json::to_string_pretty(&map)
            .map_err(|e| Error::file(&path, format!("cannot be put in JSON: {e}")))?;
        write_atomic(&path, (text + "\n").as_bytes())?;
        written.push(path);
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class() -> EntityClass {
        let labels = |country: &str| BTreeMap::from([("Country".to_owned(), country.to_owned())]);
        EntityClass {
            name: "city".into(),
            attributes: vec![Attribute { name: "Country".into(), templates: vec!["%s is in".into()] }],
            entities: vec![("Paris".into(), labels("France")), ("Lima".into(), labels("Peru"))],
            entity_split: BTreeMap::from([("Paris".into(), "train".into()), ("Lima".into(), "val".into())]),
            template_split: BTreeMap::from([("%s is in".into(), "test".into())]),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(write_class(dir.path(), &class()).unwrap().len(), 4);
        assert_eq!(read_classes(dir.path()).unwrap(), [class()]);
        // The same in a folder inside.
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("ravel")).unwrap();
        write_class(&outer.path().join("ravel"), &class()).unwrap();
        assert_eq!(read_classes(outer.path()).unwrap(), [class()]);
    }

    #[test]
    fn bad_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let refused = || read_classes(dir.path()).unwrap_err().to_string();
        assert!(refused().contains("holds no entity class"));
        for (what, text, expected) in [
            (TEMPLATES, r#"{"Country": ["in"]}"#, "0 places for the entity"),
            (TEMPLATES, r#"{"Country": ["%s and %s"]}"#, "2 places for the entity"),
            (TEMPLATES, r#"{"Country": "%s"}"#, "list of templates"),
            (TEMPLATES, r#"{"Country": [3]}"#, "list of templates"),
            (LABELS, r#"{"Paris": "France"}"#, "entity \"Paris\": expected an object"),
            (LABELS, r#"{"Paris": {"Country": 3}}"#, "the label of \"Country\" must be a text, found 3"),
            (LABELS, r#"{"": {}}"#, "a name is needed"),
            (LABELS, "{}", "holds no entity"),
            (LABELS, "[]", "expected an object"),
            (LABELS, "{", "not JSON"),
            (ENTITY_SPLIT, r#"{"Paris": "best"}"#, "expected train, val or test, found \"best\""),
        ] {
            write_class(dir.path(), &class()).unwrap();
            let file = path(dir.path(), "city", what);
            fs::write(&file, text).unwrap();
            let message = refused();
            assert!(message.contains(expected) && message.contains(what), "{message}");
            fs::remove_file(&file).unwrap();
            assert!(refused().contains(what), "a missing file is named");
        }
    }
}
