//! Roles to styles: themes are TOML files, mapped once, when loaded, to what the terminal can show.

mod color;
mod ramp;
mod source;

use std::{collections::BTreeMap, path::Path};

pub use color::ColorDepth;
use prunelens_core::{
    compare::Variant,
    error::{Error, Result},
};
pub use ramp::Ramp;
use ratatui::style::{Color, Modifier, Style};
use serde::Deserialize;
use source::{Source, StyleSpec};

use crate::{export::color::Page, settings::toml_text};

/// What a piece of the screen means; themes give each a style, or leave it to the parent role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
pub enum Role {
    #[serde(rename = "text")]
    Text,
    #[serde(rename = "muted")]
    Muted,
    /// Figures that belong to an earlier prompt or ratio.
    #[serde(rename = "old")]
    Old,
    #[serde(rename = "accent")]
    Accent,
    #[serde(rename = "border")]
    Border,
    #[serde(rename = "border.focus")]
    BorderFocus,
    #[serde(rename = "title")]
    Title,
    #[serde(rename = "title.focus")]
    TitleFocus,
    #[serde(rename = "selection")]
    Selection,
    /// Names of keys in hints and help.
    #[serde(rename = "key")]
    Key,
    #[serde(rename = "error")]
    Error,
    #[serde(rename = "warning")]
    Warning,
    #[serde(rename = "variant.original")]
    Original,
    #[serde(rename = "variant.transfer")]
    Transfer,
    #[serde(rename = "variant.pruned")]
    Pruned,
    #[serde(rename = "variant.trained")]
    Trained,
    #[serde(rename = "gain")]
    Gain,
    #[serde(rename = "loss")]
    Loss,
}

impl Role {
    pub const ALL: [Self; 18] = [
        Self::Text,
        Self::Muted,
        Self::Old,
        Self::Accent,
        Self::Border,
        Self::BorderFocus,
        Self::Title,
        Self::TitleFocus,
        Self::Selection,
        Self::Key,
        Self::Error,
        Self::Warning,
        Self::Original,
        Self::Transfer,
        Self::Pruned,
        Self::Trained,
        Self::Gain,
        Self::Loss,
    ];

    /// Where a role that a theme leaves out takes its style from.
    fn parent(self) -> Option<Self> {
        match self {
            Self::Text => None,
            Self::BorderFocus | Self::TitleFocus | Self::Key => Some(Self::Accent),
            Self::Old | Self::Border => Some(Self::Muted),
            _ => Some(Self::Text),
        }
    }
}

impl From<Variant> for Role {
    fn from(variant: Variant) -> Self {
        match variant {
            Variant::Original => Self::Original,
            Variant::Transfer => Self::Transfer,
            Variant::Pruned => Self::Pruned,
            Variant::Trained => Self::Trained,
        }
    }
}

/// Everything drawing needs to know about looks.
#[derive(Clone, Debug)]
pub struct Theme {
    pub name: String,
    styles: BTreeMap<Role, Style>,
    /// Strength of an activation; empty where colours are too few, then glyphs show it.
    pub heat: Ramp,
    /// Change against original, loss to gain.
    pub difference: Ramp,
    /// ASCII stands in for block, braille and box characters.
    pub ascii: bool,
    /// Colours of the page in pictures of the screen; a terminal's own background is never painted.
    pub page: Page,
}

/// Names of the themes compiled in, in the order they are cycled through.
pub const BUILT_IN: [&str; 4] = ["dark", "light", "ansi", "mono"];

impl Theme {
    /// A built-in theme by name, or a file. Few colours have themes of their own: `ansi` and `mono`.
    pub fn load(name: &str, depth: ColorDepth, ascii: bool) -> Result<Self> {
        let name = match depth {
            ColorDepth::None => "mono",
            ColorDepth::Ansi16 if name != "mono" => "ansi",
            _ => name,
        };
        let (text, origin) = match source::built_in(name) {
            Some(text) => (text.to_owned(), name.to_owned()),
            None => {
                let path = Path::new(name);
                if path.extension().is_none() {
                    return Err(Error::Usage(format!(
                        "theme {name:?} does not exist; expected {}, the path of a .toml file, or the name of one in the folder `themes` of the configuration folder",
                        BUILT_IN.join(", ")
                    )));
                }
                (toml_text(path, "a theme")?, name.to_owned())
            }
        };
        Self::parse(&text, &origin, depth, ascii)
    }

