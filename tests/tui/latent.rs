//! A latent in full: found, named, edited, and its corpus at the slider's setting.

use prunelens::{
    engine::{Hit, Query, Report, Request, Why},
    tui::{Effect, state::Overlay},
};

use prunelens_core::compare::Match;

use crate::session::{Part, Session, dark};

#[test]
fn predictions_are_asked_for_again_where_a_turn_of_the_knob_has_ended_them() {
    let predicts = |session: &Session| {
        let requests = session.requests().into_iter();
        requests.filter(|request| matches!(request.query, Query::Predict { .. })).count()
    };
    let mut session = Session::explored();
    session.keys("p");
    assert_eq!(predicts(&session), 1);
    // There and back before all of it has come.
    session.keys("]").answer(Part::Latents).keys("[");
    session.effects.clear();
    session.answer(Part::All);
    assert_eq!(predicts(&session), 1, "nobody works on the first any more");
}

#[test]
fn find_name_ablate_and_see() {
    let mut session = Session::explored();
    session.keys("/navy").answer_study();
    session.keys("<enter>");
    assert_eq!(session.state.latent, Some(1204));
    session.keys("nships of war<enter>");
    assert_eq!(session.state.names.get(&1204).map(String::as_str), Some("ships of war"));
    assert!(session.effects.iter().any(|effect| matches!(effect, Effect::KeepName(_))));
    session.keys("/of war<enter>");
    assert_eq!(session.state.latent, Some(1204), "a name is found without the engine");
    session.keys("p").answer_study();
    let alone = session.state.wants_predictions().unwrap();
    assert!(session.state.predictions.current(&alone).is_some());
    session.keys("x");
    let edited = session.state.wants_predictions().unwrap();
    assert!(
        session.state.predictions.current(&edited).is_none(),
        "what was said without the edit is not what is said with it"
    );
    session.answer_study();
    assert_eq!(session.state.predictions.current(&edited).unwrap().list.len(), 9);
    // Once more takes it back, and the old answer is asked for anew.
    session.keys("x");
    assert_eq!(session.state.wants_predictions(), Some(alone));
}

#[test]
fn edits_that_cannot_be_read_stay_to_be_mended() {
    let mut session = Session::explored();
    session.keys("sset:<enter>");
    assert!(matches!(&session.state.overlay, Some(Overlay::Edit { spec, .. }) if spec.ends_with("=set:")));
    // What is offered works here, where a letter is written into the text.
    let offered = screen(&session, 120, 36);
    assert!(offered.contains("Esc, then L reads all") && !offered.contains("Esc dismisses"), "{offered}");
    session.keys("4.5@2..<enter>");
    assert_eq!(session.state.overlay, None);
    assert_eq!(session.state.edits.list.iter().map(ToString::to_string).collect::<Vec<_>>(), ["1204=set:4.5@2.."]);
    session.keys("X");
    assert!(session.state.edits.list.is_empty());
}

