//! What people do, from beginning to end, in a real terminal.

use crate::support::{Place, layered, screen::Screen};

/// Find what fires on navy, name it, ablate it, see the prediction change, leave, come back.
#[test]
fn an_afternoon() {
    let mut screen = Screen::start(&[]);
    screen.wait_for("take an example by its number");
    screen.wait_for("demo");
    screen.keys("1");
    screen.wait("a comparison", |s| s.contains("latents at") && s.contains("alive"));

    screen.keys("/navy");
    screen.wait("latents that fire on it", |s| s.contains("find a latent") && s.contains("fires on"));
    screen.keys("\r");
    screen.wait_without("find a latent");
    screen.keys("n");
    screen.wait_for("name #");
    screen.keys("naval forces\r");
    screen.wait("the name beside the number", |s| !s.contains("name #") && s.contains("naval forces"));

    screen.keys("p");
    screen.wait("what both models say", |s| s.contains("original model") && s.contains("with the reconstruction"));
    screen.keys("x");
    screen.wait("what they say without it", |s| s.contains("with the edits") && s.contains("edits: #"));
    // Left from here.
    screen.keys("q");
    let place = screen.place();

    let mut screen = Screen::with(place, &[], &[], (120, 36));
    screen.wait("the offer to go on", |s| s.contains("as you left it") && s.contains("an edit"));
    screen.keys("0");
    screen.wait("predictions with the edit, as it was", |s| s.contains("with the edits") && s.contains("edits: #"));
    screen.keys("\x1b");
    screen.wait_for("naval forces");
    screen.keys("q");
    assert!(screen.ended().success());
}

