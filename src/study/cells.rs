//! Cells of a study: what was measured, with what it is of, in a file each.

use std::{fs, path::Path};

use prunelens_core::{
    error::{Error, Result},
    files::{create_folder, write_atomic},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::output;

/// Larger files are no cells.
const LONGEST: u64 = 16 << 20;

/// What was measured, and of what.
#[derive(Deserialize)]
pub struct Cell<T> {
    pub of: Value,
    pub figures: T,
}

/// What stands in a cell if it is of the same, else what `make` gives, which is then written. A file that cannot be read is
/// replaced, and a warning says so.
pub fn cell<T: Serialize + DeserializeOwned>(path: &Path, of: &Value, make: impl FnOnce() -> Result<T>) -> Result<T> {
    match read::<T>(path) {
        Ok(Some(cell)) if cell.of == *of => return Ok(cell.figures),
        Ok(_) => {}
        Err(error) => output::warn(&[format!("{error}; it is measured again")]),
    }
    let figures = make()?;
    write(path, of, &figures)?;
    Ok(figures)
}

/// Put a cell where it belongs.
pub fn write<T: Serialize>(path: &Path, of: &Value, figures: &T) -> Result<()> {
    create_folder(path.parent().unwrap_or(Path::new("")))?;
    write_atomic(path, (output::json(&json!({ "of": of, "figures": figures }))? + "\n").as_bytes())
}

/// The bytes of a file that is no larger than a cell; `None` if it is not there.
pub fn read_bounded(path: &Path) -> Result<Option<Vec<u8>>> {
    let Ok(found) = fs::metadata(path) else { return Ok(None) };
    if found.len() > LONGEST {
        return Err(Error::file(path, format!("{} bytes, more than the {LONGEST} of a cell", found.len())));
    }
    fs::read(path).map(Some).map_err(|e| Error::io(path, e))
}

/// A cell that was written before; `None` if there is none.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<Cell<T>>> {
    let Some(bytes) = read_bounded(path)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| Error::file(path, format!("not a cell of this study: {e}")))
}

/// Part of a file's name.
pub fn plain(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-+".contains(c) { c } else { '_' };
    name.chars().take(120).map(plain).collect()
}

/// What something is of, as it is read again from a file.
pub fn of(value: Value) -> Result<Value> {
    serde_json::from_str(&value.to_string()).map_err(|e| Error::invalid(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_made_once_and_again_if_it_is_of_something_else_or_spoilt() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cells/a.json");
        let made = |of: Value, value: u32| cell(&path, &of, || Ok(value)).unwrap();
        assert_eq!(made(json!({"rows": 1}), 1), 1);
        assert_eq!(made(json!({"rows": 1}), 2), 1, "it is there");
        assert_eq!(made(json!({"rows": 2}), 3), 3, "of other rows");
        fs::write(&path, "{").unwrap();
        assert_eq!(made(json!({"rows": 2}), 4), 4);
        let refused: Result<u32> = cell(&path, &json!(0), || Err(Error::Interrupted));
        assert!(refused.is_err());
        assert_eq!(made(json!({"rows": 2}), 5), 4, "a failure leaves what was there");
        assert_eq!(plain("iterative:5:wanda:0.5"), "iterative_5_wanda_0.5");
    }
}
