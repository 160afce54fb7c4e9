//! Figures for other programs.

use std::sync::Arc;

use prunelens::{
    export::{
        Figures,
        pair::{PairFigures, PairRow},
    },
    tui::{Effect, Message},
};
use prunelens_core::{compare::Variant, edit::Edits};

use crate::{
    session::{PROMPT, Part, SETTING, Session, comparison, table},
    support::{browser, shown_by},
};

fn figures(part: Part) -> Figures {
    Figures {
        model: "demo".into(),
        compression: "wanda 50%".into(),
        sae: "2k topk32".into(),
        sae_name: "blocks.1.hook_resid_post".into(),
        comparison: Arc::new(comparison(PROMPT, SETTING, part)),
        tables: vec![Arc::new(table(1.0))],
        pair: None,
        edits: Edits::default(),
        predictions: None,
    }
}

/// The JSON that `e` writes of what a session shows.
fn json_of(session: &mut Session) -> serde_json::Value {
    session.keys("e");
    let export = session.effects.iter().find_map(|effect| if let Effect::Export(e) = effect { Some(e) } else { None });
    let json = export.expect("an export").documents.iter().find(|document| document.extension == "json");
    serde_json::from_str(&json.expect("figures").text).unwrap()
}

/// What is written is what is wanted, however fast the keys come.
#[test]
fn figures_that_are_on_their_way_go_out_when_they_are_here() {
    let mut session = Session::explored();
    let sent = |session: &Session| {
        let all = session.effects.iter();
        all.filter(|effect| matches!(effect, Effect::Export(_) | Effect::Copy(_))).cloned().collect::<Vec<_>>()
    };
    session.keys("]e");
    assert_eq!(sent(&session).len(), 0, "those on screen are of another ratio");
    assert!(session.state.log.entries.last().unwrap().text.contains("on their way"));
    session.answer(Part::Latents);
    assert_eq!(sent(&session).len(), 0, "losses are missing");
    session.answer(Part::All);
    let [Effect::Export(export)] = &sent(&session)[..] else { panic!("{:?}", session.effects) };
    let json = export.documents.iter().find(|document| document.extension == "json").unwrap();
    let json: serde_json::Value = serde_json::from_str(&json.text).unwrap();
    assert_eq!(json["ratio"], session.state.setting().at);
    session.keys("]").answer(Part::All);
    assert_eq!(sent(&session).len(), 0, "once");
    session.keys("]y").answer(Part::All);
    assert!(matches!(&sent(&session)[..], [Effect::Copy(_)]), "{:?}", session.effects);
}

#[test]
fn figures_say_which_edits_are_in_force_and_what_is_said_with_them() {
    let mut session = Session::explored();
    let before = json_of(&mut session);
    assert_eq!((before["edits"].as_array().unwrap().len(), &before["predictions"]), (0, &serde_json::Value::Null));
    assert_eq!(before["sae"]["name"], "blocks.1.hook_resid_post", "the name that `inspect --json` gives it");
    session.keys("xp").answer_study();
    let after = json_of(&mut session);
    assert_eq!((&after["edits"][0], &after["edit_error"]), (&"1204=ablate".into(), &"keep".into()));
    assert_eq!(after["variants"], before["variants"], "figures are those without edits");
    let list = after["predictions"]["list"].as_array().unwrap();
    let edited: Vec<_> = list.iter().filter(|said| said["of"] == "edited").map(|said| &said["variant"]).collect();
    assert_eq!(edited, ["original", "transfer", "pruned"]);
    // Others are asked for: those that were said are of other edits.
    session.keys("X");
    let later = json_of(&mut session);
    assert_eq!((later["edits"].as_array().unwrap().len(), &later["predictions"]), (0, &serde_json::Value::Null));
}

#[test]
fn json_holds_every_variant_and_survival() {
    let json = figures(Part::All).json();
    for variant in ["original", "transfer", "pruned", "trained"] {
        let object = &json["variants"][variant];
        for name in
            ["l0", "mse", "explained_variance", "cossim", "ce_loss_with_sae", "ce_loss_without_sae", "kl_div_with_sae"]
        {
            assert!(object[name].is_f64(), "{variant} {name}");
        }
        assert_eq!(object["top"].as_array().unwrap().len(), json["tokens"]["ids"].as_array().unwrap().len());
    }
    assert_eq!(json["survival"].as_array().unwrap().len(), 20);
    assert_eq!(json["prompt"], PROMPT);
}

#[test]
fn what_is_not_known_yet_is_null_or_empty() {
    let early = figures(Part::Latents);
    assert!(early.json()["variants"]["pruned"]["l0"].is_null());
    assert!(early.csv().contains("\nl0,,,,\n"), "{}", early.csv());
    assert!(early.markdown().contains("| l0 | - | - | - | - |"), "{}", early.markdown());
}

#[test]
fn documents_have_names_of_their_own() {
    let documents = figures(Part::All).documents();
    let names: Vec<_> = documents.iter().map(|d| d.extension.as_str()).collect();
    assert_eq!(names, ["json", "csv", "md", "metrics-1.csv"]);
}

