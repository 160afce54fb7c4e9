use prunelens_core::{
    sae::{Criterion, Dial},
    session::{DeviceSpec, Processing},
};

use super::*;

fn resolve(flags: SessionSettings) -> Result<Resolved> {
    Settings::from(flags).resolve(&|name| (name == "HOME").then(|| "/home/me".into()))
}

/// What comes of these flags.
fn spec(change: impl FnOnce(&mut SessionSettings)) -> SessionSpec {
    let mut args = SessionSettings::default();
    change(&mut args);
    resolve(args).unwrap().spec
}

/// Settings from a session file with this text.
fn from_file(text: &str, change: impl FnOnce(&mut SessionSettings)) -> Result<Resolved> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("session.toml");
    std::fs::create_dir(folder.path().join("gpt2")).unwrap();
    std::fs::write(&path, text).unwrap();
    let mut args = SessionSettings::default();
    args.model.session = Some(path);
    change(&mut args);
    resolve(args).inspect(|settings| {
        if let Source::Path(path) = &settings.spec.model {
            assert_eq!(*path, folder.path().join("gpt2"));
        }
    })
}

#[test]
fn nothing_given_is_the_demo() {
    let spec = resolve(SessionSettings::default()).unwrap().spec;
    // Folders are this machine's, and the layers are tried below.
    let SessionSpec { results, hub, libraries, .. } = SessionSpec::demo();
    let layers = Vec::new();
    assert_eq!(SessionSpec { results, hub, libraries, cache: None, layers, layer: None, ..spec }, SessionSpec::demo());
}

#[test]
fn every_key_of_the_file_arrives() {
    let text = r#"
        model = "gpt2"
        compress = "magnitude:0.3"
        hook = "blocks.8.hook_resid_post"
        ratio = 0
        criterion = "paper"
        tl-processing = "on"
        device = "cpu"
        dtype = "bf16"
        threads = 3
        offline = true
        bos = false
        theme = "light"
        color = "256"
        ascii = true
        mouse = true
    "#;
    let Resolved { spec, display, threads, .. } = from_file(text, |_| ()).unwrap();
    assert_eq!(spec.compress, Compress::Magnitude(0.3));
    assert_eq!(spec.hook, Some("blocks.8.hook_resid_post".parse().unwrap()));
    assert_eq!((spec.ratio, spec.criterion, spec.processing), (0.0, Criterion::Paper, Processing::On));
    assert_eq!((spec.device, spec.dtype, spec.bos), (DeviceSpec::Cpu, Some(candle_core::DType::BF16), false));
    // The demo's SAEs do not fit another model.
    assert_eq!((spec.sae, spec.trained_sae), (None, None));
    assert!(spec.hub.unwrap().offline);
    assert_eq!(threads, Some(3));
    let expected = Display { theme: Some("light".into()), color: ColorChoice::Indexed, ascii: Some(true), mouse: true };
    assert_eq!(display, expected);
}

#[test]
fn flags_override_the_file() {
    let spec = from_file("ratio = 0.5\ncriterion = 'paper'\ncompress = 'none'", |args| {
        args.ratio = Some(0.75);
        args.model.compress = Some(vec![Compress::Wanda(0.25)]);
    })
    .unwrap()
    .spec;
    assert_eq!((spec.ratio, spec.criterion, spec.compress), (0.75, Criterion::Paper, Compress::Wanda(0.25)));
}

#[test]
fn compress_overrides_the_pruned_model_of_the_file() {
    let with_flag = |args: &mut SessionSettings| args.model.compress = Some(vec![Compress::Wanda(0.25)]);
    for key in ["pruned-model", "compressed-model"] {
        assert!(from_file(&format!("{key} = 'gpt2'"), |_| ()).unwrap().spec.pruned_model.is_some(), "{key}");
    }
    assert_eq!(from_file("pruned-model = 'gpt2'", with_flag).unwrap().spec.pruned_model, None);
}

