//! The screen of the atlas, on one that is made up.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use prunelens::{
    engine::{JobState, Query, Report, Request},
    export,
    tui::{
        Effect, Message,
        state::{
            Pointed, SavedView, Screen,
            atlas::{BINS, Drawn, Look},
        },
        view::draw,
    },
};
use prunelens_metrics::{
    JobSpec, Run, RunFile,
    atlas::{About, Atlas, Fate},
};

use crate::session::{NOW, Part, Session, dark, info, run};

/// Latents from formulas: dense ones die late, some never, some fire nowhere.
pub fn atlas(d_sae: usize) -> Atlas {
    let ratios = [0.0, 0.25, 0.5, 0.75, 0.9];
    let noise = |latent: usize, salt: usize| ((latent * 7919 + salt * 104_729) % 1009) as f64 / 1009.0;
    let column = |of: &dyn Fn(usize) -> f64| (0..d_sae).map(of).collect::<Vec<f64>>();
    let density = |latent: usize| match latent % 40 {
        0 => 0.0,
        _ => 10_f64.powf(-4.0 * noise(latent, 1)),
    };
    let dies = |latent: usize| {
        let at = (density(latent).log10() / 4.0 + 1.2 + 0.4 * noise(latent, 2)) * 3.5;
        ratios.get(at as usize).copied().filter(|_| density(latent) > 0.0).unwrap_or(f64::NAN)
    };
    let mass = |latent: usize| 1000.0 * density(latent);
    let mut columns = vec![
        ("density.original".to_owned(), column(&density)),
        ("mass.original".into(), column(&mass)),
        ("mass.transfer".into(), column(&|latent| mass(latent) * (0.8 + 0.3 * noise(latent, 3)))),
    ];
    for ratio in ratios {
        let kept = |latent: usize| if dies(latent) <= ratio { 0.2 } else { 1.0 };
        columns.push((format!("mass.pruned.{ratio}"), column(&|latent| mass(latent) * kept(latent))));
    }
    columns.push(("dies_half".into(), column(&dies)));
    columns.push((
        "corr.pruned".into(),
        column(&|latent| if density(latent) > 0.0 { noise(latent, 4) } else { f64::NAN }),
    ));
    columns.push(("importance".into(), column(&|latent| 1e-4 * (noise(latent, 5) - 0.3).powi(3))));
    let fate = |latent: usize| match (density(latent) > 0.0, dies(latent)) {
        (false, _) => Fate::Silent,
        (_, d) if d <= 0.25 => Fate::DeadWithSae,
        (_, d) if d <= 0.5 => Fate::Weakened,
        _ => Fate::Kept,
    };
    let about = About {
        rows: 64,
        knob: "ratio".into(),
        positions: 8117,
        predicted: 8053,
        ce_loss: Some(3.73),
        importance_rows: 0,
        session: serde_json::Value::Null,
        d_sae,
        hook: "blocks.1.hook_resid_post".into(),
        ratio: 0.25,
        criterion: "wanda".into(),
        ratios: ratios.to_vec(),
        text: "built-in held-out text".into(),
        tokens_sha256: String::new(),
        sha256: BTreeMap::new(),
    };
    Atlas { path: "results/atlas.json".into(), about, columns, fates: (0..d_sae).map(fate).collect() }
}

fn past(session: &str) -> Run {
    let mut run = run(0.25, "blocks.1.hook_resid_post");
    (run.spec, run.session) = (JobSpec::new("atlas"), session.to_owned());
    run.files = vec!["results/atlas.parquet".into()];
    run
}

/// Asked for, not read yet.
fn asked() -> (Session, u64) {
    let mut session = Session::explored();
    session.report(Report::Runs { runs: Arc::new(vec![past("another"), past(&info().label())]), now: NOW });
    session.keys("a");
    let Some(Request { generation, query: Query::Atlas { file } }) = session.requests().last().cloned() else {
        panic!("not asked")
    };
    assert_eq!(file.path.to_str(), Some("results/atlas.parquet"));
    (session, generation)
}