#[test]
fn a_view_is_handed_on() {
    let mut screen = Screen::start(&["--results", "results"]);
    screen.wait_for("take an example by its number");
    screen.wait_for("demo");
    screen.keys("1");
    screen.wait("a comparison", |s| s.contains("latents at") && s.contains("alive"));
    screen.keys("]]j");
    screen.wait_for("ratio 0.35");
    screen.keys(":save-view navy\r");
    screen.wait_for("navy.toml");
    // The same name again is refused: what is there stays.
    screen.keys(":save-view navy\r");
    screen.wait_for("is there already");
    screen.keys("\x1b:record it\r");
    screen.wait_for("recording");
    screen.keys("kj");
    screen.keys(":record\r");
    screen.wait_for("it.cast");
    screen.keys("q");
    let place = screen.place();
    let cast = std::fs::read_to_string(place.path("results/it.cast")).unwrap();
    assert!(cast.lines().count() > 2 && cast.starts_with("{\"env\"") || cast.contains("\"version\":2"), "{cast}");

    let mut screen = Screen::with(place, &["--view", "results/navy.toml"], &[], (120, 36));
    screen.wait("the view", |s| s.contains("ratio 0.35") && s.contains("latents at"));
    screen.keys("q");
    let place = screen.place();

    // A view of other weights says so.
    let path = place.path("results/navy.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let digest = text.split("sae = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
    std::fs::write(&path, text.replace(&digest, &"0".repeat(64))).unwrap();
    let mut screen = Screen::with(place, &["--view", "results/navy.toml"], &[], (120, 36));
    screen.wait_for("saved on other weights: sae differ");
    screen.keys("q");
    assert!(screen.ended().success());
}

#[test]
fn a_tour_is_interrupted_and_gone_on_with() {
    let mut screen = Screen::start(&["tour"]);
    screen.wait_for("tour 1 of 10: a prompt");
    screen.wait_for("take an example");
    screen.keys("1");
    screen.wait_for("tour 2 of 10: latents");
    screen.keys("j");
    screen.wait_for("tour 3 of 10: tokens");
    // Something else in between, and away.
    screen.keys("c");
    screen.wait_for("paper");
    screen.keys("q");
    let place = screen.place();
    let mut screen = Screen::with(place, &["tour"], &[], (80, 24));
    screen.wait_for("tour 3 of 10: tokens");
    screen.keys("\x0e");
    screen.wait_for("tour 4 of 10: the ratio");
    screen.keys("\x03");
    let place = screen.place();
    let mut screen = Screen::with(place, &["tour", "--restart"], &[], (120, 36));
    screen.wait_for("tour 1 of 10");
    screen.keys("\x03");
    assert!(screen.ended().success());
}

#[test]
fn explanations_are_read_once_and_kept() {
    let place = Place::new();
    let line = |index: u32, text: &str| {
        format!("{{\"modelId\":\"demo\",\"layer\":\"1-res\",\"index\":\"{index}\",\"description\":\"{text}\"}}\n")
    };
    let all: String = (0..2048).map(|latent| line(latent, &format!("told of {latent}"))).collect();
    place.write("batch-0.jsonl", &all);
    let mut screen = Screen::with(place, &["--prompt", "The army", "--explanations", "batch-0.jsonl"], &[], (120, 36));
    screen.wait_for("latents are explained by Neuronpedia demo/1-res");
    screen.wait("the explanation in the title", |s| s.contains(" told of "));
    screen.keys("\x03");
    let place = screen.place();
    let mut screen = Screen::with(place, &["--prompt", "The army"], &[], (120, 36));
    screen.wait("it is there again", |s| s.contains(" told of "));
    screen.keys("\x03");
    assert!(screen.ended().success());
}

/// Up a layer and back, all of them, one of them; another compression; and the next day where it was left.
#[test]
fn layers_and_sessions_are_changed_without_a_restart() {
    let place = Place::new();
    std::fs::create_dir(place.path("saes")).unwrap();
    layered::save(&place.path("saes"));
    let args = ["--sae", "saes/l{layer}", "--trained-sae", "saes/t{layer}"];
    let mut screen = Screen::with(place, &args, &[], (120, 36));
    screen.wait_for("take an example by its number");
    screen.wait_for("blocks.0.hook_resid_post");
    screen.keys("1");
    let whole = |s: &str| s.contains("latents at") && s.contains("alive") && s.contains("CE no SAE");
    let figures = |s: &str| -> Vec<String> {
        let of = |line: &&str| ["variance", "KL", "CE "].iter().any(|name| line.contains(name));
        s.lines().filter(of).map(str::to_owned).collect()
    };
    screen.wait("a comparison", whole);
    screen.settle();
    let first = figures(&screen.text());
    screen.keys(".");
    screen.wait("the next layer", |s| s.contains("blocks.1.hook_resid_post") && whole(s));
    screen.settle();
    assert_ne!(figures(&screen.text()), first);
    screen.keys(",");
    screen.wait("the first layer again", |s| s.contains("blocks.0.hook_resid_post") && whole(s));
    screen.settle();
    assert_eq!(figures(&screen.text()), first);
    screen.keys(";");
    screen.wait("all layers", |s| {
        s.contains("this prompt at every layer") && s.lines().filter(|line| line.contains(" %")).count() >= 3
    });
    screen.keys("jj\r");
    screen.wait("the third", |s| s.contains("blocks.3.hook_resid_post") && whole(s));
    screen.keys(":open --compress magnitude:0.3\r");
    screen.wait("another compression", |s| s.contains("magnitude 30%") && s.contains("blocks.3.") && whole(s));
    screen.keys(":open --sae nowhere\r");
    screen.wait("the line, and why", |s| s.contains(":open --sae nowhere") && s.contains("no such file"));
    screen.keys("\x1b");
    screen.wait("the session as it was", |s| !s.contains(":open") && whole(s));
    screen.keys("q");
    let place = screen.place();
    let args = ["--sae", "saes/l{layer}", "--compress", "magnitude:0.3"];
    let mut screen = Screen::with(place, &args, &[], (120, 36));
    screen.wait("the offer to go on", |s| s.contains("as you left it") && s.contains("layer 3"));
    screen.keys("0");
    screen.wait("where it was left", |s| s.contains("blocks.3.hook_resid_post") && whole(s));
    screen.keys("q");
    assert!(screen.ended().success());
}
