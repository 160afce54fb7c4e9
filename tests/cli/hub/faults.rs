//! What goes wrong on the way.

use std::{fs, time::Instant};

use prunelens_core::{
    error::Error,
    hub::{self, HubId, Kind},
    progress::Progress,
};

use super::{
    MODEL, Place, SAES, files, refused,
    server::{Fault, Gate, Repo, TOKEN, etag},
};
use crate::support::{GPT2, fixture};

const WEIGHTS: &str = "model.safetensors";

fn weights() -> Vec<u8> {
    fs::read(fixture(GPT2).join(WEIGHTS)).unwrap()
}

#[test]
fn a_cut_connection_is_taken_up_where_it_was_cut() {
    let place = Place::new();
    place.server.fault(WEIGHTS, Fault::Cut(100_000), 2);
    let path = place.fetch(MODEL, Kind::Model).unwrap();
    assert_eq!(fs::read(path.join(WEIGHTS)).unwrap(), weights());
    let asked = place.server.asked();
    let from: Vec<usize> = asked.iter().filter(|a| a.elsewhere && a.from > 0).map(|a| a.from).collect();
    // The first two are cut (the one that only looks at the headers may count, too); later ones go on.
    assert!(!from.is_empty() && from.iter().all(|from| (1..=200_000).contains(from)), "{asked:#?}");
}

#[test]
fn the_next_start_goes_on_where_the_last_one_ended() {
    let place = Place::new();
    place.server.fault(WEIGHTS, Fault::Cut(100_000), 1);
    place.server.fault(WEIGHTS, Fault::Status(503), usize::MAX);
    place.refused(MODEL, Kind::Model, &[MODEL, WEIGHTS, "status 503", "is kept"]);
    let part = place.folder(MODEL).join("blobs").join(format!("{}.incomplete", etag(WEIGHTS, &weights())));
    let there = fs::metadata(&part).unwrap().len();
    assert!((1..=100_000).contains(&there), "{there}");
    assert!(!place.folder(MODEL).join("refs/main").exists(), "a revision that is not whole is not remembered");

    place.server.heal();
    place.server.asked();
    let path = place.fetch(MODEL, Kind::Model).unwrap();
    assert_eq!(fs::read(path.join(WEIGHTS)).unwrap(), weights());
    let asked = place.server.asked();
    assert!(asked.iter().any(|a| a.elsewhere && a.from as u64 == there), "{asked:#?}");
    assert!(!part.exists());
}

#[test]
fn a_server_without_ranges_begins_anew() {
    let place = Place::new();
    place.server.fault(WEIGHTS, Fault::Cut(100_000), 1);
    place.server.fault(WEIGHTS, Fault::Whole, usize::MAX);
    let path = place.fetch(MODEL, Kind::Model).unwrap();
    assert_eq!(fs::read(path.join(WEIGHTS)).unwrap(), weights());
}

#[test]
fn a_part_that_does_not_belong_is_found_out() {
    let place = Place::new();
    let blobs = place.folder(MODEL).join("blobs");
    fs::create_dir_all(&blobs).unwrap();
    let name = etag(WEIGHTS, &weights());
    let part = blobs.join(format!("{name}.incomplete"));
    fs::write(&part, vec![7; 1000]).unwrap();
    place.refused(MODEL, Kind::Model, &[WEIGHTS, "SHA-256"]);
    assert!(!part.exists() && !blobs.join(&name).exists());
    // Longer than the file: it begins anew.
    fs::write(&part, vec![7; weights().len() + 1]).unwrap();
    let path = place.fetch(MODEL, Kind::Model).unwrap();
    assert_eq!(fs::read(path.join(WEIGHTS)).unwrap(), weights());
}

#[test]
fn damage_is_noticed() {
    let place = Place::new();
    place.server.fault(WEIGHTS, Fault::Damaged, usize::MAX);
    place.refused(MODEL, Kind::Model, &[MODEL, WEIGHTS, "SHA-256"]);
    let left = files(&place.folder(MODEL).join("blobs"));
    assert!(left.iter().all(|name| !name.starts_with(&etag(WEIGHTS, &weights()))), "{left:?}");
}

