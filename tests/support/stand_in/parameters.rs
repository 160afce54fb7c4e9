//! How many parameters each kernel declares: a launch with fewer would have it read whatever lies behind them.

use std::{collections::BTreeMap, fs, path::Path};

/// By name; of a kernel for several types, by what their names begin with.
pub fn declared(folder: &Path) -> BTreeMap<String, usize> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let sources = files.filter(|path| path.extension().is_some_and(|e| e == "cu"));
    let mut found = BTreeMap::new();
    for source in sources {
        let text = fs::read_to_string(&source).unwrap().replace("\\\n", " ");
        for kernel in text.split("__global__ void").skip(1) {
            let kernel = kernel.trim_start();
            let kernel = match kernel.strip_prefix("__launch_bounds__") {
                Some(after) => after.split_once(')').unwrap().1.trim_start(),
                None => kernel,
            };
            let (name, rest) = kernel.split_once('(').unwrap();
            let parameters = rest.split_once(')').unwrap().0;
            let name = name.trim().trim_end_matches("##NAME").to_owned();
            found.insert(name, parameters.split(',').count());
        }
    }
    found
}

/// Of the kernel of this name.
pub fn of(declared: &BTreeMap<String, usize>, name: &str) -> Option<usize> {
    let family = || declared.iter().filter(|(prefix, _)| prefix.ends_with('_') && name.starts_with(*prefix));
    declared.get(name).or_else(|| family().max_by_key(|(prefix, _)| prefix.len()).map(|(_, count)| count)).copied()
}
