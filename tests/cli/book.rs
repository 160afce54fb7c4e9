//! The pages in `docs` hold what they promise: commands that need nothing but the demo are run as they stand, messages that
//! are quoted are the program's, and the example of the library is the one that is compiled.

use std::{collections::BTreeSet, fs, path::Path};

use crate::{
    readme::{commands, pages, read, root, words},
    support::{Place, Ran},
};

/// Commands that are not run here, by how they begin, and why. What needs a file of the reader's is told by its flags, too.
const NOT_RUN: [(&str, &str); 25] = [
    ("prunelens bench", "a minute"),
    ("prunelens metrics core sweep", "a minute"),
    ("prunelens metrics sweep", "a minute"),
    ("prunelens metrics atlas", "a minute"),
    ("prunelens study run", "minutes"),
    ("prunelens study rules", "minutes"),
    ("prunelens compress model --compress gptq", "half a minute"),
    ("prunelens inspect model int4", "what that made"),
    ("prunelens inspect model models/", "a model of the reader's"),
    ("prunelens cache clear", "what follows would be made anew"),
    ("prunelens train", "a text of the reader's"),
    ("prunelens data", "a table of the reader's"),
    ("prunelens check", "a study"),
    ("prunelens atlas report", "atlases"),
    ("prunelens metrics show", "results"),
    ("prunelens metrics sparse-probing", "data sets"),
    ("prunelens metrics sparse_probing", "minutes"),
    ("prunelens study status", "a study"),
    ("prunelens study report", "a study"),
    ("prunelens study diff", "two studies"),
    ("prunelens study work", "a study"),
    ("prunelens study slurm", "a cluster"),
    ("prunelens study redundancy", "a text of the reader's"),
    ("prunelens tour", "a terminal"),
    ("prunelens --", "a terminal"),
];

/// Flags behind which stands something of the reader's.
const THEIRS: [&str; 6] = ["--model", "--sae", "--text", "--data", "--session", "--view"];

/// Whether a command needs nothing but the program itself.
fn stands_alone(line: &str, words: &[String]) -> bool {
    words.len() > 1
        && !NOT_RUN.iter().any(|(begins, _)| line.starts_with(begins))
        && !words.iter().any(|word| THEIRS.contains(&word.as_str()))
}

#[test]
fn commands_on_the_demo_run() {
    let (place, mut count, mut skipped) = (Place::new(), 0, BTreeSet::new());
    for path in pages() {
        // A page's commands in its order, in a folder of its own; what takes long to make is kept for the next page.
        let folder = place.path(path.file_stem().unwrap().to_str().unwrap());
        fs::create_dir_all(&folder).unwrap();
        let page = read(&path);
        for (line, _) in commands(&page).filter(|(_, whole)| *whole) {
            skipped.extend(NOT_RUN.iter().filter(|(begins, _)| line.starts_with(begins)).map(|(begins, _)| *begins));
            let words = words(line);
            if stands_alone(line, &words) {
                let ran = Ran::from(place.command().current_dir(&folder).args(&words[1..]).output().unwrap());
                assert_eq!(ran.code, Some(0), "{}: {line}\n{}", path.display(), ran.err);
                count += 1;
            }
        }
    }
    assert!(count >= 20, "only {count} commands were run");
    for (begins, why) in &NOT_RUN {
        assert!(skipped.contains(begins), "no page has a command that begins with {begins:?} any more ({why})");
    }
}

/// Whether a text of `source` is printed as `message`, in which `…` stands for what varies.
fn prints(source: &str, message: &str) -> bool {
    let mut parts = message.split('…').filter(|part| !part.is_empty());
    let first = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    source.match_indices(first).any(|(at, _)| {
        let mut after = &source[at + first.len()..];
        rest.iter().all(|part| {
            let varies = after;
            while let Some(end) = after.strip_prefix('{').and_then(|inside| inside.find('}')) {
                after = &after[end + 2..];
            }
            let next = after.strip_prefix(part).filter(|_| after.len() < varies.len());
            after = next.unwrap_or_default();
            next.is_some()
        })
    })
}

/// The program's sources, tests beside the code left out, with texts of several lines joined and quotes in them bare.
fn sources(folder: &Path, all: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let source = read(&path);
            let program = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            let joined = program.split("\\\n").enumerate();
            let joined: String = joined.map(|(at, line)| if at > 0 { line.trim_start() } else { line }).collect();
            all.push(joined.replace("\\\"", "\""));
        }
    }
}

#[test]
fn quoted_messages_are_the_programs() {
    let mut all = Vec::new();
    for folder in ["src", "crates/prunelens-core/src", "crates/prunelens-kernels/src", "crates/prunelens-metrics/src"] {
        sources(&root().join(folder), &mut all);
    }
    let page = read(root().join("docs/troubleshooting.md"));
    let mut count = 0;
    for quoted in page.lines().filter_map(|line| line.strip_prefix("- ")) {
        // Two backticks stand around a message that has some itself.
        let marks = if quoted.starts_with("``") { "``" } else { "`" };
        let message = quoted.strip_prefix(marks).and_then(|rest| rest.strip_suffix(marks)).map(str::trim);
        let message =
            message.unwrap_or_else(|| panic!("docs/troubleshooting.md: {quoted} is no message alone on its line"));
        assert!(
            all.iter().any(|source| prints(source, message)),
            "docs/troubleshooting.md: no source prints {message:?}"
        );
        count += 1;
    }
    assert!(count >= 60, "only {count} messages were found");
}

#[test]
fn messages_are_told_from_others() {
    let source = r#"format!("{path}: expected {a:?}{b}, found {c}; give another")"#;
    for message in ["…: expected …, found …; give another", "expected …, found …", "…; give another"] {
        assert!(prints(source, message), "{message}");
    }
    for message in
        ["expected …; give another", "expected, found", "found nothing; give another", "expected …, found it"]
    {
        assert!(!prints(source, message), "{message}");
    }
}

#[test]
fn the_librarys_example_is_the_one_that_is_compiled() {
    let page = read(root().join("docs/library.md"));
    let example = page.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let crate_page: String = read(root().join("crates/prunelens-core/src/lib.rs"))
        .lines()
        .filter_map(|line| line.strip_prefix("//!"))
        .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line)))
        .collect();
    assert!(crate_page.contains(example), "docs/library.md has another example than the page of prunelens-core");
}

#[test]
fn the_worked_figures_are_the_programs() {
    let prompt = "The army and the navy of the United States are";
    let json = Place::new().run(["inspect", prompt, "--json"]).done().json();
    let figures = ["explained_variance", "kl_div_with_sae"];
    let figures = figures.map(|name| json["variants"]["transfer"][name].as_f64().unwrap());
    let page = read(root().join("docs/formulas.md"));
    assert!(page.contains(prompt));
    let said =
        page.split("On the demo that gives ").nth(1).and_then(|rest| rest.split(", the figures").next()).unwrap();
    let said: Vec<f64> = said.split(" and ").map(|number| number.parse().unwrap()).collect();
    // Sums differ in their last digits from processor to processor.
    let near = said.len() == 2 && said.iter().zip(figures).all(|(said, found)| (said - found).abs() < 2e-4);
    assert!(near, "docs/formulas.md says {said:?}, the program {figures:?}");
}
