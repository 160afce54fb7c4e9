//! A theme file as written.

use std::collections::BTreeMap;

use prunelens_core::error::{Error, Result};
use ratatui::style::{Color, Modifier, Style};
use serde::Deserialize;

use crate::{
    export::color::{Page, rgb},
    tui::theme::{ColorDepth, Role},
};

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    pub name: String,
    inherits: Option<String>,
    #[serde(default)]
    palette: BTreeMap<String, String>,
    #[serde(default)]
    pub style: BTreeMap<Role, StyleSpec>,
    #[serde(default)]
    pub ramp: Ramps,
    #[serde(default)]
    page: PageSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ramps {
    #[serde(default)]
    pub heat: Vec<String>,
    #[serde(default)]
    pub difference: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PageSpec {
    text: Option<String>,
    background: Option<String>,
}

/// A colour, or colours and modifiers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Short")]
pub struct StyleSpec {
    fg: Option<String>,
    bg: Option<String>,
    pub add: Vec<Add>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a colour, or a table of fg, bg and add")]
enum Short {
    Color(String),
    Full(Full),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Full {
    fg: Option<String>,
    bg: Option<String>,
    #[serde(default)]
    add: Vec<Add>,
}

impl From<Short> for StyleSpec {
    fn from(short: Short) -> Self {
        match short {
            Short::Color(fg) => Self { fg: Some(fg), ..Self::default() },
            Short::Full(Full { fg, bg, add }) => Self { fg, bg, add },
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Add {
    Bold,
    Dim,
    Italic,
    Underline,
    Reverse,
}

impl Add {
    pub fn modifier(self) -> Modifier {
        match self {
            Self::Bold => Modifier::BOLD,
            Self::Dim => Modifier::DIM,
            Self::Italic => Modifier::ITALIC,
            Self::Underline => Modifier::UNDERLINED,
            Self::Reverse => Modifier::REVERSED,
        }
    }
}

/// Text of a theme compiled in.
pub fn built_in(name: &str) -> Option<&'static str> {
    Some(match name {
        "dark" => include_str!("../../../themes/dark.toml"),
        "light" => include_str!("../../../themes/light.toml"),
        "ansi" => include_str!("../../../themes/ansi.toml"),
        "mono" => include_str!("../../../themes/mono.toml"),
        _ => return None,
    })
}

impl Source {
    /// The file with what it inherits filled in. Only built-in themes can be inherited, so this ends.
    pub fn parse(text: &str, origin: &str) -> Result<Self> {
        // The message of the toml crate gives line, column and the line itself.
        let own: Self = toml::from_str(text)
            .map_err(|e| Error::invalid(format!("theme {origin}: {}", e.to_string().trim_end())))?;
        let Some(parent) = &own.inherits else { return Ok(own) };
        let parent = built_in(parent).ok_or_else(|| {
            Error::invalid(format!("theme {origin}: inherits {parent:?}, which is not a built-in theme"))
        })?;
        let mut merged: Self =
            toml::from_str(parent).map_err(|e| Error::invalid(format!("theme {origin}: its parent: {e}")))?;
        merged.name = own.name;
        merged.palette.extend(own.palette);
        merged.style.extend(own.style);
        if !own.ramp.heat.is_empty() {
            merged.ramp.heat = own.ramp.heat;
        }
        if !own.ramp.difference.is_empty() {
            merged.ramp.difference = own.ramp.difference;
        }
        merged.page.text = own.page.text.or(merged.page.text);
        merged.page.background = own.page.background.or(merged.page.background);
        Ok(merged)
    }

    /// A name of the palette, `#rrggbb`, a terminal colour's name or its number.
    pub fn color(&self, name: &str, origin: &str) -> Result<Color> {
        let value = self.palette.get(name).map_or(name, String::as_str);
        value.parse().map_err(|_| {
            Error::invalid(format!(
                "theme {origin}: {name:?} is neither in [palette] nor a colour such as \"#0072b2\", \"lightblue\" or \"33\""
            ))
        })
    }

    pub fn resolve(&self, spec: &StyleSpec, origin: &str, depth: ColorDepth) -> Result<Style> {
        let shown = |name: &Option<String>| match name {
            Some(name) => self.color(name, origin).map(|c| depth.map(c)),
            None => Ok(None),
        };
        Ok(Style { fg: shown(&spec.fg)?, bg: shown(&spec.bg)?, ..Style::new() }.add_modifier(spec.modifiers()))
    }

    pub fn page(&self, origin: &str) -> Result<Page> {
        let value = |name: &Option<String>, default: [u8; 3]| match name {
            Some(name) => self.color(name, origin).map(|c| rgb(c).unwrap_or(default)),
            None => Ok(default),
        };
        Ok(Page {
            text: value(&self.page.text, [212, 212, 212])?,
            background: value(&self.page.background, [22, 24, 29])?,
        })
    }
}
