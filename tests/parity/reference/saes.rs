//! SAEs of the reference, untouched and pruned.

use std::{path::Path, sync::Arc};

use prunelens_core::{
    compare::{
        Reader, Variant,
        splice::{losses, mean, next_tokens},
    },
    model::{HookPoint, Space},
    prune::sae::{Gather, rank},
    sae::{self, Criterion, Dictionary, Pruning},
    session::token_tensor,
};
use serde_json::Value;

use crate::support::{device::TestDevice, floats};

use super::*;

pub fn check_sae(
    place: &TestDevice,
    root: &Path,
    case: &Value,
    subject: &Subject,
    tolerance: &Tolerance,
    report: &mut Report,
) {
    let id = case["id"].as_str().unwrap();
    let dir = root.join(case["files"][0].as_str().unwrap());
    let sae = match sae::formats::load(&dir) {
        Ok(sae) => place.sae(sae),
        Err(e) => return report.add("sae", id.into(), Err(e.to_string())),
    };
    let hook: HookPoint = case["hook"].as_str().unwrap().parse().unwrap();
    let same = sae.config.hook == hook && sae.d_sae() == case["d_sae"].as_u64().unwrap() as usize;
    report.add("sae", format!("{id} config"), if same { Ok(()) } else { Err(format!("{:?}", sae.config)) });
    let expected = tensors(&root.join(case["expected"].as_str().unwrap()));
    let spaces: Vec<&str> = case["spaces"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
    // The space told from the file alone is the one the fixture was trained in (the first).
    let differ = matches!(case["arch"].as_str(), Some("gpt2" | "neox"));
    let auto = if !differ || sae.config.space == space(spaces[0]) {
        Ok(())
    } else {
        Err(format!("read as {:?}, expected {}", sae.config.space, spaces[0]))
    };
    report.add("sae", format!("{id} space"), auto);
    for s in &spaces {
        let reader = Reader::new(Variant::Original, subject.model.clone(), sae.clone(), None, hook, space(s)).unwrap();
        for (n, ids) in subject.prompts.iter().enumerate() {
            check_reader(&reader, ids, &expected, &format!("p{n}.{s}"), id, tolerance, report);
        }
    }
    if let Some(pruned) = case.get("pruned") {
        check_pruned(
            place,
            &sae,
            hook,
            space(pruned["space"].as_str().unwrap()),
            pruned,
            id,
            subject,
            &expected,
            tolerance,
            report,
        );
    }
}

/// Latents, reconstruction and the spliced pass of one prompt.
pub fn check_reader(
    reader: &Reader,
    ids: &[u32],
    expected: &Tensors,
    prefix: &str,
    id: &str,
    tolerance: &Tolerance,
    report: &mut Report,
) {
    let tick = &mut || Ok(());
    let captured = reader.model.capture(&one(ids, &reader.model), reader.hook, tick).unwrap();
    let encoded = reader.encode(&reader.input(&captured).unwrap()).unwrap();
    let name = |what: &str| format!("{id} {prefix} {what}");
    let want = &expected[&format!("{prefix}.latents")];
    if !tolerance.latents(encoded.latents().unwrap(), want, "sae", name("latents"), report) {
        return;
    }
    let recon = reader.decode(&encoded).unwrap();
    report.add("sae", name("recon"), tolerance.check("recon", &floats(&recon), &expected[&format!("{prefix}.recon")]));
    let spliced = reader.model.resume(&captured, &reader.replacement(&captured, &recon).unwrap(), tick).unwrap();
    let clean = reader.model.finish(&captured, tick).unwrap();
    let (clean, spliced) = (clean.flatten_to(1).unwrap(), spliced.flatten_to(1).unwrap());
    let (_, spliced) = losses(&reader.model, &clean, &[&spliced], &next_tokens(&[ids.to_vec()]), tick).unwrap();
    let ce = tolerance.check("ce", &[mean(&spliced[0].ce) as f32], &expected[&format!("{prefix}.spliced_ce")]);
    report.add("sae", name("spliced_ce"), ce);
    let kl = tolerance.check("kl", &spliced[0].kl, &expected[&format!("{prefix}.spliced_kl")]);
    report.add("sae", name("spliced_kl"), kl);
}

#[allow(clippy::too_many_arguments)]
pub fn check_pruned(
    place: &TestDevice,
    sae: &Arc<dyn Dictionary>,
    hook: HookPoint,
    space: Space,
    case: &Value,
    id: &str,
    subject: &Subject,
    expected: &Tensors,
    tolerance: &Tolerance,
    report: &mut Report,
) {
    let tick = &mut || Ok(());
    let reader = Reader::new(Variant::Original, subject.model.clone(), sae.clone(), None, hook, space).unwrap();
    for (criterion, batches) in [
        (Criterion::Wanda, vec![rows(&expected["prune.wanda.calib_ids"])]),
        (Criterion::Paper, (0..).map_while(|n| expected.get(&format!("prune.paper.batch{n}")).map(rows)).collect()),
    ] {
        let rule = criterion.name();
        let mut gather = Gather::new(criterion, sae).unwrap();
        for batch in &batches {
            let ids = token_tensor(batch, &reader.model).unwrap();
            let x = reader.input(&reader.model.capture(&ids, hook, tick).unwrap()).unwrap();
            gather.add(&**sae, &x, &reader.encode(&x).unwrap(), batch.len()).unwrap();
        }
        let norms = gather.norms();
        for (side, got) in [("enc", &norms.enc), ("dec", &norms.dec)] {
            let result = tolerance.check("norms", got, &expected[&format!("prune.{rule}.norm_{side}")]);
            report.add("sae norms", format!("{id} {rule} {side}"), result);
        }
        let order = Arc::new(rank(&**sae, criterion, Some(&norms), tick).unwrap());
        for ratio in case["ratios"].as_array().unwrap() {
            let prefix = format!("prune.{rule}.r{ratio}");
            let pruning = Pruning { order: order.clone(), at: ratio.as_f64().unwrap() };
            let applied = sae.pruned(Some(&pruning)).unwrap();
            let mut same = true;
            // Ours are [d_sae, d_in]; the file's W_enc is [d_in, d_sae].
            for (name, ours, theirs) in [
                ("W_enc", applied.w_enc.t().unwrap(), sae.w_enc.t().unwrap()),
                ("W_dec", applied.w_dec.clone(), sae.w_dec.clone()),
            ] {
                let (ours, theirs) = (floats(&ours.contiguous().unwrap()), floats(&theirs.contiguous().unwrap()));
                let mask: Vec<bool> = ours.iter().zip(&theirs).map(|(a, b)| *a == 0.0 && *b != 0.0).collect();
                let wrong = wrong_bits(&mask, &expected[&format!("{prefix}.mask.{name}")]);
                same &= report.count("sae masks", format!("{id} {prefix} {name}"), wrong, mask.len());
            }
            for n in [0, 2] {
                let captured = reader.model.capture(&one(&subject.prompts[n], &reader.model), hook, tick).unwrap();
                let x = reader.input(&captured).unwrap();
                let encoded = sae.encode(&x, Some(&pruning)).unwrap();
                let want = &expected[&format!("{prefix}.p{n}.latents")];
                let name = format!("{id} {prefix} p{n} latents");
                let same = same && tolerance.latents(encoded.latents().unwrap(), want, "sae pruned", name, report);
                // The mask applied on the fly and the zeros written out are the same SAE, to the bit.
                let applied = place.sae(applied.clone());
                let result = if applied.encode(&x, None).unwrap().latents().unwrap() == encoded.latents().unwrap() {
                    Ok(())
                } else {
                    Err("differs".into())
                };
                report.add("sae pruned", format!("{id} {prefix} p{n} applied"), result);
                if let Some(want) = expected.get(&format!("{prefix}.p{n}.recon")).filter(|_| same) {
                    let recon = floats(&sae.decode(&encoded, Some(&pruning)).unwrap());
                    let result = tolerance.check("recon", &recon, want);
                    report.add("sae pruned", format!("{id} {prefix} p{n} recon"), result);
                }
            }
        }
    }
    let Some(wanda) = &subject.wanda else { return };
    let transfer = Reader::new(Variant::Transfer, wanda.clone(), sae.clone(), None, hook, space).unwrap();
    for (n, ids) in subject.prompts.iter().enumerate() {
        let captured = transfer.model.capture(&one(ids, &transfer.model), hook, tick).unwrap();
        let encoded = transfer.encode(&transfer.input(&captured).unwrap()).unwrap();
        let key = case["space"].as_str().unwrap();
        let want = &expected[&format!("wanda_model.p{n}.{key}.latents")];
        tolerance.latents(encoded.latents().unwrap(), want, "sae", format!("{id} on the pruned model p{n}"), report);
    }
}
