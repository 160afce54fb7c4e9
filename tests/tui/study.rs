//! A latent in full: found, named, edited, and its corpus at the slider's setting.

use prunelens::{
    engine::Request,
    tui::{Effect, state::Overlay},
};

use crate::session::Session;

#[test]
fn find_name_ablate_and_see() {
    let mut session = Session::explored();
    session.keys("/navy").answer_study();
    session.keys("<enter>");
    assert_eq!(session.state.latent, Some(1204));
    session.keys("nships of war<enter>");
    assert_eq!(session.state.names.get(&1204).map(String::as_str), Some("ships of war"));
    assert!(session.effects.iter().any(|effect| matches!(effect, Effect::KeepNames)));
    session.keys("/of war<enter>");
    assert_eq!(session.state.latent, Some(1204), "a name is found without the engine");
    session.keys("p").answer_study();
    let alone = session.state.wants_predictions().unwrap();
    assert!(session.state.study.current(&alone).is_some());
    session.keys("x");
    let edited = session.state.wants_predictions().unwrap();
    assert!(
        session.state.study.current(&edited).is_none(),
        "what was said without the edit is not what is said with it"
    );
    session.answer_study();
    assert_eq!(session.state.study.current(&edited).unwrap().list.len(), 9);
    // Once more takes it back, and the old answer is asked for anew.
    session.keys("x");
    assert_eq!(session.state.wants_predictions(), Some(alone));
}

#[test]
fn edits_that_cannot_be_read_stay_to_be_mended() {
    let mut session = Session::explored();
    session.keys("sset:<enter>");
    assert!(matches!(&session.state.overlay, Some(Overlay::Edit { spec }) if spec.ends_with("=set:")));
    session.keys("4.5@2..<enter>");
    assert_eq!(session.state.overlay, None);
    assert_eq!(
        session.state.study.edits.list.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["1204=set:4.5@2.."]
    );
    session.keys("X");
    assert!(session.state.study.edits.list.is_empty());
}

#[test]
fn the_corpus_is_read_again_where_the_slider_rests() {
    let studies = |session: &Session| -> Vec<(u32, f64)> {
        let all = session.requests().into_iter();
        all.filter_map(
            |r| if let Request::Study { latent, setting, .. } = r { Some((latent, setting.at)) } else { None },
        )
        .collect()
    };
    let mut session = Session::explored();
    session.keys("<enter>");
    assert_eq!(studies(&session), [(1204, 0.25)]);
    session.answer_study();
    session.time(2000).keys("]]");
    assert_eq!(studies(&session), []);
    assert_eq!(studies(session.time(2999)), []);
    assert_eq!(session.state.next_wake().map(|at| at.as_millis()), Some(3000));
    assert_eq!(studies(session.time(3000)), [(1204, 0.35)]);
    assert_eq!(studies(session.time(9000)), [], "once");
    // Another latent does not wait for the slider, and no ratio is read that was only passed.
    session.keys("]<right>");
    assert_eq!(studies(&session).last().map(|(_, ratio)| *ratio), Some(0.4));
    session.keys("]<esc>");
    assert_eq!(studies(session.time(20_000)), []);
}