#[test]
fn the_corpus_is_read_again_where_the_slider_rests() {
    let studies = |session: &Session| -> Vec<(u32, f64)> {
        let all = session.requests().into_iter();
        all.filter_map(|r| {
            if let Query::Page { latent, setting, .. } = r.query { Some((latent, setting.at)) } else { None }
        })
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

fn screen(session: &Session, width: u16, height: u16) -> String {
    crate::snapshots::screen(&session.state, width, height, &dark())
}

/// With the first latent pinned and another one on the screen of latents.
fn pinned() -> Session {
    let mut session = Session::explored();
    session.keys("<enter>").answer_study();
    session.keys("b");
    session
}

#[test]
fn a_pinned_latent_stays_beside_the_others_in_every_variant() {
    let mut session = pinned();
    let own = screen(&session, 120, 36);
    assert!(own.contains("on original, pinned") && own.contains("on transfer, pinned"), "{own}");
    session.keys("<right>").answer_latent().answer_study();
    let other = session.state.latent.unwrap();
    assert_ne!(other, 1204);
    for variant in ["original", "transfer", "pruned", "trained", "original"] {
        let beside = screen(&session, 120, 36);
        for title in [format!("#{other} on {variant} "), format!("#1204 on {variant}, pinned ")] {
            assert!(beside.contains(&title), "{title} is missing in\n{beside}");
        }
        session.keys("v");
    }
    assert!(session.state.latent_view.pinned.is_some(), "it stays");
    // Its figures stand below where there is room.
    assert!(!screen(&session, 120, 36).contains("#1204, pinned"));
    insta::assert_snapshot!("latent_pinned_200x60", screen(&session, 200, 60));
    session.keys("<left>").answer_latent().answer_study();
    assert!(screen(&session, 200, 60).contains("on original, pinned"));
    session.keys("b");
    assert!(session.state.latent_view.pinned.is_none() && !screen(&session, 200, 60).contains(", pinned"));
}

#[test]
fn a_pinned_page_says_of_what_it_is_where_the_other_is_of_more() {
    let mut session = pinned();
    session.keys("<right>").answer_latent().answer_study();
    let page = session.state.latent_view.page.as_ref().unwrap();
    let longer = prunelens_core::index::LatentPage { tokens: page.tokens + 1000, ..(**page).clone() };
    let generation = session.state.latent_view.asked.unwrap().0;
    session.report(Report::Page { generation, page: std::sync::Arc::new(longer) });
    let seen = screen(&session, 200, 60);
    assert!(seen.contains("pinned when 6120 tokens were read") && seen.contains("on 7120 tokens"), "{seen}");
}

#[test]
fn the_last_edit_of_a_latent_counts_and_one_that_changes_nothing_is_told() {
    let mut session = Session::explored();
    let edits = |session: &Session| session.state.edits.list.iter().map(ToString::to_string).collect::<Vec<_>>();
    session.keys("x").keys("sscale:0.5<enter>");
    assert_eq!(edits(&session), ["1204=scale:0.5"], "of the same tokens the later one counts");
    session.keys("X").keys("x").keys("sscale:0.5@3<enter>");
    assert_eq!(edits(&session), ["1204=ablate", "1204=scale:0.5@3"]);
    let said = &session.state.log.status().unwrap().text;
    assert!(said.contains("#1204=scale:0.5@3 changes nothing: #1204=ablate"), "{said}");
    for (first, then) in [("ablate@3..", "set:2@4"), ("ablate@4", "scale:2@3"), ("ablate@4..", "scale:2@3")] {
        session.keys("X").keys(&format!("s{first}<enter>")).keys(&format!("s{then}<enter>"));
        assert_eq!(edits(&session).len(), 2);
        assert!(
            !session.state.log.status().is_some_and(|entry| entry.text.contains("changes nothing")),
            "{first} {then}"
        );
        session.keys("<esc>");
    }
}

#[test]
fn every_edit_in_force_can_be_changed_and_taken_back_by_itself() {
    let mut session = Session::explored();
    let edits = |session: &Session| session.state.edits.list.iter().map(ToString::to_string).collect::<Vec<_>>();
    for edit in ["ablate@1", "scale:2@2", "set:3@3"] {
        session.keys(&format!("s{edit}<enter>"));
    }
    session.keys("s<down><down>");
    let seen = screen(&session, 120, 36);
    assert!(seen.contains("#1204=ablate@1") && seen.contains("#1204=set:3@3"), "all of them, whole:\n{seen}");
    session.keys("<backspace>3<enter>");
    assert_eq!(edits(&session), ["1204=ablate@1", "1204=scale:2@3"], "in its place, and the last word on those tokens");
    session.keys("s<down><up>ablate@40<enter>");
    assert_eq!(edits(&session), ["1204=ablate@1", "1204=scale:2@3", "1204=ablate@40"]);
    let said = &session.state.log.status().unwrap().text;
    assert!(said.contains("behind the prompt"), "{said}");
    session.keys("s<down><ctrl-u><enter>");
    assert_eq!(edits(&session), ["1204=scale:2@3", "1204=ablate@40"]);
    session.keys("s<ctrl-u><enter>");
    assert_eq!(edits(&session).len(), 2, "what was not there is not taken back");
}

#[test]
fn edits_in_force_are_seen_on_explore() {
    let mut session = Session::explored();
    session.keys("x").keys("<down>").answer_latent();
    let explored = screen(&session, 120, 36);
    assert!(explored.contains("edits in force: #1204=ablate"), "{explored}");
    session.keys("X").keys("<down>").answer_latent();
    assert!(!screen(&session, 120, 36).contains("edits in force"));
}

#[test]
fn a_match_that_the_prompt_does_not_show_is_told_all_the_same() {
    let mut session = Session::explored();
    session.keys("/3<enter>");
    // It fires nowhere on the prompt, so the comparison has no match of it.
    let shown = session.state.shown.as_ref().unwrap();
    assert!(!shown.comparison.matches.contains_key(&3));
    let (generation, key) = session.state.follow.latent.clone().unwrap();
    let mut detail = crate::session::detail(3, key.token, key.knob);
    session.report(Report::Latent { generation, detail: std::sync::Arc::new(detail.clone()) });
    let unknown = screen(&session, 200, 60);
    assert!(unknown.contains("no match in trained is known") && !unknown.contains("not matched"), "{unknown}");
    detail.matched = Some(Match { latent: 77, cosine: 0.95, mutual: true });
    session.report(Report::Latent { generation, detail: std::sync::Arc::new(detail) });
    let known = screen(&session, 200, 60);
    assert!(!known.contains("no match in trained"), "{known}");
    assert!(known.lines().any(|line| line.contains("in trained") && line.contains("#77")), "{known}");
}

#[test]
fn finding_says_what_it_looks_for_and_what_there_is_none_of() {
    let mut session = Session::explored();
    session.keys("/");
    insta::assert_snapshot!("find_kinds", screen(&session, 80, 24));
    session.keys("grew").answer_study();
    assert!(screen(&session, 80, 24).contains("none grew on the selected token"), "{}", screen(&session, 80, 24));
    session.keys("<enter>");
    assert!(session.state.log.status().unwrap().text.contains("none grew"));
    session.keys("<esc>/99999");
    assert!(screen(&session, 80, 24).contains("latents go to #2047"));
    // The line is empty again at once, as in every field.
    session.keys("<ctrl-u>~77");
    assert!(matches!(&session.state.overlay, Some(Overlay::Find(find)) if find.query == "~77"));
    let asked = session.requests().into_iter().rev().find_map(|request| match request {
        Request { generation, query: Query::Find { word } } => Some((generation, word)),
        _ => None,
    });
    let Some((generation, word)) = asked else { panic!("nothing was asked") };
    assert_eq!(word, "~77");
    let hits = vec![Hit { latent: 88, why: Why::Like { of: 77, cosine: 0.71 } }];
    session.report(Report::Found { generation, hits });
    assert!(screen(&session, 80, 24).contains("cosine 0.710 of its decoder row with that of #77"));
    session.keys("<enter>");
    assert_eq!(session.state.latent, Some(88));
    session.keys("nabc<ctrl-u>d<enter>");
    assert_eq!(session.state.names.get(&88).map(String::as_str), Some("d"));
}

#[test]
fn enter_before_anything_is_found_goes_there_when_it_is() {
    let mut session = Session::explored();
    let asked = |session: &Session| {
        session.requests().into_iter().rev().find_map(|request| match request {
            Request { generation, query: Query::Find { .. } } => Some(generation),
            _ => None,
        })
    };
    session.keys("/~77<enter>");
    assert!(screen(&session, 80, 24).contains("output matrix, and then there"), "{}", screen(&session, 80, 24));
    assert!(session.state.log.status().is_none(), "nothing is said of what is not known");
    let generation = asked(&session).unwrap();
    let hits = vec![Hit { latent: 88, why: Why::Like { of: 77, cosine: 0.71 } }];
    session.report(Report::Found { generation, hits });
    assert_eq!((session.state.latent, session.state.overlay.is_none()), (Some(88), true));
    // Who goes on writing looks for something else.
    session.keys("/~77<enter>8");
    let generation = asked(&session).unwrap();
    session.report(Report::Found { generation, hits: Vec::new() });
    assert!(matches!(&session.state.overlay, Some(Overlay::Find(find)) if find.query == "~778" && !find.go));
    // Nothing was found: it is said then.
    session.keys("<enter>");
    assert!(
        session.state.log.status().unwrap().text.contains("no latent was found"),
        "{:?}",
        session.state.log.status()
    );
}

#[test]
fn variants_that_do_not_fit_are_a_key_away() {
    let mut session = Session::explored();
    session.keys("p").answer_study();
    let first = screen(&session, 80, 24);
    assert!(first.contains("1 and 2 of 4, v shows the others") && !first.contains("trained"), "{first}");
    session.keys("v");
    let second = screen(&session, 80, 24);
    assert!(second.contains("3 and 4 of 4") && second.contains("trained"), "{second}");
    session.keys("v");
    assert_eq!(screen(&session, 80, 24), first);
    assert!(!screen(&session, 120, 36).contains("shows the others"), "all are there");
}
