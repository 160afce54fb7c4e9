//! From activations to reconstructions: the latents that are kept, what is decoded from them, and how far it is off.

use super::*;

/// The k largest by the twin, in order of their indices.
pub fn largest(row: &[f32], k: usize) -> Vec<(u32, f32)> {
    let mut top = encode_top(row, k);
    top.sort_unstable_by_key(|c| c.0);
    top
}

fn encode_top(row: &[f32], k: usize) -> Vec<(u32, f32)> {
    use prunelens_kernels::select::TopK;
    let mut top = TopK::new(k);
    (0..).zip(row).for_each(|(at, v)| top.push((at, *v)));
    TopK::merge(std::iter::once(top), k)
}

#[test]
fn k_largest() {
    let Some(backend) = backend() else { return };
    let backend = &*backend;
    for (rows, width) in [(1, 1), (2, 31), (3, 1024), (2, 1025), (2, 5003), (1, 70_001)] {
        let few: Vec<f32> = (0..rows * width).map(|i| if i % 97 == 0 { 1.5 } else { -1.0 }).collect();
        let ties: Vec<f32> = eighths(rows * width, 9).iter().map(|v| v.max(0.0)).collect();
        for dense in [ties, few, noise(rows * width, 4), vec![0.0; rows * width], vec![2.0; rows * width]] {
            let there = Buffer::from_slice(backend, &dense).unwrap();
            for k in [1, 2, 32, 100, 1500] {
                let got = device::top_k(backend, &there, width, k).unwrap().to_latents(backend).unwrap();
                for (row, values) in dense.chunks(width).enumerate() {
                    let want = largest(values, k);
                    let (indices, values) = got.row(row);
                    let got_row: Vec<(u32, f32)> = indices.iter().copied().zip(values.iter().copied()).collect();
                    assert_eq!(got_row, want, "{k} of {rows}x{width}");
                }
            }
        }
    }
}

/// Lists that stay on the GPU are those that were read back: of rows in several pieces, with more latents than there was room
/// for, and with none.
#[test]
fn lists_stay_there() {
    let Some(backend) = backend() else { return };
    let backend = &*backend;
    for (rows, width) in [(1, 1), (3, 31), (2, 5003), (70, 300)] {
        let some: Vec<f32> = noise(rows * width, 7).iter().map(|v| v.max(0.0)).collect();
        for dense in [some, vec![0.0; rows * width], vec![1.5; rows * width]] {
            let there = Buffer::from_slice(backend, &dense).unwrap();
            let lists = device::active(backend, &there, width).unwrap();
            let active = lists.to_latents(backend).unwrap();
            assert_eq!(active.dense(), dense);
            let again = Lists::from_latents(backend, &active).unwrap();
            assert_eq!(again.to_latents(backend).unwrap(), active, "{rows}x{width}");
            for k in [1, 9, width] {
                let lists = device::top_k(backend, &there, width, k).unwrap();
                let kept = device::keep_top_k(backend, &there, width, k).unwrap().to_vec(backend).unwrap();
                assert_eq!(lists.to_latents(backend).unwrap().dense(), kept, "{k} of {rows}x{width}");
            }
        }
    }
}

/// What is normalised on the way in, and what brings it back.
#[test]
fn inputs_normalised() {
    let Some(backend) = backend() else { return };
    let backend = &*backend;
    for (tokens, width) in [(1, 2), (3, 37), (2, 300), (5, 1000)] {
        let x: Vec<f32> = noise(tokens * width, 6).iter().map(|v| 3.0 * v + 0.5).collect();
        for (kind, centred) in [(Normalize::LayerNorm, true), (Normalize::ConstantNormRescale, false)] {
            let mut want = x.clone();
            let undo = kind.apply(&mut want, width);
            let [got, found] = device::normalize(backend, &tensor(backend, "f32", &x, width), centred).unwrap();
            let found = floats(&found);
            let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 2e-6 * b.abs().max(1.0));
            assert!(near(&floats(&got), &want), "{kind:?} of {tokens}x{width}");
            let mut back = want.clone();
            undo.apply(&mut back, width).unwrap();
            let rows = want.chunks(width).zip(found.chunks(2));
            let brought = rows.flat_map(|(row, undo)| row.iter().map(|v| v * undo[0] + undo[1]));
            assert!(near(&brought.collect::<Vec<_>>(), &back), "{kind:?} of {tokens}x{width}: {found:?}");
            assert_eq!(found.len(), 2 * tokens);
        }
    }
}

