//! Views as files: a session file with a table `view` more, so that `--view` opens models and place at once.

use std::path::{Path, PathBuf, absolute};

use prunelens_core::{
    error::{Error, Result},
    model::HookPoint,
    session::{Processing, SessionSpec, Source, layers::PLACE},
};
use serde::Deserialize;
use toml::{Table, Value};

use crate::{
    settings::{VIEW, toml_text},
    tui::state::SavedView,
};

const HEAD: &str = "\
# A view of prunelens: open it with `prunelens --view FILE`. The keys are those of session files, the table `view` says what
# was looked at, and `digests` on which weights. Flags override the keys: --model, --sae ... where yours lie elsewhere.

";

/// A view and the session it is of, as the text of a file.
pub fn text(spec: &SessionSpec, view: &SavedView) -> Result<String> {
    let mut table = session(spec);
    let refused = |e: toml::ser::Error| Error::invalid(format!("the view cannot be written: {e}"));
    table.insert(VIEW.into(), Value::try_from(view).map_err(refused)?);
    Ok(format!("{HEAD}{}", toml::to_string(&table).map_err(refused)?))
}

/// What tells sessions apart, as keys of a session file; what is left out is the default.
pub fn session(spec: &SessionSpec) -> Table {
    let source = |source: &Source| match source {
        Source::Demo => None,
        // From wherever the file will lie.
        Source::Path(path) => Some(absolute(path).unwrap_or_else(|_| path.clone()).display().to_string()),
        Source::Hub(id) => Some(id.to_string()),
    };
    let path = |path: &Option<PathBuf>| path.as_ref().and_then(|path| source(&Source::Path(path.clone())));
    let text = |name: &str, value: Option<String>| value.map(|value| (name.to_owned(), Value::String(value)));
    let number = |name: &str, value: Option<usize>| value.map(|n| (name.to_owned(), Value::Integer(n as i64)));
    // Where there are several copies all are named, in their order: what was trained belongs to the first.
    let compress = match &spec.compressions[..] {
        all @ [_, _, ..] => Value::Array(all.iter().map(|copy| copy.to_string().into()).collect()),
        _ => Value::String(spec.compress.to_string()),
    };
    let processing = Processing::NAMES.iter().find(|(_, processing)| *processing == spec.processing);
    let lines = [
        text("model", source(&spec.model)),
        text("pruned-model", spec.pruned_model.as_ref().and_then(source)),
        spec.pruned_model.is_none().then(|| ("compress".to_owned(), compress)),
        text("sae", spec.sae.as_ref().and_then(source)),
        text("trained-sae", spec.trained_sae.as_ref().and_then(source)),
        text("hook", spec.hook.map(|hook| hook_name(spec, hook))),
        text("calibration", path(&spec.calibration)),
        number("calibration-rows", spec.calibration_rows),
        number("calibration-length", spec.calibration_length),
        text("corpus", path(&spec.corpus)),
        text("dtype", spec.dtype.map(|dtype| dtype.as_str().to_owned())),
        text("tl-processing", processing.map(|(name, _)| (*name).to_owned())),
        spec.norm_scaling_factor.map(|factor| ("norm-scaling-factor".to_owned(), Value::Float(factor))),
        (!spec.bos).then(|| ("bos".to_owned(), Value::Boolean(false))),
    ];
    lines.into_iter().flatten().collect()
}

/// Of every layer, where there are SAEs of several: the view says which.
fn hook_name(spec: &SessionSpec, hook: HookPoint) -> String {
    match spec.is_layered() {
        true => format!("blocks.{PLACE}.{}", hook.site.name()),
        false => hook.to_string(),
    }
}

