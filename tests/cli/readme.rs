//! The README says what is true: its keys are the program's, and its commands can be given.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Parser;
use prunelens::{cli::Cli, tui::Keymap};

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")
}

fn readme() -> String {
    fs::read_to_string(path()).unwrap()
}

/// `UPDATE_README=1 cargo test --test cli readme` puts the tables in.
#[test]
fn keys_are_those_of_the_action_table() {
    let readme = readme();
    let (before, rest) = readme.split_once("by a test -->\n").unwrap();
    let (found, after) = rest.split_once("<!-- end of keys -->").unwrap();
    let expected = Keymap::default().markdown();
    if std::env::var_os("UPDATE_README").is_some() {
        let table = expected.trim();
        fs::write(path(), format!("{before}by a test -->\n\n{table}\n\n<!-- end of keys -->{after}")).unwrap();
        return;
    }
    assert_eq!(found.trim(), expected.trim(), "UPDATE_README=1 cargo test --test cli readme puts the tables in");
}

/// Words of a command line, with quotes as the shell has them.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quote) = (vec![String::new()], None);
    for c in line.chars() {
        match (c, quote) {
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(q)) if c == q => quote = None,
            (' ', None) => words.push(String::new()),
            ('#', None) if words.last().is_some_and(String::is_empty) => break,
            _ => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn commands_can_be_given() {
    let readme = readme();
    let mut count = 0;
    for line in readme.lines().filter(|line| line.starts_with("prunelens")) {
        if let Err(error) = Cli::try_parse_from(words(line)) {
            panic!("{line}\n{error}");
        }
        count += 1;
    }
    assert!(count >= 12, "only {count} commands were found");
}

#[test]
fn files_it_links_to_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = readme();
    let links = readme.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
    for link in links.filter(|link| !link.contains("://")) {
        assert!(root.join(link).exists(), "{link} does not exist");
    }
}