#[test]
fn a_wrong_size_is_refused() {
    let size = weights().len() as u64;
    for announced in [size + 5, size - 5, 0] {
        let place = Place::new();
        place.server.fault(WEIGHTS, Fault::Size(announced), usize::MAX);
        place.refused(MODEL, Kind::Model, &[WEIGHTS, "wrong size", &announced.to_string()]);
        let left = files(&place.folder(MODEL).join("blobs"));
        assert!(left.iter().all(|name| !name.starts_with(&etag(WEIGHTS, &weights()))), "{left:?}");
    }
}

#[test]
fn a_slow_link_shows_how_far_it_is() {
    let place = Place::new();
    let gate = Gate::default();
    place.server.fault(WEIGHTS, Fault::Slow(gate.clone()), 1);
    gate.open();
    let half = (weights().len() / 2) as u64;
    let mut seen: Vec<Progress> = Vec::new();
    let id = HubId::parse(MODEL).unwrap();
    hub::fetch(&place.settings(&[]), &id, Kind::Model, &mut |progress| {
        // The other half comes once this one has been seen.
        if progress.unit == "bytes" && progress.done > half {
            gate.open();
        }
        seen.push(progress);
        Ok(())
    })
    .unwrap();
    let names = ["config.json", "tokenizer.json", "tokenizer_config.json", WEIGHTS];
    let total: u64 = names.iter().map(|name| fs::metadata(fixture(GPT2).join(name)).unwrap().len()).sum();
    let bytes: Vec<&Progress> = seen.iter().filter(|p| p.unit == "bytes").collect();
    assert!(bytes.iter().any(|p| p.done > half && p.done < total), "{bytes:?}");
    assert!(bytes.iter().all(|p| p.what.contains(MODEL) && p.done <= p.total && p.total <= total), "{bytes:?}");
    assert!(bytes.is_sorted_by_key(|p| p.done), "{bytes:?}");
    let last = bytes.last().unwrap();
    assert_eq!((last.done, last.total), (total, total));
}

#[test]
fn a_silent_server_does_not_hold_the_person() {
    let place = Place::new();
    let gate = Gate::default();
    place.server.fault(WEIGHTS, Fault::Silent(gate.clone()), usize::MAX);
    let started = Instant::now();
    let id = HubId::parse(MODEL).unwrap();
    let ended = hub::fetch(&place.settings(&[]), &id, Kind::Model, &mut |progress| match progress.done {
        0 => Ok(()),
        _ => Err(Error::Interrupted),
    });
    assert!(matches!(ended, Err(Error::Interrupted)), "{ended:?}");
    assert!(started.elapsed() < place.settings(&[]).patience, "it did not wait for the server");
    gate.open();
    // And one that stays silent is given up.
    place.server.heal();
    place.server.fault(WEIGHTS, Fault::Silent(Gate::default()), usize::MAX);
    let impatient = place.settings(&[("HF_HUB_DOWNLOAD_TIMEOUT", "1")]);
    refused(&impatient, MODEL, Kind::Model, &[MODEL, WEIGHTS, "does not answer"]);
}

#[test]
fn what_does_not_exist_is_named() {
    let place = Place::new();
    place.refused("nobody/nothing", Kind::Model, &["nobody/nothing", "no such repository", "127.0.0.1", "HF_TOKEN"]);
    let asked = place.settings(&[("HF_TOKEN", TOKEN)]);
    refused(&asked, "nobody/nothing", Kind::Model, &["no such repository", "the token does not reach it"]);
    place.refused(&format!("{MODEL}@v9"), Kind::Model, &[MODEL, "no revision \"v9\""]);
    place.refused(&format!("{SAES}/v5_32k_layer_9.pt"), Kind::Sae, &["no such file or folder", "v5_32k_layer_1.pt"]);
    place.refused(SAES, Kind::Sae, &["2 SAEs", &format!("{SAES}/v5_32k_layer_1.pt")]);
    place.refused(SAES, Kind::Model, &["config.json", "v5_32k_layer_1.pt/cfg.json"]);
    place.refused(MODEL, Kind::Sae, &["no SAE"]);
    let nowhere = place.settings(&[("HF_ENDPOINT", "http://127.0.0.1:9")]);
    refused(&nowhere, MODEL, Kind::Model, &[MODEL, "127.0.0.1", "cannot be reached"]);
    let nonsense = place.settings(&[("HF_ENDPOINT", "huggingface")]);
    refused(&nonsense, MODEL, Kind::Model, &["HF_ENDPOINT"]);
}

