//! Layers and other sessions: asked for, on their way, there; and the strip of all layers.

use std::{path::PathBuf, sync::Arc};

use prunelens::{
    engine::{Command, JobState, Progress, Query, Report},
    settings::SessionSettings,
    tui::{
        Effect, Message,
        state::{Overlay, SavedView, Screen},
    },
};
use prunelens_core::session::{SessionSpec, Source};

use crate::{
    session::{Part, Session, dark, info, layered_info},
    snapshots::screen,
};

const N: usize = 12;

/// What a session of several layers is asked for by.
fn spec() -> SessionSpec {
    SessionSpec { sae: Some(Source::Path("saes/{layer}".into())), ..SessionSpec::demo() }
}

/// On the first layer but one, with the first example compared.
pub fn layered() -> Session {
    let mut session = Session::loading();
    session.state.spec = Arc::new(spec());
    session.report(Report::Ready(Arc::new(layered_info(1, N))));
    session.keys("1").answer(Part::All);
    session.keys("<left><left>").answer_latent();
    session
}

/// The session that was asked for last.
fn asked(session: &Session) -> Option<SessionSpec> {
    session.commands().into_iter().rev().find_map(|command| match command {
        Command::Open(spec) => Some(*spec),
        _ => None,
    })
}

/// It comes.
fn come(session: &mut Session, layer: usize) {
    let coming = session.state.coming.clone().expect("nothing is coming");
    assert_eq!(coming.layer, Some(layer));
    session.report(Report::Opened { info: Arc::new(layered_info(layer, N)), spec: coming.spec });
}

#[test]
fn prompt_token_and_knob_go_on_at_another_layer_and_the_latent_waits_for_the_way_back() {
    let mut session = layered();
    session.keys("]]jj").answer_latent();
    session.answer(Part::All);
    session.keys("x");
    let (token, latent, setting) = (session.state.token, session.state.latent, session.state.setting());
    assert_eq!(session.state.edits.list.len(), 1);
    session.keys(".");
    assert_eq!(asked(&session), Some(spec().at_layer(2)));
    // What is there answers until the other one is.
    assert!(session.state.shown.is_some() && session.state.info.as_ref().unwrap().layer == 1);
    session.report(Report::Opening(Progress { what: "reading weights".into(), done: 1, total: 4, unit: "bytes" }));
    let text = screen(&session.state, 120, 36, &dark());
    assert!(text.contains("layer 2: reading weights 25 %") && text.contains("Esc stays here"), "{text}");
    come(&mut session, 2);
    // Nothing of the layer before stands under the new one's name, and everything is asked anew.
    assert!(session.state.shown.is_none() && session.state.detail.is_none());
    assert!(session.requests().iter().any(|r| matches!(r.query, Query::Compare { setting: at, .. } if at == setting)));
    assert!(session.effects.iter().any(|e| matches!(e, Effect::RecallNames(digest) if digest == "sae of 2")));
    assert!(session.state.edits.list.is_empty());
    session.answer(Part::All);
    assert_eq!((session.state.token, session.state.setting()), (token, setting));
    // And back.
    session.keys(",");
    come(&mut session, 1);
    session.answer(Part::All);
    assert_eq!((session.state.latent, session.state.token, session.state.setting()), (latent, token, setting));
    assert_eq!(session.state.edits.list.len(), 1);
}

#[test]
fn keys_go_from_the_layer_that_is_coming_and_an_answer_of_the_one_before_is_dropped() {
    let mut session = layered();
    session.keys("..");
    assert_eq!(asked(&session), Some(spec().at_layer(3)));
    session.keys(",,");
    // Back where one is: nothing is to come.
    assert!(matches!(session.commands()[..], [.., Command::StopOpening]) && session.state.coming.is_none());
    session.report(Report::OpenFailed("too late".into()));
    assert!(session.state.log.status().is_none_or(|entry| !entry.text.contains("too late")));
    session.keys(",");
    let (generation, target) = session.state.follow.asked.clone().unwrap();
    come(&mut session, 0);
    let late = crate::session::comparison(&target.prompt, target.setting, Part::All);
    session.report(Report::Comparison { generation, comparison: Arc::new(late), complete: true });
    assert!(session.state.shown.is_none());
    session.answer(Part::All).keys(",");
    assert!(session.state.coming.is_none());
    assert!(session.state.log.status().unwrap().text.contains("the first layer"));
    // One that was overtaken is not taken for the one that is coming.
    session.keys(".").keys(".");
    session.report(Report::Opened { info: Arc::new(layered_info(1, N)), spec: Arc::new(spec().at_layer(1)) });
    assert_eq!(session.state.coming.as_ref().and_then(|coming| coming.layer), Some(2));
}

