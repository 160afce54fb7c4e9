//! The tour waits for what it speaks of, and for nothing else.

use prunelens::tui::state::{STEPS, Tour};

use crate::session::{Part, Session, dark};

#[test]
fn ten_steps_are_done_with_the_keys_they_name() {
    let mut session = Session::ready();
    session.keys("<esc>T");
    let at = |session: &Session| session.state.tour.unwrap().step;
    session.keys("1").answer(Part::All);
    assert_eq!(at(&session), 1);
    session.keys("j").answer_latent();
    assert_eq!(at(&session), 2);
    session.keys("<left>").answer_latent();
    assert_eq!(at(&session), 3);
    session.keys("]]");
    assert_eq!(at(&session), 3, "0.35 is not yet 0.40");
    session.keys("]");
    assert_eq!(at(&session), 4);
    session.keys("0").answer(Part::All);
    assert_eq!(at(&session), 5);
    session.keys("/navy").answer_study();
    assert_eq!(at(&session), 5, "it is not found before Enter");
    session.keys("<enter>").answer_latent();
    assert_eq!(at(&session), 6);
    session.keys("nnaval forces<enter>");
    assert_eq!(at(&session), 7);
    session.keys("<enter>").answer_study();
    assert_eq!(at(&session), 8);
    session.keys("x");
    assert_eq!(at(&session), 9);
    assert!(!session.state.toured());
    session.keys("p").answer(Part::All).answer_study();
    assert!(session.state.toured());
    session.keys("T");
    assert_eq!(session.state.tour, None, "seen to its end, it goes");
}

#[test]
fn the_box_leaves_what_it_speaks_of_and_says_what_it_needs() {
    let mut session = Session::explored();
    let screen = |session: &Session| crate::snapshots::screen(&session.state, 120, 36, &dark());
    let figures = ["│ variance ", "│ CE ", "│ KL "];
    let without = screen(&session);
    assert!(figures.iter().all(|name| without.contains(name)), "{without}");
    for step in [3, 4] {
        session.state.tour = Some(Tour::at(step));
        let with = screen(&session);
        assert!(figures.iter().all(|name| with.contains(name)), "{with}");
    }
    // Gone on with at the next start, before there is a prompt.
    let mut session = Session::ready();
    session.state.tour = Some(Tour::at(2));
    session.keys("<esc>");
    assert!(screen(&session).contains("1 takes the first example again"), "{}", screen(&session));
    session.keys("1").answer(Part::All);
    assert!(!screen(&session).contains("takes the first example"), "{}", screen(&session));
}

#[test]
fn the_box_fits_everywhere_and_is_put_away() {
    let mut session = Session::explored();
    for (step, told) in STEPS.iter().enumerate() {
        session.state.tour = Some(Tour::at(step));
        let title = format!("tour {} of 10: {}", step + 1, told.title);
        for (width, height) in [(120, 36), (80, 24), (60, 16)] {
            let screen = crate::snapshots::screen(&session.state, width, height, &dark());
            assert!(screen.contains(&title), "{screen}");
        }
    }
    session.state.tour = Some(Tour::at(8));
    insta::assert_snapshot!("tour", crate::snapshots::screen(&session.state, 120, 36, &dark()));
    session.keys("T");
    assert!(!crate::snapshots::screen(&session.state, 120, 36, &dark()).contains("tour 9"));
    session.keys("T");
    assert!(crate::snapshots::screen(&session.state, 120, 36, &dark()).contains("tour 9"));
    session.keys("<ctrl-n>");
    assert_eq!(session.state.tour, Some(Tour::at(9)));
}
