//! What a release is made of: archives that `cargo binstall` finds by the manifest's template, with all that belongs into them.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use crate::support::Place;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A value of `[package.metadata.binstall]` with its variables replaced, as for version 1.2.3 on a target called TARGET.
fn template(name: &str) -> String {
    let manifest: toml::Table = toml::from_str(&fs::read_to_string(root().join("Cargo.toml")).unwrap()).unwrap();
    let text = manifest["package"]["metadata"]["binstall"][name].as_str().unwrap();
    let values =
        [("repo", "REPO"), ("version", "1.2.3"), ("target", "TARGET"), ("bin", "prunelens"), ("binary-ext", "")];
    values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{ {name} }}"), value))
}

#[test]
fn archives_have_the_names_that_binstall_asks_for() {
    let workflow = fs::read_to_string(root().join(".github/workflows/release.yml")).unwrap();
    let names: Vec<&str> = workflow.lines().filter_map(|line| line.trim().strip_prefix("ARCHIVE: ")).collect();
    assert!(!names.is_empty());
    for name in names {
        // The tag is the version with a v before it: a step of the workflow sees to that.
        let archive = name.replace("${{ github.ref_name }}", "v1.2.3").replace("${{ matrix.target }}", "TARGET");
        assert_eq!(template("pkg-url"), format!("REPO/releases/download/v1.2.3/{archive}.tar.gz"));
        assert_eq!(template("bin-dir"), format!("{archive}/prunelens"));
    }
    assert_eq!(template("pkg-fmt"), "tgz");
}

#[test]
fn an_archive_holds_the_program_its_pages_and_completions() {
    let place = Place::new();
    // In the program's place a script that calls it: packing is not about its size.
    let script = format!("#!/bin/sh\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_prunelens"));
    let program = place.write("prunelens", script);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let folder = template("bin-dir").replace("/prunelens", "");
    let mut pack = Command::new(root().join("tools/pack"));
    let packed = pack.arg(&program).arg(&folder).arg(place.path("")).output().unwrap();
    assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
    let listed = Command::new("tar").arg("-tzf").arg(place.path(&format!("{folder}.tar.gz"))).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let files: Vec<&str> = listed.lines().collect();
    assert!(files.contains(&template("bin-dir").as_str()), "{listed}");
    let about =
        ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE", "man/prunelens.1", "man/prunelens-inspect.1"];
    let completions =
        ["bash", "elvish", "fish", "powershell", "zsh"].map(|shell| format!("completions/prunelens.{shell}"));
    for file in about.map(str::to_owned).into_iter().chain(completions) {
        assert!(files.contains(&format!("{folder}/{file}").as_str()), "{file} is not in\n{listed}");
    }
}
