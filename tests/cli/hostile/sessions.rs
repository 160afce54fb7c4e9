//! Session files that cannot be used.

use crate::support::Place;

#[test]
fn mistakes_are_shown_where_they_are() {
    let place = Place::new();
    for (text, words) in [
        ("ratio = 0.5\nrato = 0.4\n", &["session.toml", "line 2", "rato", "ratio"][..]),
        ("\n\nratio = 7", &["line 3", "ratio 7", "0.99"]),
        ("ratio = [", &["line 1"]),
        ("model = 'nowhere'", &["model", "nowhere", "no such file or folder"]),
        ("sae = 'owner/name'", &["owner/name", "127.0.0.1", "cannot be reached"]),
        ("sae = 'owner/../name'", &["sae owner/../name", "no such file or folder"]),
        ("compress = 'wanda:0.5:2'", &["line 1", "wanda:0.5:2"]),
        ("[session]\nratio = 0.5", &["line 1", "session"]),
        ("ratio = 0.5\u{0}", &["line 1"]),
    ] {
        place.write("session.toml", text);
        place.run(["prune", "sae", "--out", "out", "--session", "session.toml"]).refused(1, words);
    }
    place.write("session.toml", b"ratio = \xff");
    place.run(["--session", "session.toml"]).refused(1, &["session.toml"]);
    place.run(["--session", "absent.toml"]).refused(1, &["absent.toml", "No such file"]);
    place.run(["--session", "."]).refused(1, &["not a session file"]);
    place.run(["--session", "/dev/zero"]).refused(1, &["not a session file"]);
}
