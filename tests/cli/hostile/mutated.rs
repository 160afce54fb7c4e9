//! What fuzzing found, spoilt further at random: bits, bytes, numbers, pieces cut out, doubled and put into each other. It looks
//! for the same as the fuzz targets, without their instruments, and needs nothing but this test.
//!
//! `PRUNELENS_MUTATIONS` says how many inputs each reader gets (100 unless it is set), `PRUNELENS_MUTATION_SEED` which.

use std::{fs, time::Instant};

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::corpus::{CORPUS, READERS, turn};

/// No input grows beyond this.
const LONGEST: usize = 1 << 17;
/// Numbers that readers go wrong at.
const EDGES: [u64; 10] =
    [0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 0x7fff_ffff_ffff_ffff, 0xffff_ffff_ffff_ffff];

fn mutate(input: &mut Vec<u8>, others: &[Vec<u8>], random: &mut StdRng) {
    let at = random.random_range(0..=input.len());
    let end = (at + random.random_range(0..64)).min(input.len());
    match random.random_range(0..8) {
        0 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
        1 if at < input.len() => input[at] = random.random(),
        2 => {
            let edge = EDGES.choose(random).expect("there are some").to_le_bytes();
            let width = *[1, 2, 4, 8].choose(random).expect("there are some");
            let end = (at + width).min(input.len());
            input[at..end].copy_from_slice(&edge[..end - at]);
        }
        3 => drop(input.drain(at..end)),
        4 => {
            let piece = input[at..end].to_vec();
            input.splice(at..at, piece);
        }
        5 => {
            let other = others.choose(random).expect("there are some");
            let from = random.random_range(0..=other.len());
            let to = (from + random.random_range(0..256)).min(other.len());
            input.splice(at..end, other[from..to].iter().copied());
        }
        6 => input.truncate(at),
        _ => {
            let digits = random.random_range(0..u64::MAX).to_string();
            input.splice(at..end, digits.into_bytes());
        }
    }
    input.truncate(LONGEST);
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

#[test]
fn readers_outlive_what_is_spoilt_at_random() {
    let _turn = turn();
    let (times, seed) = (number("PRUNELENS_MUTATIONS", 100), number("PRUNELENS_MUTATION_SEED", 3));
    println!("PRUNELENS_MUTATIONS={times} PRUNELENS_MUTATION_SEED={seed}");
    for (name, read) in READERS {
        let random = &mut StdRng::seed_from_u64(seed);
        let mut seeds = vec![Vec::new()];
        for entry in fs::read_dir(format!("{CORPUS}/{name}")).into_iter().flatten() {
            seeds.push(fs::read(entry.unwrap().path()).unwrap());
        }
        // In whatever order the system lists them.
        seeds.sort();
        let begun = Instant::now();
        for at in 0..times {
            let mut input = seeds.choose(random).expect("there are some").clone();
            (0..random.random_range(1..6)).for_each(|_| mutate(&mut input, &seeds, random));
            let done = std::panic::catch_unwind(|| read(&input));
            if done.is_err() {
                let path = std::env::temp_dir().join(format!("prunelens-{name}-{seed}-{at}"));
                fs::write(&path, &input).unwrap();
                panic!("{name}: input {at} of seed {seed} is kept as {}", path.display());
            }
        }
        println!("{name}: {times} inputs in {:.1} s", begun.elapsed().as_secs_f64());
    }
}