#[test]
fn one_that_is_finished_meanwhile_is_opened() {
    let mut session = Session::explored();
    session.keys("m<enter>").keys("a");
    let job = session.state.jobs.last_mut().unwrap();
    job.spec = JobSpec::new("atlas");
    let job = job.id;
    assert!(screen(&session, 80, 24).contains("an atlas is being measured"), "{}", screen(&session, 80, 24));
    let file = RunFile { path: "results/atlas.parquet".into(), sha256: "ab".into() };
    session.job(job, JobState::Done { seconds: 3.0, files: vec![file.clone()] });
    let asked = session.requests().last().cloned();
    assert!(matches!(asked, Some(Request { query: Query::Atlas { file: asked }, .. }) if asked == file));
}

/// Open, with these keys pressed.
pub fn opened(keys: &str) -> Session {
    let (mut session, generation) = asked();
    session.report(Report::Atlas { generation, atlas: Arc::new(atlas(2048)) });
    session.keys(keys);
    session
}

fn screen(session: &Session, width: u16, height: u16) -> String {
    export::text::text(&draw(width, height, &session.state, &dark()).0)
}

fn drawn(session: &Session) -> &Drawn {
    session.state.atlas.drawn.as_ref().unwrap()
}

#[test]
fn looks() {
    let (waiting, _) = asked();
    insta::assert_snapshot!("atlas_reading", screen(&waiting, 80, 24));
    let mut none = Session::explored();
    none.keys("a");
    insta::assert_snapshot!("atlas_none", screen(&none, 80, 24));
    let session = opened("");
    insta::assert_snapshot!("atlas_80x24", screen(&session, 80, 24));
    insta::assert_snapshot!("atlas_120x36", screen(&session, 120, 36));
    insta::assert_snapshot!("atlas_200x60", screen(&session, 200, 60));
    insta::assert_snapshot!(
        "atlas_region",
        screen(
            &opened("<tab> <right><right><right><right><right><right><down><down><down><down><down><down> "),
            120,
            36
        )
    );
    insta::assert_snapshot!("atlas_fates", screen(&opened("F"), 120, 36));
    insta::assert_snapshot!("atlas_only", screen(&opened("f"), 120, 36));
}

#[test]
fn only_an_atlas_of_this_session_is_opened() {
    let mut session = Session::explored();
    session.report(Report::Runs { runs: Arc::new(vec![past("another")]), now: NOW });
    session.keys("a");
    assert!(session.requests().is_empty() && session.state.screen == Screen::Atlas);
    session.keys("<enter>");
    let form = session.state.overlay.clone();
    assert!(form.is_some() && session.state.screen == Screen::Metrics, "{form:?}");

    let (mut session, generation) = asked();
    session.report(Report::Atlas { generation: generation - 1, atlas: Arc::new(atlas(2048)) });
    assert!(session.state.atlas.atlas.is_none(), "an answer to another question");
    session.report(Report::Atlas { generation, atlas: Arc::new(atlas(100)) });
    assert!(session.state.atlas.atlas.is_none() && !session.state.atlas.waiting);
    assert!(screen(&session, 120, 36).contains("the SAE here has 2048"), "{}", screen(&session, 120, 36));
    let (mut session, generation) = asked();
    session.report(Report::RequestFailed { generation, message: "atlas.json: not there".into() });
    assert!(!session.state.atlas.waiting && screen(&session, 120, 36).contains("could not be read"));
}

