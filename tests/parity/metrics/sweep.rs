//! The loss-against-sparsity case, as the released code of the paper measures it.

use prunelens_core::{
    compare::Reader,
    prune::sae::{Gather, rank},
    sae::{Criterion, Pruning},
    session::token_tensor,
};
use prunelens_metrics::sweep::paper::PaperRun;

use super::*;

pub fn run(case: &Case) -> Outcome {
    let at = |path: &str| case.folder.join(path);
    let reader = load(&at("model"), &at("saes/standard_resid"), &at("core/tokens.safetensors")).reader;
    let bytes = fs::read(at("curve/inputs.safetensors")).expect("inputs");
    let inputs = SafeTensors::deserialize(&bytes).expect("safetensors");
    let tokens = inputs.tensor("tokens").expect("tokens");
    let ids: Vec<u32> = tokens.data().as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b) as u32).collect();
    let rows: Vec<Vec<u32>> = ids.chunks(tokens.shape()[1]).map(<[u32]>::to_vec).collect();
    let expected = json(&at("curve/expected.json"));
    let batches: Vec<Vec<Vec<u32>>> = expected["batches"]
        .as_array()
        .expect("batches")
        .iter()
        .map(|batch| batch.as_array().expect("batch").iter().map(|row| rows[count(row)].clone()).collect())
        .collect();

    // Norms of what the unpruned SAE gives, batch by batch.
    let mut gather = Gather::new(Criterion::Paper, &reader.sae).expect("norms");
    for batch in &batches {
        let tokens = token_tensor(batch, &reader.model).expect("tokens");
        let captured = reader.model.capture(&tokens, reader.hook, &mut || Ok(())).expect("activations");
        let x = reader.input(&captured).expect("input");
        gather.add(&*reader.sae, &x, &reader.encode(&x).expect("latents"), batch.len()).expect("norms");
    }
    let norms = gather.norms();
    let wide = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
    for (name, found) in [("norm_enc", &norms.enc), ("norm_dec", &norms.dec)] {
        let tensor = inputs.tensor(name).expect(name);
        let known: Vec<f32> = tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        case.tolerance().check_all(name, &wide(found), &wide(&known))?;
    }

    let order = rank(&*reader.sae, Criterion::Paper, Some(&norms), &mut || Ok(())).expect("ranks");
    let order = Arc::new(order);
    let losses = expected["loss_by_ratio"].as_object().expect("losses");
    let mut readers = vec![reader.clone()];
    for ratio in losses.keys() {
        let ratio = ratio.parse().expect("a ratio");
        let mut pruned: Reader = reader.clone();
        pruned.pruning = Some(Pruning { order: order.clone(), at: ratio });
        readers.push(pruned);
    }
    let mut run = PaperRun::new(readers, batches).expect("run");
    while run.step(&mut || Ok(())).expect("step") {}
    let tolerance = case.tolerance();
    let unpruned = run.figures(0);
    tolerance.check("loss_without_sae", unpruned.ce_loss_without_sae, number(&expected["loss_without_sae"]))?;
    tolerance.check("loss_before_pruning", unpruned.ce_loss_with_sae, number(&expected["loss_before_pruning"]))?;
    for (at, (ratio, loss)) in losses.iter().enumerate() {
        tolerance.check(&format!("loss at {ratio}"), run.figures(at + 1).ce_loss_with_sae, number(loss))?;
    }
    Ok(())
}