/// The page that `e` writes of what a session shows.
fn page(session: &mut Session) -> String {
    session.keys("e");
    let export = session.effects.iter().find_map(|effect| if let Effect::Export(e) = effect { Some(e) } else { None });
    let html = export.expect("an export").documents.iter().find(|document| document.extension == "html");
    html.expect("a page").text.clone()
}

#[test]
fn a_page_says_which_tokens_its_figures_are_of() {
    let mut session = Session::explored();
    let html = page(&mut session);
    assert!(html.contains("<h2>Latents at ") && html.contains("Activations at this token"));
    session.keys("w").answer_latent();
    session.effects.clear();
    let html = page(&mut session);
    assert!(html.contains("<h2>Latents, strongest of the whole prompt</h2>") && html.contains("Largest activations"));
    assert!(!html.contains("<h2>Latents at "));
    let mut session = Session::explored();
    session.keys("|<esc>");
    session.effects.clear();
    let html = page(&mut session);
    assert!(html.contains("<h2>Beside: ") && html.contains("in brackets the difference"), "{html}");
}

/// With a name and a prompt that would be a script if they were not escaped.
fn hostile() -> Session {
    let mut session = Session::ready();
    let prompt = "x</script><script>document.title='owned'</script> & \"q\"";
    session.send(Message::Pasted(prompt.into())).time(2000).answer(Part::All);
    session.keys("<esc>n<lt>img src=x onerror=alert(1)><enter>");
    session
}

#[test]
fn a_page_has_everything_and_lets_nothing_through() {
    let mut session = Session::explored();
    session.keys("<enter>").answer_study();
    session.keys("<esc>").keys("xp").answer_study();
    let html = page(&mut session);
    for expected in [
        "<h1>The army and the navy of the United States are</h1>",
        "<polyline class=\"pruned\"",
        "Texts on original",
        "Texts on transfer",
        "explained_variance",
        "with the edits",
        "wanda 50%",
        "digest of the SAE",
        "#1204=ablate",
        "default-src 'none'",
    ] {
        assert!(html.contains(expected), "{expected} is missing in\n{html}");
    }
    let html = page(&mut hostile());
    assert!(
        !html.contains("<script") && !html.contains("<img") && !html.contains("http://") && !html.contains("https://")
    );
    assert!(html.contains("&lt;script&gt;document.title=&#39;owned&#39;"), "{html}");
    assert!(html.chars().all(|c| c == '\n' || !c.is_control()));
    for tag in ["table", "tr", "td", "th", "p", "h2", "svg", "code", "figure", "b", "span"] {
        let opened = html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, html.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}

#[test]
fn a_browser_shows_the_page() {
    let Some(browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("view.html");
    std::fs::write(&path, page(&mut hostile())).unwrap();
    let dom = shown_by(&browser, &path);
    assert!(dom.contains("<title>prunelens: x&lt;/script&gt;"), "{dom}");
    assert!(!dom.contains("<title>owned") && !dom.contains("<img"));
    // What the browser read is the table, row by row.
    let rows = hostile().state.table.rows.len();
    let chosen = dom.matches("<tr class=\"chosen\"><td>#").count();
    assert_eq!((dom.matches("<tr><td>#").count() + chosen, chosen), (rows, 1));
    assert!(dom.contains("<svg") && dom.contains("<h2>Settings</h2>"));
}

#[test]
fn two_prompts_are_written_beside_each_other() {
    let second = Arc::new(comparison("The navy", SETTING, Part::Latents));
    let row = PairRow {
        latent: 7,
        first: [Some(1.0), Some(0.5), Some(0.0), None],
        second: [Some(3.0), Some(0.0), Some(0.25), None],
    };
    let pair = PairFigures { second, tokens: Some((2, Some(2))), variants: Variant::ALL.to_vec(), rows: vec![row] };
    let figures = Figures { pair: Some(pair), ..figures(Part::All) };
    let names: Vec<_> = figures.documents().into_iter().map(|d| d.extension).collect();
    assert_eq!(names, ["json", "csv", "md", "pair.csv", "metrics-1.csv"]);
    let csv = figures.pair.as_ref().unwrap().csv();
    assert_eq!(csv.lines().nth(1), Some("7,1,3,2,0.5,0,-0.5,0,0.25,0.25,,,"));
    assert!(figures.markdown().contains("| #7 | 1.0000 | 3.0000 | 2.0000 | 0.5000 | 0.0000 | -0.5000 |"));
    let json = figures.json();
    assert_eq!(json["second_prompt"]["prompt"], "The navy");
    assert_eq!(json["second_prompt"]["latents"][0]["variants"]["pruned"]["difference"], 0.25);
    // A token that has nothing beside it is no reason to leave the second prompt out.
    let alone = PairFigures { tokens: Some((3, None)), ..figures.pair.unwrap() };
    assert!(alone.markdown().contains("at token 3 of the first prompt, which has nothing beside it in the second"));
    assert_eq!(alone.json()["at"], serde_json::json!({ "first": 3, "second": null }));
}