#[test]
fn the_list_is_in_order_and_leads_to_latents_and_back() {
    let mut session = opened("");
    let list = &drawn(&session).list;
    let dying = list.iter().position(|(_, at)| at.is_nan()).unwrap();
    assert!(dying > 1900 && list[..dying].windows(2).all(|pair| pair[0].1 <= pair[1].1), "the first to die first");
    let last = &list[dying..];
    assert!(list.len() == 2048 && last.iter().all(|(latent, at)| latent % 40 == 0 && at.is_nan()), "silent ones last");
    let first = list[0].0;
    assert!(session.state.latent.is_some());
    session.keys("o");
    assert_eq!(drawn(&session).list[0].1, 1.0, "the last to die: those that outlive all ratios");
    session.keys("o<pageup><pageup>");
    session.state.latent = Some(first);
    session.keys("<down><enter>");
    let second = drawn(&session).list[1].0;
    assert_eq!((session.state.screen, session.state.latent), (Screen::Latent, Some(second)));
    session.keys("<right>");
    assert_eq!(session.state.latent, Some(drawn(&session).list[2].0));
    session.keys("<esc>");
    assert_eq!(session.state.screen, Screen::Atlas);
    session.keys("<esc>");
    assert_eq!(session.state.screen, Screen::Explore);
    session.keys("a");
    assert_eq!(session.state.screen, Screen::Atlas);
    assert!(session.state.atlas.drawn.is_some(), "left as it was");
}

#[test]
fn a_view_has_how_it_was_looked_at() {
    let session = opened("xVfo");
    let view = SavedView::of(&session.state).unwrap();
    let look = |session: &Session| {
        let atlas = &session.state.atlas;
        let [across, up, rank] = [atlas.across, atlas.up, atlas.rank].map(|at| atlas.name(at).to_owned());
        (session.state.screen, across, up, rank, atlas.ascending, atlas.fate)
    };
    assert_eq!(view.screen, "atlas");
    let reopened = |view: &SavedView| {
        let mut session = Session::ready();
        session.report(Report::Runs { runs: Arc::new(vec![past(&info().label())]), now: NOW });
        session.state.offered = Some(Arc::new(view.clone()));
        session.keys("0").answer(Part::All);
        let generation = session.state.atlas.asked.clone().expect("the atlas was not asked for").0;
        session.report(Report::Atlas { generation, atlas: Arc::new(atlas(2048)) });
        session
    };
    assert_eq!(look(&reopened(&view)), look(&session));
    assert_eq!(SavedView::of(&reopened(&view).state), Some(view.clone()));
    // An atlas of other columns.
    let mut other = view;
    other.atlas.as_mut().unwrap().up = "mass\u{1b}.later".into();
    let session = reopened(&other);
    let said = &session.state.log.status().unwrap().text;
    assert!(
        said.contains("mass\\u{1b}.later") && session.state.atlas.name(session.state.atlas.up) == "dies_half",
        "{said}"
    );
}

#[test]
fn filters_say_what_they_leave() {
    let mut session = opened("f");
    let counts = drawn(&session).counts;
    let kept = Fate::Kept as usize;
    assert!(counts[kept] > 0 && counts.iter().enumerate().all(|(at, n)| at == kept || *n == 0), "{counts:?}");
    for fate in Fate::ALL.into_iter().skip(1) {
        session.keys("f");
        let drawn = drawn(&session);
        assert_eq!(session.state.atlas.fate, Some(fate));
        assert_eq!(drawn.list.len(), drawn.counts.iter().sum::<u32>() as usize, "{fate:?}: with a value or without");
    }
    let seen = screen(&session, 120, 36);
    assert!(seen.contains("only silent; ") && seen.contains("without a value"), "{seen}");
    session.keys("<bs>/77<enter>");
    assert_eq!(session.state.latent, Some(77));
    session.keys("N");
    assert!(drawn(&session).list.len() > 1900, "nothing is named");
    session.state.names.insert(77, "ships".into());
    session.keys("N");
    assert_eq!(drawn(&session).list.iter().map(|(latent, _)| *latent).collect::<Vec<_>>(), [77]);
    assert!(screen(&session, 120, 36).contains("ships"));
    session.keys("N/ship<enter>");
    assert_eq!(drawn(&session).list.len(), 1);
    assert!(screen(&session, 120, 36).contains("only 1 latents: ship"), "{}", screen(&session, 120, 36));
    session.keys("<bs>w");
    assert_eq!(session.state.atlas.name(session.state.atlas.rank), "corr.pruned");
    session.keys("F");
    assert_eq!(session.state.atlas.look, Look::Fates);
}