#[test]
fn what_cannot_be_opened_is_said_and_nothing_changes() {
    let mut session = layered();
    let before = SavedView::of(&session.state);
    session.keys(".");
    session.report(Report::OpenFailed("saes/2: no such file".into()));
    let said = session.state.log.status().unwrap().text.clone();
    assert!(said.contains("layer 2 could not be opened, this session stays: saes/2: no such file"), "{said}");
    assert!(session.state.coming.is_none() && SavedView::of(&session.state) == before);
    assert_eq!(*session.state.spec, spec().at_layer(1));
    session.keys(".<esc>");
    assert!(matches!(session.commands()[..], [.., Command::StopOpening]) && session.state.coming.is_none());
    // Of one layer there is no other.
    let mut one = Session::explored();
    one.keys(".");
    assert!(one.commands().is_empty() && one.state.log.status().unwrap().text.contains("{layer}"));
}

#[test]
fn a_view_has_its_layer_and_goes_back_there() {
    let mut session = layered();
    session.keys("..");
    come(&mut session, 3);
    session.answer(Part::All).keys("]").answer(Part::All);
    let view = SavedView::of(&session.state).unwrap();
    assert_eq!(view.layer, Some(3));
    assert!(view.summary().contains("layer 3"), "{}", view.summary());
    let mut other = layered();
    other.state.offered = Some(Arc::new(view.clone()));
    other.keys("<ctrl-o>");
    assert_eq!(asked(&other), Some(spec().at_layer(3)));
    come(&mut other, 3);
    other.answer(Part::All);
    assert_eq!(SavedView::of(&other.state), Some(view));
}

#[test]
fn the_strip_fills_and_leads_to_a_layer() {
    let mut session = layered();
    session.keys(";");
    assert_eq!(session.state.screen, Screen::Layers);
    let setting = session.state.setting();
    let wanted = session.requests().into_iter().find_map(|request| match request.query {
        Query::Layers { prompt, .. } => prompt,
        _ => None,
    });
    assert_eq!(wanted.map(|(_, at)| at), Some(setting));
    insta::assert_snapshot!("strip_asked", screen(&session.state, 80, 24, &dark()));
    session.answer_strip(0..5, false);
    insta::assert_snapshot!("strip_filling", screen(&session.state, 120, 36, &dark()));
    session.answer_strip(5..N, true);
    insta::assert_snapshot!("strip_80x24", screen(&session.state, 80, 24, &dark()));
    insta::assert_snapshot!("strip_120x36", screen(&session.state, 120, 36, &dark()));
    insta::assert_snapshot!("strip_200x60", screen(&session.state, 200, 60, &dark()));
    // Another setting: asked anew, after the prompt's own first answer; a row that has none says why.
    session.keys("]").answer(Part::All);
    let (generation, target) = session.state.strip.asked.clone().unwrap();
    assert!(session.state.strip.waiting && target.setting == session.state.setting());
    session.report(Report::Layer { generation, layer: 4, figures: Err("saes/4: its decoder holds zeros".into()) });
    let text = screen(&session.state, 120, 36, &dark());
    assert!(text.contains("saes/4: its decoder holds zeros"), "{text}");
    session.keys("jjj<enter>");
    assert_eq!((session.state.screen, asked(&session)), (Screen::Explore, Some(spec().at_layer(4))));
    // Nobody looks any more: it need not be read to its end.
    session.time(session.state.now.as_millis() as u64 + 10);
    assert!(!session.state.strip.waiting);
}

