//! `prunelens study slurm`.

use std::{path::PathBuf, process::Command};

use clap::Args;
use prunelens_core::{
    error::{Error, Result},
    files::{create_folder, write_atomic},
};

use super::work::begin;
use crate::{
    output,
    study::slurm::{LARGEST, Request, script},
};

#[derive(Args, Clone, Debug)]
pub struct SlurmArgs {
    /// What to measure: a study's file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Folder that all nodes see; the cells and the script go there.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Partition of the cluster.
    #[arg(long, value_name = "NAME")]
    pub partition: Option<String>,
    /// Generic resources of a task, such as gpu:1.
    #[arg(long, value_name = "LIST")]
    pub gres: Option<String>,
    /// Time limit of a task, such as 4:00:00. A task that reaches it comes again and goes on.
    #[arg(long, value_name = "TIME")]
    pub time: Option<String>,
    /// Tasks that run at the same time, at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub array_limit: Option<u32>,
    /// Tasks of the array; more groups than these are shared between them [default: one a group, 1000 at most].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub tasks: Option<u32>,
    /// Another option of sbatch, as it stands in a script, such as --account=lab; can be given again.
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    pub sbatch_arg: Vec<String>,
    /// An option of `study work`, such as --lease=300; can be given again.
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    pub work_arg: Vec<String>,
    /// Submit the script with sbatch.
    #[arg(long)]
    pub submit: bool,
}

pub fn run(args: &SlurmArgs) -> Result<()> {
    let study = begin(&args.file, &args.out)?;
    let tasks = args.tasks.map_or(study.groups.len().min(LARGEST), |n| (n as usize).min(study.groups.len()));
    let request = Request {
        partition: args.partition.clone(),
        gres: args.gres.clone(),
        time: args.time.clone(),
        limit: args.array_limit.map(|n| n as usize),
        others: args.sbatch_arg.clone(),
        work: args.work_arg.clone(),
    };
    let program = std::env::current_exe().map_err(|e| Error::invalid(format!("where is this program: {e}")))?;
    let text = script(&program, &study.folder, tasks, &request)?;
    let path = study.folder.join("study.sbatch");
    // Slurm writes the logs, and makes no folder for them.
    create_folder(study.folder.join("slurm"))?;
    write_atomic(&path, text.as_bytes())?;
    if !args.submit {
        return output::answer(&output::printable(&format!(
            "written: {0}\nsubmit it with: sbatch {0}",
            path.display()
        )));
    }
    let sbatch = Command::new("sbatch").arg("--parsable").arg(&path).output();
    let sbatch =
        sbatch.map_err(|e| Error::invalid(format!("sbatch cannot be run: {e}; the script is {}", path.display())))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if !sbatch.status.success() {
        return Err(Error::invalid(format!("sbatch refuses {}: {}", path.display(), said(&sbatch.stderr))));
    }
    let words = format!("submitted: job {}, {tasks} tasks ({})", said(&sbatch.stdout), path.display());
    output::answer(&output::printable(&words))
}
