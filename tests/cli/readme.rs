//! The README, its pages in `docs` and what they say are true: keys are the program's, commands can be given, links lead somewhere.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Parser;
use prunelens::{cli::Cli, tui::Keymap};
use prunelens_core::sae::formats;

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

/// What is written for users and contributors, at the top and in `docs`.
pub fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<_> = [root().to_owned(), root().join("docs"), root().join("benches")]
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect();
    pages.sort();
    pages
}

/// `UPDATE_README=1 cargo test --test cli readme` puts the tables in.
#[test]
fn keys_are_those_of_the_action_table() {
    let path = root().join("docs/keys.md");
    let page = read(&path);
    let (before, rest) = page.split_once("by a test -->\n").unwrap();
    let (found, after) = rest.split_once("<!-- end of keys -->").unwrap();
    let expected = Keymap::default().markdown();
    if std::env::var_os("UPDATE_README").is_some() {
        let table = expected.trim();
        fs::write(path, format!("{before}by a test -->\n\n{table}\n\n<!-- end of keys -->{after}")).unwrap();
        return;
    }
    assert_eq!(found.trim(), expected.trim(), "UPDATE_README=1 cargo test --test cli readme puts the tables in");
}

/// Words of a command line, with quotes as the shell has them, up to a comment, a redirection or a pipe.
pub fn words(line: &str) -> Vec<String> {
    let (mut words, mut quote) = (vec![String::new()], None);
    for c in line.chars() {
        match (c, quote) {
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(q)) if c == q => quote = None,
            (' ', None) => words.push(String::new()),
            ('#' | '>' | '|', None) if words.last().is_some_and(String::is_empty) => break,
            _ => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Command lines of the program, and whether they stand in a block: those are whole, in the text some only name a command.
pub fn commands(page: &str) -> impl Iterator<Item = (&str, bool)> {
    let (mut in_block, mut found) = (false, vec![]);
    for line in page.lines() {
        if line.starts_with("```") {
            in_block = !in_block;
        } else if in_block {
            found.push((line.strip_prefix("target/release/").unwrap_or(line), true));
        } else {
            found.extend(line.split('`').skip(1).step_by(2).map(|line| (line, false)));
        }
    }
    found.into_iter().filter(|(line, _)| line.split(' ').next() == Some("prunelens"))
}

fn names_only(error: &clap::Error) -> bool {
    use clap::error::ErrorKind as E;
    let open = [E::MissingRequiredArgument, E::MissingSubcommand, E::DisplayHelpOnMissingArgumentOrSubcommand];
    open.contains(&error.kind())
}

#[test]
fn commands_can_be_given() {
    let mut count = 0;
    for path in pages() {
        for (line, whole) in commands(&read(&path)) {
            match Cli::try_parse_from(words(line)) {
                Err(error) if whole || !names_only(&error) => panic!("{}: {line}\n{error}", path.display()),
                _ => count += 1,
            }
        }
    }
    assert!(count >= 40, "only {count} commands were found");
}

/// The name that a heading can be linked to by, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().trim().to_lowercase().replace(' ', "-")
}

#[test]
fn links_lead_somewhere() {
    for path in pages() {
        let page = read(&path);
        let links = page.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
        for link in links.filter(|link| !link.contains("://")) {
            let (file, part) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link} does not exist", path.display());
            let there =
                |page: String| page.lines().any(|line| line.starts_with('#') && anchor(line.trim_matches('#')) == part);
            assert!(part.is_empty() || there(read(&target)), "{}: {link} is no heading", path.display());
        }
    }
}

#[test]
fn the_tour_is_short() {
    let lines = read(root().join("README.md")).lines().count();
    assert!(lines <= 200, "README.md has {lines} lines: what is looked up belongs in docs");
}

#[test]
fn every_page_is_in_the_index() {
    let index = read(root().join("docs/README.md"));
    for path in pages().iter().filter(|path| path.parent().is_some_and(|folder| folder.ends_with("docs"))) {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name == "README.md" || index.contains(&format!("]({name})")), "docs/README.md lacks {name}");
    }
}

#[test]
fn every_layout_of_saes_is_in_the_table() {
    let page = read(root().join("docs/formats.md"));
    let table: Vec<&str> = page.lines().filter(|line| line.starts_with('|')).collect();
    for format in &formats::FOLDERS {
        let files: Vec<String> = format.needs.iter().map(|name| format!("`{name}`")).collect();
        let row = table.iter().find(|row| files.iter().all(|file| row.contains(file)) && row.contains(format.name));
        assert!(row.is_some(), "docs/formats.md has no row with {} and {files:?}", format.name);
    }
}