#[test]
fn the_strip_is_exported_as_far_as_it_is_known_at_this_setting() {
    let mut session = layered();
    session.keys(";");
    session.answer_strip(0..3, false);
    session.keys("e");
    let [Effect::Export(export)] = &session.effects[..] else { panic!("{:?}", session.effects) };
    let extensions: Vec<_> = export.documents.iter().map(|document| document.extension.as_str()).collect();
    assert_eq!((export.name.as_str(), &extensions[..]), ("layers", &["json", "csv", "md"][..]));
    // A header, and four variants at each of three layers.
    assert_eq!(export.documents[1].text.lines().count(), 1 + 3 * 4);
}

#[test]
fn a_line_is_completed_understood_and_opened() {
    let mut session = Session::explored();
    session.keys("O");
    assert!(matches!(&session.effects[..], [Effect::Complete(line)] if line.is_empty()));
    session.keys("--co");
    let line = "--co".to_owned();
    assert!(matches!(&session.effects[..], [.., Effect::Complete(asked)] if *asked == line));
    let found = ["--compress", "--compressed-model", "--corpus"].map(String::from).to_vec();
    // What was found for another line is of no use.
    session.send(Message::Completed { line: "--c".into(), found: vec!["--calibration".into()] });
    session.send(Message::Completed { line, found });
    insta::assert_snapshot!("open_80x24", screen(&session.state, 80, 24, &dark()));
    session.keys("<tab>");
    assert!(matches!(&session.state.overlay, Some(Overlay::Open(line)) if line.text == "--compress "));
    session.keys("wanda:0.3<enter>");
    assert!(session.effects.iter().any(|e| matches!(e, Effect::Open(line) if line == "--compress wanda:0.3")));
    assert!(session.state.overlay.is_none());
    // As a command, too; what it does not understand is said where it can be put right.
    session.keys(":open --nope<enter>");
    assert!(session.effects.iter().any(|e| matches!(e, Effect::Open(line) if line == "--nope")));
    session.send(Message::Meant { line: "--nope".into(), meant: Err("unexpected argument '--nope'".into()) });
    let text = screen(&session.state, 120, 36, &dark());
    assert!(text.contains(":open --nope") && text.contains("unexpected argument"), "{text}");
    session.keys("<esc>");
    let other = SessionSpec { compress: "wanda:0.3".parse().unwrap(), ..SessionSpec::demo() };
    let settings = SessionSettings { sae: Some(PathBuf::from("x")), ..SessionSettings::default() };
    let meant = Ok(Box::new((other.clone(), settings)));
    session.send(Message::Meant { line: "--compress wanda:0.3".into(), meant });
    assert_eq!(asked(&session), Some(other.clone()));
    assert!(session.state.settings.sae.is_none(), "it is not there yet");
    // Another model's jobs and figures do not stay; the latent does, the SAE being the same.
    session.keys("j").answer_latent();
    let latent = session.state.latent;
    session.keys("m<enter>").job(1, JobState::Queued);
    let mut opened = info();
    opened.compression = "wanda 30%".into();
    session.report(Report::Opened { info: Arc::new(opened), spec: Arc::new(other.clone()) });
    assert!(session.state.jobs.is_empty() && session.state.shown.is_none());
    assert_eq!((session.state.latent, session.state.settings.sae.is_some()), (latent, true));
    assert_eq!(*session.state.spec, other);
    session.answer(Part::All);
    assert_eq!(session.state.latent, latent);
}

#[test]
fn jobs_say_where_they_were_started() {
    let mut session = layered();
    session.keys("m<enter>").job(1, JobState::Queued);
    session.keys(".");
    come(&mut session, 2);
    session.report(Report::JobTable { id: 1, table: Arc::new(crate::session::table(1.0)), details: Arc::default() });
    session.answer(Part::All).keys("M");
    let text = screen(&session.state, 120, 36, &dark());
    assert!(text.contains("on demo, wanda 50%, 2k topk32, blocks.1.hook_resid_post"), "{text}");
    // Its figures are not this layer's.
    session.keys("<esc>e");
    let exports = session.effects.iter().filter_map(|e| if let Effect::Export(x) = e { Some(x) } else { None });
    assert!(exports.flat_map(|x| &x.documents).all(|document| !document.extension.starts_with("metrics")));
}