/// The view that a file has.
pub fn read(path: &Path) -> Result<SavedView> {
    #[derive(Deserialize)]
    struct Lines {
        view: Option<SavedView>,
    }
    let text = toml_text(path, "a view, as :save-view writes them")?;
    let lines: Lines = toml::from_str(&text).map_err(|e| {
        let line = e.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        Error::file(path, format!("line {line}: {}", e.message()))
    })?;
    let mut view = lines.view.ok_or_else(|| {
        Error::file(
            path,
            "there is no table `view` in it: --view opens what :save-view wrote, --session a session file",
        )
    })?;
    // From the file's folder, as the paths of its session are.
    if let (Some(folder), Some(sae)) = (path.parent(), &mut view.trained_sae) {
        *sae = absolute(folder.join(&sae)).map_err(|e| Error::io(&*sae, e))?;
    }
    Ok(view)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::settings::{ModelSettings, SessionSettings, Settings};

    fn view() -> SavedView {
        toml::from_str(
            "prompt = \"a \\u001b[31m \\\"navy\\\"\\n\"\nknob = \"ratio:0.3\"\ncriterion = \"wanda\"\nedits = [\"12=ablate\"]\n\
             second-prompt = \"the army\"\n[atlas]\nacross = \"importance\"\nup = \"a\"\nby = \"a\"\n[digests]\nsae = \"12\"\n",
        )
        .unwrap()
    }

    #[test]
    fn a_view_has_all_copies_whichever_is_on_screen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copies.toml");
        let copies = ["wanda:0.5", "rtn:int8"].map(|copy| copy.parse().unwrap());
        let trained_sae = Some(Source::Path(folder.path().join("trained")));
        fs::create_dir(folder.path().join("trained")).unwrap();
        let first = SessionSpec { compressions: copies.to_vec(), trained_sae, ..SessionSpec::demo() };
        let second = first.at_copy(&copies[1]);
        assert_eq!(session(&first), session(&second), "what was left is found from either");
        let view = SavedView { copy: Some(copies[1].to_string()), ..view() };
        fs::write(&path, text(&second, &view).unwrap()).unwrap();
        let mut flags = Settings::default();
        flags.session.model.session = Some(path.clone());
        let opened = flags.resolve(&|_| None).unwrap().spec;
        assert_eq!((&opened.compressions, &opened.compress), (&first.compressions, &copies[0]));
        assert_eq!(opened.trained_sae, first.trained_sae);
        let mut read = read(&path).unwrap();
        assert_eq!(read.copy(), Some(copies[1].clone()));
        // A flag begins with the first that it names.
        read.turn(&SessionSettings {
            model: ModelSettings { compress: Some(copies.to_vec()), ..ModelSettings::default() },
            ..SessionSettings::default()
        });
        assert_eq!(read.copy(), None);
    }

    #[test]
    fn a_trained_sae_is_looked_for_from_the_views_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.toml");
        let text = "[view]\nprompt = \"a\"\nknob = \"ratio:0.3\"\ncriterion = \"wanda\"\ntrained-sae = \"saes/mine\"\n";
        fs::write(&path, text).unwrap();
        assert_eq!(read(&path).unwrap().trained_sae, Some(folder.path().join("saes/mine")));
    }

    #[test]
    fn a_view_comes_back_with_its_session() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("navy.toml");
        let mut spec = SessionSpec::demo();
        spec.compress = "wanda:2:4".parse().unwrap();
        spec.trained_sae = None;
        spec.bos = false;
        fs::write(&path, text(&spec, &view()).unwrap()).unwrap();
        assert_eq!(read(&path).unwrap(), view());
        let mut flags = Settings::default();
        flags.session.model.session = Some(path);
        let opened = flags.resolve(&|_| None).unwrap().spec;
        assert_eq!(session(&opened), session(&spec));
        assert_eq!((opened.compress, opened.bos), (spec.compress, false));
    }

    #[test]
    fn flags_turn_the_knob_of_a_view() {
        let turned = |ratio: Option<f64>, knob: Option<&str>, criterion: Option<&str>| {
            let mut flags = Settings::default().session;
            (flags.ratio, flags.knob) = (ratio, knob.map(|knob| knob.parse().unwrap()));
            flags.criterion = criterion.map(|criterion| criterion.parse().unwrap());
            let mut view = view();
            view.turn(&flags);
            (view.knob, view.criterion)
        };
        assert_eq!(turned(None, None, None), ("ratio:0.3".into(), "wanda".into()));
        assert_eq!(turned(Some(0.1), None, Some("random")), ("ratio:0.1".into(), "random".into()));
        assert_eq!(turned(None, Some("bits:4"), None), ("bits:4".into(), "wanda".into()));
    }

    #[test]
    fn what_is_no_view_is_refused_with_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        for (text, expected) in [
            ("model = \"gpt2\"", "no table `view`"),
            ("[view]\nprompt = 3", "line 2: invalid type: integer `3`, expected a string"),
            ("[view]\nprompt = \"a\"\nknob = \"ratio:0.1\"\ncriterion = \"wanda\"\nnavy = 1", "unknown field `navy`"),
        ] {
            fs::write(&path, text).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("x.toml"), "{error}");
        }
    }
}
