//! Over a link that carries 20 kB a second, typing is not kept waiting. What is measured is bytes: those that the link has
//! carried between a key and the sight of its letter. How fast this machine is does not matter then.

use std::time::Duration;

use crate::support::screen::Screen;

const RATE: u64 = 20_000;
/// What the link carries in 0.3 seconds.
const MOST: usize = 6_000;
/// Between letters: long enough that each is compared before the next.
const BEAT: Duration = Duration::from_millis(140);

const BEGUN: &str = "The army and the navy of the United States are";
const SENTENCE: &str = " ready to sail against the enemy";

/// How many letters of the sentence are on screen.
fn seen(text: &str) -> usize {
    let Some((_, rest)) = text.split_once(BEGUN) else { return 0 };
    let same = rest.chars().zip(SENTENCE.chars()).take_while(|(a, b)| a == b).count();
    // What follows may be blank anyway.
    SENTENCE[..same].trim_end().len()
}

/// Types the sentence on the beat; the most bytes that went before a letter.
fn worst(screen: &mut Screen) -> usize {
    let mut typed = Vec::new();
    let mut shown = 0;
    let mut worst = 0;
    let mut look = |typed: &[usize], screen: &Screen| {
        let now = seen(&screen.text());
        for before in typed.iter().take(now).skip(shown) {
            worst = worst.max(screen.sent.len() - before);
        }
        shown = shown.max(now);
        shown
    };
    for letter in SENTENCE.chars() {
        typed.push(screen.sent.len());
        screen.keys(&letter.to_string());
        screen.watch(BEAT, |screen| {
            look(&typed, screen);
        });
    }
    screen.wait_for(SENTENCE);
    assert_eq!(look(&typed, screen), SENTENCE.len());
    worst
}

#[test]
fn a_sentence_is_typed_over_a_slow_link() {
    let mut screen = Screen::compared();
    screen.settle();
    screen.slow_down(RATE);
    let worst = worst(&mut screen);
    println!("{worst} bytes before a letter, at most");
    assert!(
        worst <= MOST,
        "{worst} bytes before a letter: {:.2} s at {RATE} bytes a second",
        worst as f64 / RATE as f64
    );
}

#[test]
fn a_sentence_is_typed_over_a_slow_link_while_a_job_runs() {
    let mut screen = Screen::compared();
    screen.settle();
    screen.keys("\tm");
    screen.wait_for("Enter starts");
    screen.keys("\r");
    screen.wait("the job's progress", |s| s.contains("core") && s.contains('%'));
    screen.keys("\x1b");
    screen.wait_for("latents at");
    // Back into the prompt; the digit waits whether it begins a count.
    screen.keys("1");
    screen.wait_for("F1 help");
    screen.slow_down(RATE);
    let worst = worst(&mut screen);
    println!("{worst} bytes before a letter, at most");
    assert!(
        worst <= MOST,
        "{worst} bytes before a letter: {:.2} s at {RATE} bytes a second",
        worst as f64 / RATE as f64
    );
}
