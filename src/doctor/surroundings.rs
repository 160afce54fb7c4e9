//! What kind of machine this is: a container, a node of a cluster, or neither.

use std::path::Path;

use prunelens_core::hub::Environment;
use serde::Serialize;

/// Where the program runs, as far as it changes what to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Surroundings {
    pub container: bool,
    /// Slurm's commands are on the path.
    pub slurm: bool,
    /// Within one of Slurm's jobs.
    pub in_job: bool,
}

/// Files that engines put into their containers: Docker, Podman.
const MARKS: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];
/// Variables that the others set: systemd and Podman, Apptainer and its elder name, Kubernetes.
const VARIABLES: [&str; 4] = ["container", "APPTAINER_CONTAINER", "SINGULARITY_CONTAINER", "KUBERNETES_SERVICE_HOST"];

impl Surroundings {
    pub fn find(environment: Environment) -> Self {
        let path = environment("PATH").unwrap_or_default();
        Self {
            container: MARKS.iter().any(|mark| Path::new(mark).exists())
                || VARIABLES.iter().any(|name| environment(name).is_some()),
            slurm: std::env::split_paths(&path).any(|folder| folder.join("srun").is_file()),
            in_job: environment("SLURM_JOB_ID").is_some(),
        }
    }
}