#[test]
fn gated_repositories_say_what_to_do() {
    let place = Place::new();
    let repo = Repo { gated: true, ..Repo::of(&[(&fixture(GPT2), "")]) };
    place.server.put("google/gemma", repo);
    let page = format!("{}/google/gemma", place.server.endpoint());
    place.refused("google/gemma", Kind::Model, &["google/gemma", "accept its terms", &page, "HF_TOKEN"]);
    let wrong = place.settings(&[("HF_TOKEN", "hf_wrong")]);
    refused(&wrong, "google/gemma", Kind::Model, &["does not accept the token"]);
    let right = place.settings(&[("HF_TOKEN", TOKEN)]);
    hub::fetch(&right, &HubId::parse("google/gemma").unwrap(), Kind::Model, &mut |_| Ok(())).unwrap();
}

#[test]
fn the_token_stays_with_its_server() {
    let place = Place::new();
    place.server.put("google/gemma", Repo { gated: true, ..Repo::of(&[(&fixture(GPT2), "")]) });
    let settings = place.settings(&[("HF_TOKEN", TOKEN)]);
    hub::fetch(&settings, &HubId::parse("google/gemma").unwrap(), Kind::Model, &mut |_| Ok(())).unwrap();
    let asked = place.server.asked();
    assert!(asked.iter().any(|a| a.elsewhere) && asked.iter().any(|a| !a.elsewhere));
    for a in &asked {
        assert_eq!(a.token.is_some(), !a.elsewhere, "{a:?}");
    }
}

#[test]
fn redirects_that_lead_nowhere() {
    for (to, words) in [
        ("file:///etc/passwd", "an address that is none"),
        ("ftp://127.0.0.1/x", "an address that is none"),
        ("http://127.0.0.1:9/x", "cannot be reached"),
    ] {
        let place = Place::new();
        place.server.fault(WEIGHTS, Fault::Astray(to.into()), usize::MAX);
        place.refused(MODEL, Kind::Model, &[MODEL, words]);
    }
    let place = Place::new();
    let round = format!("/{MODEL}/resolve/{}/{WEIGHTS}", super::COMMIT);
    place.server.fault(WEIGHTS, Fault::Astray(round), usize::MAX);
    place.refused(MODEL, Kind::Model, &["without end"]);
}

#[test]
fn a_server_that_means_harm_writes_nothing_elsewhere() {
    let evil = ["../../evil", "/tmp/evil", "x/../../../evil/params.npz", "\u{1b}[2J/params.npz", "a\\b", ".."];
    let listed: Vec<String> = evil.iter().map(|name| (*name).to_owned()).collect();
    let repo = || Repo { listed: listed.clone(), ..Repo::of(&[(&fixture(GPT2), "")]) };
    let place = Place::new();
    place.server.put("o/listing", repo());
    place.refused("o/listing", Kind::Sae, &["o/listing"]);
    place.refused("o/listing/x", Kind::Sae, &["o/listing"]);
    place.fetch("o/listing", Kind::Model).unwrap();
    for bad in ["../../../evil", "/tmp/evil", ".", "..", "", "a/b"] {
        place.server.put("o/commit", Repo { commit: Some(bad.into()), ..repo() });
        place.refused("o/commit", Kind::Model, &["commit that cannot be used"]);
        place.server.put("o/etag", Repo { etag: Some(bad.into()), ..repo() });
        place.refused("o/etag", Kind::Model, &["etag that cannot be used"]);
    }
    let found = files(place.home.path());
    assert!(found.iter().all(|name| !name.contains("evil")), "{found:?}");
    assert!(fs::read_dir(place.home.path()).unwrap().all(|e| e.unwrap().file_name() == "hub"));
}

/// The lock is the Python libraries', too.
#[test]
fn who_comes_second_waits() {
    let place = Place::new();
    let locks = place.home.path().join("hub/.locks").join(place.folder(MODEL).file_name().unwrap());
    fs::create_dir_all(&locks).unwrap();
    let lock = fs::File::create(locks.join(format!("{}.lock", etag(WEIGHTS, &weights())))).unwrap();
    lock.lock().unwrap();
    let mut held = Some(lock);
    let path = hub::fetch(&place.settings(&[]), &HubId::parse(MODEL).unwrap(), Kind::Model, &mut |progress| {
        if progress.what.contains("waiting for another download") {
            // The other one is done.
            held = None;
        }
        Ok(())
    });
    assert!(held.is_none(), "it waited");
    assert_eq!(fs::read(path.unwrap().join(WEIGHTS)).unwrap(), weights());
}