/// Lists counted in parts, with tokens that do not count, texts that a part divides, and latents below zero.
#[test]
fn firing() {
    let Some(backend) = backend() else { return };
    let backend = &*backend;
    for (texts, length, d_sae) in [(1, 1, 1), (3, 4, 31), (2, 40, 33), (5, 7, 300)] {
        let tokens = texts * length;
        let latents = |first: usize, len: usize| {
            let mut latents = Latents::new(d_sae);
            for token in first..first + len {
                let fires =
                    |latent: &usize| token % 11 == 3 || (latent * 31 + token * 17).is_multiple_of(5 + token % 3);
                let value = |latent: usize| (latent % 9 + 1) as f32 / 4.0 - if latent % 10 == 7 { 3.0 } else { 0.0 };
                latents.push_row((0..d_sae).filter(fires).map(|latent| (latent as u32, value(latent))));
            }
            latents
        };
        for kept in [vec![true; tokens], (0..tokens).map(|t| t % 3 != 1).collect(), vec![false; tokens]] {
            let mut want = Counts::new(d_sae, &kept, length);
            want.add(&latents(0, tokens));
            let want = want.finish();
            for part in [tokens, 3, 1] {
                let mut counts = FiringCounts::new(backend, d_sae, &kept, length).unwrap();
                for first in (0..tokens).step_by(part) {
                    let lists = Lists::from_latents(backend, &latents(first, part.min(tokens - first))).unwrap();
                    counts.add(backend, &lists).unwrap();
                }
                let what = format!("{texts} texts of {length}, {d_sae} latents, {part} at a time");
                assert_eq!(counts.to_firing(backend).unwrap(), want, "{what}");
                let mut refused = |latents: &Latents| {
                    counts.add(backend, &Lists::from_latents(backend, latents).unwrap()).unwrap_err().to_string()
                };
                assert!(refused(&latents(0, 1)).starts_with("latents of more than the"));
                assert!(refused(&Latents::new(d_sae + 1)).ends_with(&format!("lists of {} of them", d_sae + 1)));
            }
        }
    }
}

/// Some latents of each token, ascending.
fn some_latents(tokens: usize, d_sae: usize) -> Latents {
    let mut latents = Latents::new(d_sae);
    for token in 0..tokens {
        let fires = |latent: &usize| (latent * 31 + token * 17).is_multiple_of(5 + token % 3);
        latents.push_row((0..d_sae).filter(fires).map(|latent| (latent as u32, (latent % 9 + 1) as f32 / 4.0)));
    }
    latents
}

#[test]
fn decoder() {
    let Some(backend) = backend() else { return };
    let backend = &*backend;
    for (at, (tokens, d_in, d_sae)) in [(1, 1, 3), (2, 129, 40), (5, 300, 77), (33, 17, 200)].into_iter().enumerate() {
        let (name, weight, bias) = (TYPES[at % 3], eighths(d_sae * d_in, 2), eighths(d_in, 3));
        let latents = some_latents(tokens, d_sae);
        let divisors: Vec<f32> = (0..d_sae).map(|latent| (1 << (latent % 2)) as f32).collect();
        let ranks = row_ranks(&weight, d_in, at % 2 == 0);
        let (m, ranks_there) = (matrix(backend, name, &weight, d_in), DeviceRanks::new(backend, &ranks).unwrap());
        let lists = Lists::from_latents(backend, &latents).unwrap();
        let (bias_there, divisors_there) =
            (Buffer::from_slice(backend, &bias).unwrap(), Buffer::from_slice(backend, &divisors).unwrap());
        for cut in [0, cut(d_in, 0.4)] {
            let want =
                encode::decode(&latents, &weight, Kept::From(Ranking::Each(&ranks), cut), &bias, Some(&divisors));
            let got =
                device::decode(backend, &lists, &m, Some((&ranks_there, cut)), &bias_there, Some(&divisors_there))
                    .unwrap();
            assert_eq!(got.to_vec(backend).unwrap(), want, "{name} {tokens}x{d_in}x{d_sae} at {cut}");

            // And back: no sum of these is rounded.
            let g = eighths(tokens * d_in, 4);
            let g_there = tensor(backend, "f32", &g, d_in);
            let mask = Some((&ranks_there, cut));
            let got = device::decode_vjp(backend, &latents, &m, mask, Some(&divisors_there), &g_there).unwrap();
            let slope = |token: usize, latent: u32| {
                let first = latent as usize * d_in;
                let kept = |i: usize| if ranks.get(first + i) >= cut { weight[first + i] } else { 0.0 };
                let sum: f32 = (0..d_in).map(|i| kept(i) * g[token * d_in + i]).sum();
                sum / divisors[latent as usize]
            };
            let want = (0..tokens).flat_map(|t| latents.row(t).0.iter().map(move |l| (t, *l)));
            let want: Vec<f32> = want.map(|(token, latent)| slope(token, latent)).collect();
            assert_eq!(got, want, "{name} {tokens}x{d_in}x{d_sae} at {cut}");
            assert!(device::decode_vjp(backend, &Latents::new(d_sae), &m, mask, None, &g_there).is_err());
        }
    }
}