#[test]
fn a_region_by_keys_or_mouse_lists_what_is_inside() {
    let mut session = opened("");
    let all = drawn(&session).list.len();
    session.send(Message::Clicked(Pointed::Plot(0.0, 0.0)));
    session.send(Message::Dragged(Pointed::Plot(0.3, 0.4)));
    session.send(Message::Dragged(Pointed::Plot(0.5, 0.5)));
    let region = session.state.atlas.region.unwrap();
    assert_eq!((region.from, region.to), ((0, 0), (BINS.0 / 2, BINS.1 / 2)));
    let inside: Vec<u32> = drawn(&session).list.iter().map(|(latent, _)| *latent).collect();
    assert!(!inside.is_empty() && inside.len() < all);
    for latent in 0..2048 {
        let held = session.state.atlas.place(latent).is_some_and(|place| region.holds(place));
        assert_eq!(held, inside.contains(&latent), "{latent}");
    }
    // The same by keys: from the middle, where the cross is now, to the corner.
    session.send(Message::Clicked(Pointed::Plot(0.5, 0.5)));
    assert_eq!(session.state.atlas.region, None);
    session.keys(" ");
    session.keys(&"<left>".repeat(70));
    session.keys(&"<down>".repeat(40));
    session.keys(" ");
    assert_eq!(session.state.atlas.region, Some(region));
    // Other axes have other regions.
    session.keys("x");
    assert_eq!((session.state.atlas.region, drawn(&session).list.len()), (None, all));
}

#[test]
fn everything_is_exported() {
    let mut session = opened("f");
    session.keys("e");
    let export = session.effects.iter().rev().find_map(|effect| match effect {
        Effect::Export(export) => Some(export.clone()),
        _ => None,
    });
    let export = export.unwrap();
    let text = |extension: &str| export.documents.iter().find(|d| d.extension == extension).unwrap().text.clone();
    let listed = drawn(&session).list.len();
    assert_eq!(text("csv").lines().count(), listed + 1);
    assert!(text("csv").starts_with("latent,density.original,mass.original,"));
    let json: serde_json::Value = serde_json::from_str(&text("json")).unwrap();
    assert_eq!((json["latents"].as_u64(), json["only"][0].as_str()), (Some(listed as u64), Some("kept")));
    assert_eq!(json["fates_by_ratio"].as_array().unwrap().len(), 5);
    assert!(text("md").contains("| ratio | kept | weakened |"), "{}", text("md"));
    let svg = text("plot.svg");
    assert_eq!(svg.matches("r=\"1.6\"").count(), drawn(&session).bins.len());
    session.keys("y");
    assert!(session.effects.iter().any(|effect| matches!(effect, Effect::Copy(text) if text.contains("**Atlas**"))));
}

#[test]
fn a_hundred_thousand_latents_are_counted_once_and_drawn_quickly() {
    let (mut session, generation) = asked();
    let mut info = info();
    info.d_sae = 131_072;
    session.state.info = Some(Arc::new(info));
    session.report(Report::Atlas { generation, atlas: Arc::new(atlas(131_072)) });
    let before = Arc::as_ptr(session.state.atlas.drawn.as_ref().unwrap());
    let start = Instant::now();
    for _ in 0..10 {
        draw(200, 60, &session.state, &dark());
    }
    let frame = start.elapsed() / 10;
    assert!(frame.as_millis() < 500, "a frame took {frame:?}");
    session.keys("<tab><right><up><tab><down>");
    assert_eq!(before, Arc::as_ptr(session.state.atlas.drawn.as_ref().unwrap()), "moving counts nothing anew");
    let total: u32 = drawn(&session).bins.iter().flat_map(|bin| bin.counts).sum();
    assert_eq!(total + drawn(&session).without, 131_072);
    println!("a frame of 131,072 latents: {frame:?}");
}
