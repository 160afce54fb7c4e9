//! A second prompt beside the first.

use prunelens::{
    engine::Query,
    tui::{Effect, state::Panel},
};
use prunelens_core::compare::Variant;

use crate::{
    session::{PROMPT, Part, Session},
    update::compare,
};

fn second_prompts(session: &Session) -> Vec<(String, f64)> {
    session
        .requests()
        .into_iter()
        .filter_map(|r| if let Query::Beside { text, setting, .. } = r.query { Some((text, setting.at)) } else { None })
        .collect()
}

#[test]
fn two_prompts_stand_beside_each_other() {
    let mut session = Session::explored();
    session.effects.clear();
    session.keys("|");
    assert_eq!(session.state.focus, Panel::Prompt, "the first is there to be changed");
    assert_eq!(second_prompts(&session), [], "its copy is known already");
    let same = session.state.table.rows[0].clone();
    assert_eq!(same.between(Variant::Pruned), Some(0.0));
    session.keys(" ready").time(400);
    let text = format!("{PROMPT} ready");
    assert_eq!(compare(&session).as_deref(), Some(text.as_str()));
    session.answer(Part::All);
    session.keys("<esc>");
    // The last token has nothing beside it; the one before has.
    let pair = session.state.pair.as_ref().unwrap();
    assert_eq!(pair.text.as_ref(), PROMPT);
    assert_eq!(
        (pair.beside(session.state.token), pair.beside(session.state.token - 1)),
        (None, Some(session.state.token - 1))
    );
    session.effects.clear();
    session.keys("e");
    let [Effect::Export(export)] = &session.effects[..] else { panic!("{:?}", session.effects) };
    assert!(export.documents.iter().any(|document| document.extension == "pair.csv"), "there too");
    session.effects.clear();
    session.keys("]");
    assert_eq!(second_prompts(&session), [(PROMPT.to_owned(), 0.3)]);
    session.effects.clear();
    session.keys("]");
    assert_eq!(second_prompts(&session), [], "one at a time");
    session.answer_beside();
    assert_eq!(second_prompts(&session), [(PROMPT.to_owned(), 0.35)], "and then the newest");
    session.answer_beside();
    session.keys("\\");
    assert_eq!(session.state.prompt.text(), PROMPT);
    assert_eq!(session.state.pair.as_ref().unwrap().text.as_ref(), text);
    session.keys("|");
    assert!(session.state.pair.is_none() && session.state.table.rows.iter().all(|row| row.second.is_none()));
    session.keys("<ctrl-l>").time(800);
    let mut empty = Session::ready();
    empty.keys("<esc>|");
    assert!(empty.state.pair.is_none());
}