#[test]
fn likeliest_tokens() {
    let Some(backend) = backend() else { return };
    let there = ops::on(Some(backend.clone()));
    for (rows, width) in [(1, 1), (3, 31), (2, 1024), (5, 5003)] {
        // Many are equal, below zero and above; some are none.
        let some = eighths(rows * width, 3);
        let below: Vec<f32> = some.iter().map(|v| v - 9.0).collect();
        let few = |i: usize| if i % 7 == 3 { 1.0 } else { f32::NAN };
        let few: Vec<f32> = (0..rows * width).map(few).collect();
        let by_place = |of: [f32; 3]| (0..rows * width).map(|i| of[i % width % 3]).collect::<Vec<f32>>();
        let zeros = by_place([-0.0, 0.0, -1.0]);
        let none = by_place([f32::NAN, f32::NEG_INFINITY, f32::NAN]);
        for values in [some, below, few, zeros, none] {
            let here = Tensor::from_slice(&values, (rows, width), &Device::Cpu).unwrap();
            let want = ops::on(None).likeliest(&here).unwrap();
            assert_eq!(there.likeliest(&tensor(&*backend, "f32", &values, width)).unwrap(), want, "{rows}x{width}");
        }
    }
}

#[test]
fn errors_of_tokens() {
    let Some(backend) = backend() else { return };
    let backend = &*backend;
    for (tokens, d_in) in [(1, 1), (3, 100), (9, 301), (40, 2304)] {
        let (x, recon) = (eighths(tokens * d_in, 1), eighths(tokens * d_in, 2));
        let [x_there, recon_there] = [&x, &recon].map(|values| tensor(backend, "f32", values, d_in));
        let found = device::token_errors(backend, &x_there, &recon_there).unwrap().to_vec(backend).unwrap();
        let want = TokenErrors::of(&x, &recon, d_in).into_iter();
        let want: Vec<f64> = want.flat_map(|token| [token.resid_sq, token.out_sq, token.dot]).collect();
        assert_eq!(found, want, "{tokens}x{d_in}");
    }
}

#[test]
fn paths_and_survivors() {
    let Some(backend) = backend() else { return };
    let backend = &*backend;
    for (at, (tokens, d_in, d_sae)) in [(1, 1, 2), (3, 100, 30), (40, 301, 23), (2, 257, 11)].into_iter().enumerate() {
        let (name, x, weight, bias) =
            (TYPES[at % 3], eighths(tokens * d_in, 1), eighths(d_sae * d_in, 2), eighths(d_sae, 3));
        let ranks = row_ranks(&weight, d_in, at % 2 == 0);
        let wanted = some_latents(tokens, d_sae);
        let cuts: [u32; STEPS] = std::array::from_fn(|step| cut(d_in, step as f64 / STEPS as f64));
        let scales: Vec<f32> = (0..STEPS * d_sae).map(|i| (1 << (i % 3)) as f32).collect();
        let twin = Encoder { weight: &weight, bias: &bias, scale: None, kept: Kept::All, gate: Gate::Positive };
        let (m, ranks_there) = (matrix(backend, name, &weight, d_in), DeviceRanks::new(backend, &ranks).unwrap());
        let (x_there, bias_there, scales_there) =
            (upload(backend, &x), upload(backend, &bias), upload(backend, &scales));
        let pairs = Pairs::new(backend, &wanted).unwrap();
        for scales in [None, Some(&scales)] {
            let want = twin.grid(&x, &wanted, Ranking::Each(&ranks), &cuts, scales.map(Vec::as_slice)).paths;
            let last = |k| {
                let twin = Encoder { gate: Gate::Largest(k), ..twin };
                twin.grid(&x, &wanted, Ranking::Each(&ranks), &cuts, scales.map(Vec::as_slice)).last
            };
            let steps = Steps {
                matrix: &m,
                ranks: &ranks_there,
                bias: &bias_there,
                cuts: &cuts,
                scales: scales.map(|_| &scales_there),
            };
            for k in [1, 7, d_sae, d_sae + 1] {
                let rows = Tensor::from_slice(&x, (tokens, d_in), backend.device()).unwrap();
                let got = device::last_of_steps(backend, &steps, &rows, k).unwrap();
                assert_eq!(got, last(k), "the last of {k}: {name} {tokens}x{d_in}x{d_sae}");
            }
            let paths = device::paths(backend, &steps, &x_there, &pairs).unwrap();
            let got = paths.to_vec(backend).unwrap();
            assert_eq!(got, want.concat(), "{name} {tokens}x{d_in}x{d_sae}");

            let counts: Vec<bool> = (0..tokens).map(|token| token != 1).collect();
            let floors = eighths(d_sae, 5);
            let alive = device::survivors(backend, &paths, &pairs, Some(&upload(backend, &floors)), &counts).unwrap();
            let mut expected = [0_u64; STEPS];
            for token in (0..tokens).filter(|token| counts[*token]) {
                for pair in wanted.offsets[token]..wanted.offsets[token + 1] {
                    let floor = floors[wanted.indices[pair] as usize].max(0.0);
                    expected.iter_mut().zip(&want[pair]).for_each(|(n, v)| *n += u64::from(*v > floor));
                }
            }
            assert_eq!(alive, expected);
        }
    }
}
