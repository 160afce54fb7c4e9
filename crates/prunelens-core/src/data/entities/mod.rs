//! Entities with their attributes and the templates that ask for them: RAVEL's four JSON files for each entity class.

pub mod files;
pub mod table;

use std::collections::BTreeMap;

pub use files::{read_classes, write_class};

/// Entities of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct EntityClass {
    /// "city" ...
    pub name: String,
    /// In the order of the file of templates.
    pub attributes: Vec<Attribute>,
    /// Names, with a label for each attribute.
    pub entities: Vec<(String, BTreeMap<String, String>)>,
    /// `train`, `val` or `test` of each entity and each template; kept for other programs, used by none here.
    pub entity_split: BTreeMap<String, String>,
    /// Which split each template belongs to.
    pub template_split: BTreeMap<String, String>,
}

/// What can be asked of an entity.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// Name of the class, such as `city`.
    pub name: String,
    /// Texts with one `%s` for the entity, that end where the label follows.
    pub templates: Vec<String>,
}
