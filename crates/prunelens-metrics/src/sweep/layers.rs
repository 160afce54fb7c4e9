//! SAEs of several layers: each reads one, so a path with the layer's number in it stands for all of them.

use std::path::{Path, PathBuf};

/// What stands for the layer's number in a path.
pub const PLACE: &str = "{layer}";

/// Whether a path has a place for the layer's number.
pub fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(PLACE)
}

/// The path of one layer.
pub fn at(pattern: &Path, layer: usize) -> PathBuf {
    pattern.to_string_lossy().replace(PLACE, &layer.to_string()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_goes_wherever_its_place_is() {
        assert_eq!(at(Path::new("a/l{layer}/sae_{layer}"), 7), Path::new("a/l7/sae_7"));
        assert!(is_pattern(Path::new("a/{layer}")) && !is_pattern(Path::new("a/layer")));
    }
}
