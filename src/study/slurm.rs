//! A study as an array job of Slurm.

use std::path::Path;

use prunelens_core::error::{Error, Result};

/// What the script asks of Slurm.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub partition: Option<String>,
    /// Such as gpu:1.
    pub gres: Option<String>,
    /// Such as 4:00:00.
    pub time: Option<String>,
    /// Tasks that run at the same time.
    pub limit: Option<usize>,
    /// Any other options of sbatch, a line each.
    pub others: Vec<String>,
    /// Options of `study work`.
    pub work: Vec<String>,
}

/// Arrays are no larger at most sites: MaxArraySize is 1001 by default.
pub const LARGEST: usize = 1000;

/// The script of an array of so many tasks, which share the groups of the study in `folder`.
pub fn script(program: &Path, folder: &Path, tasks: usize, request: &Request) -> Result<String> {
    let name = folder.file_name().map_or_else(|| "study".into(), |name| name.to_string_lossy().into_owned());
    let log = folder.join("slurm").join("%A_%a.log");
    let limit = request.limit.map(|limit| format!("%{limit}")).unwrap_or_default();
    let mut lines = vec![
        format!("--job-name={}", super::cells::plain(&name)),
        format!("--array=0-{}{limit}", tasks.saturating_sub(1)),
        format!("--output={}", quoted(&path(&log)?)),
        "--open-mode=append".into(),
        "--requeue".into(),
        "--signal=B:USR1@120".into(),
    ];
    let options = [("partition", &request.partition), ("gres", &request.gres), ("time", &request.time)];
    lines.extend(options.iter().filter_map(|(name, value)| Some(format!("--{name}={}", value.as_ref()?))));
    lines.extend(request.others.iter().cloned());
    if let Some(line) = lines.iter().find(|line| line.contains(char::is_control)) {
        return Err(Error::Usage(format!("an option of sbatch has a control character in it: {line:?}")));
    }
    let head: String = lines.iter().map(|line| format!("#SBATCH {line}\n")).collect();
    let work: String = request.work.iter().map(|word| format!(" {}", quoted(word))).collect();
    Ok(format!(
        r#"#!/bin/bash
# Made by `prunelens study slurm`. Edit it as you like and submit it as often as you like: what is measured is not measured again.
{head}
program={}
study={}

# USR1 comes two minutes before the time is up: the worker keeps what it has, and the task comes again. TERM is the end, unless
# Slurm itself queues the task again, as it does with one that makes room.
again=
trap 'again=yes; kill -TERM "$worker" 2>/dev/null' USR1
trap 'kill -TERM "$worker" 2>/dev/null' TERM

"$program" study work "$study" --index "$SLURM_ARRAY_TASK_ID" --of {tasks}{work} &
worker=$!
# A signal ends a wait, not the worker.
while kill -0 "$worker" 2>/dev/null; do wait "$worker"; done
wait "$worker"
code=$?
if [ -n "$again" ] && [ "$code" -ne 0 ]; then
  scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
fi
exit "$code"
"#,
        quoted(&path(program)?),
        quoted(&path(folder)?),
    ))
}

fn path(path: &Path) -> Result<String> {
    let text = path.to_str().ok_or_else(|| Error::file(path, "its name is not UTF-8, which a script needs"))?;
    Ok(text.to_owned())
}

/// As one word of a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,%@".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_says_what_was_asked_for() {
        let request = Request {
            gres: Some("gpu:1".into()),
            time: Some("4:00:00".into()),
            limit: Some(16),
            others: vec!["--account=lab".into()],
            work: vec!["--checkpoint-every".into(), "60".into()],
            ..Request::default()
        };
        let script = script(Path::new("/opt/prune lens"), Path::new("/data/it's"), 12, &request).unwrap();
        for line in ["#SBATCH --array=0-11%16", "#SBATCH --gres=gpu:1", "#SBATCH --account=lab"] {
            assert!(script.lines().any(|l| l == line), "{script}");
        }
        assert!(script.contains(r"study='/data/it'\''s'") && script.contains("program='/opt/prune lens'"), "{script}");
        assert!(script.contains("--of 12 --checkpoint-every 60 &"), "{script}");
        let bash = std::process::Command::new("bash").arg("-n").arg("-c").arg(&script).status();
        assert!(bash.is_ok_and(|status| status.success()));
    }

    #[test]
    fn lines_cannot_be_smuggled_in() {
        let request = Request { others: vec!["--a\nrm -rf x".into()], ..Request::default() };
        assert!(script(Path::new("p"), Path::new("s"), 1, &request).is_err());
    }
}