    /// A theme from its TOML text; `origin` names it in errors.
    pub fn parse(text: &str, origin: &str, depth: ColorDepth, ascii: bool) -> Result<Self> {
        let source = Source::parse(text, origin)?;
        let spec = |role: Role| {
            let mut role = Some(role);
            while let Some(r) = role {
                if let Some(spec) = source.style.get(&r) {
                    return Some(spec);
                }
                role = r.parent();
            }
            None
        };
        let mut styles = BTreeMap::new();
        for role in Role::ALL {
            let style = spec(role).map_or(Ok(Style::new()), |s| source.resolve(s, origin, depth))?;
            styles.insert(role, style);
        }
        let stops =
            |names: &[String]| -> Result<Vec<Color>> { names.iter().map(|n| source.color(n, origin)).collect() };
        Ok(Self {
            name: source.name.clone(),
            styles,
            heat: Ramp::new(&stops(&source.ramp.heat)?, depth),
            difference: Ramp::new(&stops(&source.ramp.difference)?, depth),
            ascii,
            page: source.page(origin)?,
        })
    }

    pub fn style(&self, role: impl Into<Role>) -> Style {
        self.styles.get(&role.into()).copied().unwrap_or_default()
    }

    /// One of two spellings of a symbol.
    pub fn symbol<'a>(&self, unicode: &'a str, ascii: &'a str) -> &'a str {
        if self.ascii { ascii } else { unicode }
    }
}

impl StyleSpec {
    fn modifiers(&self) -> Modifier {
        self.add.iter().fold(Modifier::empty(), |all, m| all | m.modifier())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_theme_loads_at_every_depth() {
        for name in BUILT_IN {
            for depth in ColorDepth::ALL {
                let theme = Theme::load(name, depth, false).unwrap();
                for role in Role::ALL {
                    let style = theme.style(role);
                    for color in [style.fg, style.bg].into_iter().flatten() {
                        assert!(depth.shows(color), "{name} at {depth:?}: {role:?} has {color:?}");
                    }
                }
                assert_eq!(theme.style(Role::Text).bg, None, "{name} paints the default background");
            }
        }
    }

    #[test]
    fn a_missing_role_falls_back_to_its_parent() {
        let theme = Theme::parse("name = 'x'\n[style]\naccent = 'red'", "x", ColorDepth::Truecolor, false).unwrap();
        assert_eq!(theme.style(Role::BorderFocus).fg, Some(Color::Red));
        assert_eq!(theme.style(Role::Muted), Style::new());
    }

    #[test]
    fn unknown_keys_are_errors_with_their_line() {
        let error = |text: &str| Theme::parse(text, "my.toml", ColorDepth::Truecolor, false).unwrap_err().to_string();
        let unknown = error("name = 'x'\n[style]\ntext = 'red'\nbordr = 'red'");
        assert!(unknown.contains("line 4") && unknown.contains("bordr"), "{unknown}");
        let table = error("name = 'x'\n[stile]\n");
        assert!(table.contains("line 2") && table.contains("stile"), "{table}");
        let color = error("name = 'x'\n[style]\ntext = 'redish'");
        assert!(color.contains("redish") && color.contains("my.toml"), "{color}");
    }

    #[test]
    fn a_theme_may_inherit() {
        let text = "name = 'x'\ninherits = 'dark'\n[style]\nmuted = '#010203'";
        let theme = Theme::parse(text, "x", ColorDepth::Truecolor, false).unwrap();
        let dark = Theme::load("dark", ColorDepth::Truecolor, false).unwrap();
        assert_eq!(theme.style(Role::Muted).fg, Some(Color::Rgb(1, 2, 3)));
        assert_eq!(theme.style(Role::Gain), dark.style(Role::Gain));
    }
}