#[test]
fn the_environment_comes_last() {
    let environment = |name: &str| match name {
        "PRUNELENS_DEVICE" => Some("cuda:1".to_owned()),
        "PRUNELENS_RESULTS" => Some("elsewhere".to_owned()),
        "PRUNELENS_THREADS" => Some("5".to_owned()),
        _ => None,
    };
    let resolve = |args: SessionSettings| Settings::from(args).resolve(&environment).unwrap();
    let settings = resolve(SessionSettings::default());
    assert_eq!((settings.spec.device, settings.threads), (DeviceSpec::Cuda(1), Some(5)));
    assert_eq!(settings.spec.results, Path::new("elsewhere"));
    let mut args = SessionSettings::default();
    args.model.device = Some(DeviceSpec::Cpu);
    assert_eq!(resolve(args).spec.device, DeviceSpec::Cpu);

    let bad = |name: &str| (name == "PRUNELENS_THREADS").then(|| "many".to_owned());
    let error = Settings::default().resolve(&bad).unwrap_err();
    assert!(error.to_string().contains("PRUNELENS_THREADS=many"), "{error}");
    let none = |name: &str| (name == "PRUNELENS_THREADS").then(|| "0".to_owned());
    assert!(Settings::default().resolve(&none).unwrap_err().to_string().contains("PRUNELENS_THREADS=0"));
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn a_ratio_beside_another_knob_is_refused() {
    let refused = |knob: &str| {
        let knob = Some(knob.parse().unwrap());
        resolve(SessionSettings { knob, ratio: Some(0.5), ..SessionSettings::default() }).err().map(|e| e.to_string())
    };
    assert_eq!(refused("ratio"), None);
    for knob in ["bits:4", "latents", "ratio:0.3"] {
        let message = refused(knob).unwrap();
        assert!(message.starts_with(&format!("--ratio 0.5 is not for --knob {knob}: ")), "{message}");
    }
    let message = from_file("knob = 'rank'\nratio = 0.5", |_| ()).unwrap_err().to_string();
    assert!(message.starts_with("ratio 0.5 is not for knob rank"), "{message}");
    let (knob, criterion) = ("bits:4".parse().ok(), Some(Criterion::Random));
    let beside = resolve(SessionSettings { knob, criterion, ..SessionSettings::default() });
    assert!(beside.unwrap_err().to_string().starts_with("--criterion random is not for --knob bits:4"));
    // A flag goes before the file.
    let spec = from_file("knob = 'bits:4'", |args| args.ratio = Some(0.5)).unwrap().spec;
    assert_eq!((spec.knob, spec.ratio), (Dial::default(), 0.5));
    assert!(from_file("ratio = 0.5", |args| args.knob = Some("bits".parse().unwrap())).is_ok());
}

#[test]
fn mistakes_in_the_file_name_the_line() {
    for (text, expected) in [
        ("model = 'gpt2'\n\nmodl = 'x'", "session.toml: line 3: unknown field `modl`"),
        ("model = 'gpt2'\nratio = 1.5", "line 2: ratio 1.5: expected a number from 0 to 0.99"),
        ("hook = 'blocks.1.nowhere'", "line 1: hook point \"blocks.1.nowhere\" does not exist"),
        ("\ncompress = 'wanda:2'", "line 2: compression \"wanda:2\" is not understood"),
        ("dtype = 'f64'", "line 1: \"f64\" is none of f32, bf16 and f16"),
        ("threads = 0", "line 1: threads 0"),
        ("criterion = 3", "line 1: invalid type"),
        ("ratio = 0.5\nratio = 0.6", "line 2: duplicate key"),
        ("model = ", "line 1:"),
        ("ratio = 0.5\nno-bos = true", "line 2: `no-bos` is a flag; in a session file it is `bos = false`"),
    ] {
        let error = from_file(text, |_| ()).unwrap_err().to_string();
        assert!(error.contains(expected), "{text:?} gave {error:?}");
    }
}

#[test]
fn what_is_not_there_is_refused_by_name() {
    let refused = |path: &str| {
        let args = SessionSettings { sae: Some(path.into()), ..SessionSettings::default() };
        resolve(args).unwrap_err().to_string()
    };
    for path in ["/absent/folder", "./absent/x", "absent", "a/../b"] {
        let message = refused(path);
        assert!(message.starts_with(&format!("--sae {path}: no such file or folder")), "{message}");
    }
}

#[test]
fn what_is_not_there_may_be_on_the_hub() {
    let hub = |id: &str| Some(Source::Hub(HubId::parse(id).unwrap()));
    for id in ["openai-community/gpt2", "owner/name:folder/inside@main"] {
        let args = SessionSettings { sae: Some(id.into()), ..SessionSettings::default() };
        assert_eq!(resolve(args).unwrap().spec.sae, hub(id));
    }
    let spec = from_file("model = 'gpt2'\nsae = 'owner/name/inside'\ntrained-sae = 'gpt2'", |_| ()).unwrap().spec;
    assert_eq!(spec.sae, hub("owner/name/inside"));
    // A folder beside the session file comes first.
    assert!(matches!(spec.trained_sae, Some(Source::Path(path)) if path.is_absolute()));
}

#[test]
fn demo_saes_go_with_what_they_were_trained_on() {
    let other_compression = spec(|args| args.model.compress = Some(vec![Compress::Magnitude(0.5)]));
    assert_eq!((other_compression.sae, other_compression.trained_sae), (Some(Source::Demo), None));
    let other_sae = spec(|args| args.sae = Some("src".into()));
    assert_eq!((other_sae.sae, other_sae.trained_sae), (Some(Source::Path("src".into())), None));
}

#[test]
fn the_demo_has_saes_of_two_layers() {
    let layers = |spec: &SessionSpec| -> Vec<_> {
        spec.layers.iter().map(|layer| (layer.number, layer.trained_sae.clone())).collect()
    };
    let demo = Some(Source::Demo);
    let first = spec(|_| ());
    assert_eq!((first.layer, layers(&first)), (Some(1), vec![(1, demo.clone()), (2, demo.clone())]));
    // What was trained elsewhere belongs to the layer that is asked for.
    let own = Some(Source::Path("src".into()));
    let second = spec(|args| (args.layer, args.trained_sae) = (Some(2), Some("src".into())));
    assert_eq!((second.layer, layers(&second)), (Some(2), vec![(1, None), (2, own)]));
    let other = spec(|args| args.model.compress = Some(vec![Compress::Magnitude(0.5)]));
    assert_eq!(layers(&other), [(1, None), (2, None)]);
    // On another place there is the one SAE.
    let placed = spec(|args| args.hook = Some("blocks.2.hook_mlp_out".parse().unwrap()));
    assert_eq!((placed.layer, layers(&placed)), (None, vec![]));
    let again = SessionSettings::default().at_layer(2, Path::new("")).unwrap();
    assert_eq!(resolve(again).unwrap().spec.layer, Some(2));
}

#[test]
fn a_layer_may_lack_a_trained_sae() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["s1", "s2", "t1"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    // As a study has them, which is meant from its file's folder.
    let pattern = |name: &str| Some(PathBuf::from(name));
    let settings =
        SessionSettings { sae: pattern("s{layer}"), trained_sae: pattern("t{layer}"), ..SessionSettings::default() };
    let trained = |settings: &SessionSettings, layer| settings.at_layer(layer, folder.path()).unwrap().trained_sae;
    assert_eq!((trained(&settings, 1), trained(&settings, 2)), (pattern("t1"), None));
    // A name that has nothing of any layer is a mistake, and is told where it is looked for.
    let wrong = SessionSettings { trained_sae: pattern("w{layer}"), ..settings };
    assert_eq!(trained(&wrong, 1), pattern("w1"));
}
