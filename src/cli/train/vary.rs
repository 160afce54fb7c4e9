//! One run, several SAEs: every combination of hooks and of what `--vary` lists, each with a folder of its own.

use std::path::PathBuf;

use clap::{Args, Command, FromArgMatches};
use prunelens_core::{
    error::{Error, Result},
    model::HookPoint,
};

use super::{TrainArgs, sae::SaeArgs};

/// One SAE of a run, as its flags have it.
#[derive(Clone, Debug)]
pub struct Variation {
    /// What tells it from the others: "k16-seed0"; empty if there are no others.
    pub name: String,
    /// Where it goes.
    pub folder: PathBuf,
    /// Number of its hook among the hooks.
    pub hook: usize,
    pub sae: SaeArgs,
}

/// More SAEs than this are a slip of the keyboard.
const MOST: usize = 256;

/// The hooks named, in order; `{3,9,15}` stands for each of these.
pub fn hooks(words: &[String]) -> Result<Vec<HookPoint>> {
    let mut hooks: Vec<HookPoint> = Vec::new();
    for word in words {
        for name in expanded(word) {
            let hook = name.parse()?;
            if hooks.contains(&hook) {
                return Err(Error::Usage(format!("--hook names {hook} twice")));
            }
            hooks.push(hook);
        }
    }
    Ok(hooks)
}

fn expanded(word: &str) -> Vec<String> {
    let parts = word.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
    match parts {
        Some((before, (list, after))) => {
            list.split(',').map(|item| format!("{before}{}{after}", item.trim())).collect()
        }
        None => vec![word.to_owned()],
    }
}

/// All SAEs of a run on these hooks, hook by hook, the last `--vary` fastest.
pub fn variations(args: &TrainArgs, hooks: &[HookPoint]) -> Result<Vec<Variation>> {
    let mut choices = vec![(String::new(), args.sae.clone())];
    let mut seen = Vec::new();
    for vary in &args.vary {
        let (key, values) = parse(vary)?;
        if seen.contains(&key) {
            return Err(Error::Usage(format!("--vary names {key} twice: give all its values in one list")));
        }
        seen.push(key.clone());
        if choices.len() * values.len() * hooks.len() > MOST {
            return Err(Error::Usage(format!("--vary asks for more than {MOST} SAEs; leave some values out")));
        }
        let mut all = Vec::with_capacity(choices.len() * values.len());
        for (name, sae) in &choices {
            for value in &values {
                let label = label(&key, value);
                let name = if name.is_empty() { label } else { format!("{name}-{label}") };
                all.push((name, with(sae, &key, value)?));
            }
        }
        choices = all;
    }
    let below =
        |parts: &[&str]| parts.iter().filter(|part| !part.is_empty()).fold(args.out.clone(), |at, part| at.join(part));
    let mut all = Vec::new();
    for (at, hook) in hooks.iter().enumerate() {
        let of_hook = if hooks.len() > 1 { hook.to_string() } else { String::new() };
        for (name, sae) in &choices {
            all.push(Variation {
                name: [of_hook.as_str(), name.as_str()]
                    .into_iter()
                    .filter(|part| !part.is_empty())
                    .collect::<Vec<_>>()
                    .join(" "),
                folder: below(&[&of_hook, name]),
                hook: at,
                sae: sae.clone(),
            });
        }
    }
    let twice = |one: &&Variation| all.iter().filter(|other| other.folder == one.folder).count() > 1;
    match all.iter().find(twice) {
        Some(one) => Err(Error::Usage(format!("--vary lists {} twice", one.name))),
        None => Ok(all),
    }
}

fn parse(vary: &str) -> Result<(String, Vec<String>)> {
    let wrong = || Error::Usage(format!("--vary {vary}: expected FLAG=VALUE,VALUE such as k=16,32"));
    let (key, values) = vary.split_once('=').ok_or_else(wrong)?;
    let key = key.trim().trim_start_matches("--").replace('_', "-");
    if key == "widths" {
        return Err(Error::Usage("--vary widths: a list of lists cannot be told apart; train these one by one".into()));
    }
    let values: Vec<String> = values.split(',').map(|value| value.trim().to_owned()).collect();
    if key.is_empty() || values.iter().any(String::is_empty) { Err(wrong()) } else { Ok((key, values)) }
}

