//! Prompts that cannot be read, and those that a terminal would act on.

use std::{fs, io::Write, process::Stdio};

use super::limit;
use crate::support::{GPT2, Place, Ran, SAE, fixture};

fn inspect(place: &Place, prompt: &str, more: &[&str]) -> Ran {
    let mut command = place.command();
    command.args(["inspect", prompt, "--model"]).arg(fixture(GPT2)).arg("--sae").arg(fixture(SAE)).args(more);
    Ran::from(command.output().unwrap())
}

#[test]
fn empty_prompts() {
    let place = Place::new();
    inspect(&place, "", &[]).refused(1, &["the prompt is empty"]);
    inspect(&place, "", &["--no-bos"]).refused(1, &["the prompt is empty"]);
    place.run(["inspect"]).refused(2, &["PROMPT"]);
}

#[test]
fn prompts_longer_than_the_context() {
    let place = Place::new();
    let ran = inspect(&place, &"the river ".repeat(40), &[]);
    ran.refused(1, &["more than the 40 that gpt2 can read", "shorten it"]);
    // A book takes no longer to refuse.
    let book = "the river keeps the stones ".repeat(200_000);
    let mut command = place.command();
    command.args(["inspect", "-", "--model"]).arg(fixture(GPT2)).arg("--sae").arg(fixture(SAE));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(book.as_bytes()).unwrap();
    Ran::from(child.wait_with_output().unwrap()).refused(1, &["more than the 40"]);
}

#[test]
fn a_prompt_that_is_not_utf_8() {
    let place = Place::new();
    let mut command = place.command();
    command.args(["inspect", "-", "--model"]).arg(fixture(GPT2)).arg("--sae").arg(fixture(SAE));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"caf\xe9").unwrap();
    Ran::from(child.wait_with_output().unwrap()).refused(1, &["stdin", "UTF-8"]);
}

#[test]
fn escape_sequences_are_shown_and_not_sent() {
    let place = Place::new();
    let evil = "a\x1b[31m\x1b]0;b\x07 \u{202e}c\u{9b}2J";
    let table = inspect(&place, evil, &[]).done().printable();
    assert!(!table.out.contains('\u{202e}'), "{table:#?}");
    let ran = inspect(&place, evil, &["--json"]).done().printable();
    assert_eq!(ran.json()["prompt"], evil, "JSON keeps the text itself");
}

#[test]
fn results_that_cannot_be_saved() {
    let place = Place::new();
    let file = place.write("there.safetensors", "old");
    inspect(&place, "the river", &["--save", "there.safetensors"]).refused(1, &["there.safetensors", "--force"]);
    inspect(&place, "the river", &["--save", "no/such/folder.safetensors"]).refused(1, &["no/such", "does not exist"]);

    let mut command = place.command();
    command.args(["inspect", "the river", "--save", "there.safetensors", "--force", "--model"]).arg(fixture(GPT2));
    command.arg("--sae").arg(fixture(SAE));
    Ran::from(limit(&mut command, 10_000).output().unwrap()).refused(1, &["there.safetensors: not saved"]);
    assert_eq!(fs::read(file).unwrap(), b"old");
    assert_eq!(fs::read_dir(place.path("")).unwrap().count(), 2, "home and the old file");
}

#[test]
fn metrics_that_cannot_be_saved() {
    let place = Place::new();
    place.write("file", "");
    let mut args = vec!["metrics", "core", "--rows", "2", "--context", "16", "--results", "file/results", "--model"];
    let (model, sae) = (fixture(GPT2), fixture(SAE));
    args.extend([model.to_str().unwrap(), "--sae", sae.to_str().unwrap()]);
    place.run(&args).refused(1, &["file/results", "cannot be written"]);
    args[7] = "full";
    let mut command = place.command();
    let ran = Ran::from(limit(command.args(&args), 100).output().unwrap());
    ran.refused(1, &["full/core", "not saved"]);
}
