//! The logit lens, by latent and by token.

use candle_core::DType;
use prunelens_core::{
    compare::logit_lens,
    model::{HookPoint, Site},
};

use crate::support::{demo_spec, floats, session};

#[test]
fn both_ways_give_the_same_numbers() {
    let session = session(demo_spec());
    let (model, sae) = (&session.models.original, &session.sae);
    let within = if model.dtype == DType::F32 { 1e-3 } else { 0.05 };
    // The demo's heads are together as wide as its stream: its SAE can stand at either hook.
    for hook in [session.hook, HookPoint { site: Site::Z, ..session.hook }] {
        let raised = logit_lens::of_latent(model, hook, sae, 7).unwrap();
        assert_eq!(raised.len(), model.config.d_vocab);
        for token in [0, 300, 4095] {
            let by = logit_lens::of_token(model, hook, sae, token).unwrap();
            assert_eq!(by.len(), sae.d_sae());
            let (there, back) = (raised[token as usize], by[7]);
            assert!((there - back).abs() <= within * there.abs().max(1.0), "{hook}: {there} and {back}");
        }
    }
}

/// With the norm's weight and its mean folded into the output matrix, as TransformerLens does, it is one product.
#[test]
fn it_is_what_processed_weights_give() {
    let session = session(demo_spec());
    let (model, sae) = (&session.models.original, &session.sae);
    let processed = model.process().unwrap();
    let row = sae.w_dec.narrow(0, 7, 1).unwrap().to_device(&model.device).unwrap().to_dtype(model.dtype).unwrap();
    let want = floats(&processed.unembed.weight.matmul(&row.t().unwrap()).unwrap());
    let got = logit_lens::of_latent(model, session.hook, sae, 7).unwrap();
    let within = if model.dtype == DType::F32 { 1e-4 } else { 0.05 };
    for (got, want) in got.iter().zip(&want) {
        assert!((got - want).abs() <= within * want.abs().max(1.0), "{got}, not {want}");
    }
}