/// Part of a folder's name: "k16", "topk", "layer-norm-true".
fn label(key: &str, value: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._+".contains(c) { c } else { '_' };
    let value: String = value.chars().map(plain).collect();
    match (key, value.starts_with(|c: char| c.is_ascii_digit())) {
        ("architecture", _) => value,
        (_, true) => format!("{key}{value}"),
        _ => format!("{key}-{value}"),
    }
}

/// The same flags with one of them given anew, as if on the command line.
fn with(sae: &SaeArgs, key: &str, value: &str) -> Result<SaeArgs> {
    let command = SaeArgs::augment_args_for_update(Command::new("vary").no_binary_name(true).disable_help_flag(true));
    if !command.get_arguments().any(|argument| argument.get_long() == Some(key)) {
        let all: Vec<_> = command.get_arguments().filter_map(|argument| argument.get_long()).collect();
        return Err(Error::Usage(format!("--vary {key}: is none of {}", all.join(", "))));
    }
    let matches = command.try_get_matches_from([format!("--{key}={value}")]);
    let mut sae = sae.clone();
    matches.and_then(|matches| sae.update_from_arg_matches(&matches)).map_err(|error| {
        let text = error.render().to_string();
        let first = text.lines().next().unwrap_or_default();
        Error::Usage(format!("--vary {key}: {}", first.strip_prefix("error: ").unwrap_or(first)))
    })?;
    Ok(sae)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        train: TrainArgs,
    }

    fn all(flags: &[&str]) -> Result<Vec<Variation>> {
        let fixed = ["train", "--text", "t", "--out", "saes", "--tokens", "9", "--hook"];
        let args = Line::parse_from(fixed.iter().chain(flags)).train;
        variations(&args, &hooks(&args.hook)?)
    }

    #[test]
    fn every_combination_has_its_folder_and_its_flags() {
        let found =
            all(&["blocks.1.hook_resid_post", "--k", "8", "--lr", "0.5", "--vary", "k=16,32", "--vary", "seed=0,1"])
                .unwrap();
        let folders: Vec<_> = found.iter().map(|m| m.folder.display().to_string()).collect();
        assert_eq!(folders, ["saes/k16-seed0", "saes/k16-seed1", "saes/k32-seed0", "saes/k32-seed1"]);
        assert!(found.iter().all(|m| m.sae.tuning.lr == Some(0.5)), "what does not vary stays");
        assert_eq!(found[3].sae.k, Some(32.0));
        assert_eq!(found[3].sae.tuning.seed, Some(1));
    }

    #[test]
    fn hooks_come_in_braces_or_as_the_shell_wrote_them_out() {
        for hook in
            [["blocks.{3,9}.hook_resid_post"].as_slice(), &["blocks.3.hook_resid_post", "blocks.9.hook_resid_post"]]
        {
            let found = all(&[hook, &["--vary", "architecture=topk,jumprelu"]].concat()).unwrap();
            let folders: Vec<_> = found.iter().map(|m| m.folder.display().to_string()).collect();
            let of = |hook, kind| format!("saes/blocks.{hook}.hook_resid_post/{kind}");
            assert_eq!(folders, [of(3, "topk"), of(3, "jumprelu"), of(9, "topk"), of(9, "jumprelu")]);
            assert_eq!(found[3].hook, 1);
        }
        let alone = all(&["blocks.3.hook_resid_post"]).unwrap();
        assert_eq!((alone.len(), alone[0].folder.display().to_string()), (1, "saes".into()));
    }

    #[test]
    fn what_cannot_vary_is_refused_by_name() {
        for (flags, expected) in [
            (["--vary", "k"].as_slice(), "expected FLAG=VALUE"),
            (&["--vary", "batch=1,2"], "is none of architecture, k"),
            (&["--vary", "k=1,x"], "--vary k: invalid value 'x'"),
            (&["--vary", "k=1,1"], "--vary lists k1 twice"),
            (&["--vary", "k=1", "--vary", "k=2"], "names k twice"),
            (&["--vary", "widths=1,2"], "one by one"),
        ] {
            let message = all(&[&["blocks.1.hook_resid_post"], flags].concat()).unwrap_err().to_string();
            assert!(message.contains(expected), "{flags:?}: {message}");
        }
        assert!(all(&["blocks.{1,1}.hook_mlp_out"]).unwrap_err().to_string().contains("twice"));
    }
}
