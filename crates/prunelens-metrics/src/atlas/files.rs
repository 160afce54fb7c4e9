//! The atlas as files: `atlas.parquet`, `atlas.safetensors`, and `atlas.json`, which says what they are of.

use std::{
    fs,
    path::{Path, PathBuf},
};

use prunelens_core::{
    data::frame::Frame,
    digest::sha256,
    error::{Error, Result},
    files::{create_folder, write_together},
};
use serde_json::Value;

/// The table's files; the summary is written last, so that it never stands beside others than its own.
pub const TABLES: [&str; 2] = ["atlas.parquet", "atlas.safetensors"];
/// Sums over blocks of rows, where the atlas has any.
pub const BLOCKS: &str = "atlas.blocks.safetensors";
/// What they are of.
pub const SUMMARY: &str = "atlas.json";
/// Earlier atlases kept beside a new one.
pub const KEPT: usize = 1000;

/// Write them into `folder`. An atlas there that says something else is kept under names with a number.
pub fn write(folder: &Path, frame: &Frame, blocks: Option<Vec<u8>>, mut summary: Value) -> Result<Vec<PathBuf>> {
    let tables = TABLES.into_iter().zip([frame.to_parquet()?, frame.to_safetensors()?]);
    let tables: Vec<_> = tables.chain(blocks.map(|bytes| (BLOCKS, bytes))).collect();
    summary["sha256"] = tables.iter().map(|(name, bytes)| (*name, sha256(bytes))).collect();
    let path = folder.join(SUMMARY);
    let mut said = serde_json::to_vec_pretty(&summary)
        .map_err(|e| Error::file(&path, format!("the summary cannot be put in JSON: {e}")))?;
    said.push(b'\n');
    create_folder(folder)?;
    set_aside(folder, &said)?;
    let paths: Vec<PathBuf> = tables.iter().map(|(name, _)| folder.join(name)).chain([path]).collect();
    let contents = tables.iter().map(|(_, bytes)| bytes.as_slice()).chain([said.as_slice()]);
    write_together(&paths.iter().map(PathBuf::as_path).zip(contents).collect::<Vec<_>>())?;
    Ok(paths)
}

/// Rename an earlier atlas of other settings or figures to `atlas.1.parquet` and so on.
fn set_aside(folder: &Path, said: &[u8]) -> Result<()> {
    let earlier = folder.join(SUMMARY);
    let same = fs::metadata(&earlier).is_ok_and(|found| found.len() == said.len() as u64)
        && fs::read(&earlier).is_ok_and(|found| found == said);
    let names = || TABLES.into_iter().chain([BLOCKS, SUMMARY]);
    let all = || names().map(|name| folder.join(name)).filter(|path| path.is_file());
    if same || all().next().is_none() {
        return Ok(());
    }
    // By what is still here: where this was broken off, the rest follows to the same number.
    let free = |n: &usize| all().all(|path| !numbered(&path, *n).exists());
    let n = (1..=KEPT).find(free).ok_or_else(|| {
        let what = format!("not written: {KEPT} earlier atlases are beside it; choose another folder");
        Error::file(&earlier, what)
    })?;
    for path in all() {
        fs::rename(&path, numbered(&path, n)).map_err(|e| Error::io(&path, e))?;
    }
    tracing::info!("an earlier atlas is kept as {}", numbered(&earlier, n).display());
    Ok(())
}

/// The name under which a file of the `n`th earlier atlas is kept.
pub fn numbered(path: &Path, n: usize) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(name.replacen('.', &format!(".{n}."), 1))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_atlas_of_something_else_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let frame = |value: f64| Frame { numbers: vec![("a".into(), vec![value])], words: Vec::new() };
        for value in [1.0, 1.0, 2.0, 2.0, 3.0] {
            let blocks = (value < 3.0).then(|| vec![value as u8]);
            let files = write(folder.path(), &frame(value), blocks, json!({ "rows": 1 })).unwrap();
            assert_eq!(files.len(), if value < 3.0 { 4 } else { 3 });
        }
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let mut expected: Vec<String> = [".1.", ".2.", "."]
            .into_iter()
            .flat_map(|n| TABLES.into_iter().chain([SUMMARY]).map(move |name| name.replacen('.', n, 1)))
            .chain([1, 2].map(|n| format!("atlas.{n}.blocks.safetensors")))
            .collect();
        expected.sort();
        assert_eq!(names, expected);
        let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
        assert_eq!(read(TABLES[1]), frame(3.0).to_safetensors().unwrap());
        assert_eq!(read("atlas.1.safetensors"), frame(1.0).to_safetensors().unwrap());
        let said: Value = serde_json::from_slice(&read("atlas.1.json")).unwrap();
        assert_eq!(said["sha256"][TABLES[0]], sha256(&read("atlas.1.parquet")));
    }
}
