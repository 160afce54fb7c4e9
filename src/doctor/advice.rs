//! What to do next, from what was found: a few lines, the most useful first.

use super::surroundings::Surroundings;

/// What the advice depends on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found<'a> {
    pub surroundings: Surroundings,
    /// The program was built with CUDA.
    pub cuda: bool,
    /// This process sees a GPU.
    pub gpu: bool,
    /// The kernel has NVIDIA's driver: in a container that of the machine around it.
    pub driver: bool,
    /// What a GPU would take and is not there.
    pub missing: &'a [String],
    /// Memory that is free, in bytes.
    pub available: Option<u64>,
    /// Stdout is a terminal.
    pub terminal: bool,
}

pub fn advice(found: &Found) -> Vec<String> {
    let lines = [Some(device(found)), volume(found), Some(begin(found.terminal).to_owned())];
    lines.into_iter().flatten().collect()
}

/// What the computing should be done on.
fn device(found: &Found) -> String {
    let Surroundings { container, slurm, in_job } = found.surroundings;
    match found {
        Found { gpu: true, cuda: false, .. } => {
            "this program was built for the processor alone. For the GPU: the wheel prunelens-cuda in place of prunelens, or a \
             build of your own, cargo build --release --features cuda --config tools/cuda.toml"
                .into()
        }
        Found { gpu: true, missing: [], .. } => {
            "the GPU is taken by itself (--device auto). How fast it is: prunelens bench --shape gpt2-small".into()
        }
        Found { gpu: true, missing: [first, ..], .. } => format!("for the GPU: {first}"),
        Found { driver: true, .. } if container => {
            "the machine's GPU is not in this container: start it with --gpus all (Docker), --device nvidia.com/gpu=all \
             (Podman) or --nv (Apptainer)"
                .into()
        }
        _ if slurm && !in_job && !container => {
            "this looks like a login node: go on in a job, srun --gres gpu:1 --pty prunelens, and measure many sessions by \
             prunelens study slurm"
                .into()
        }
        _ if in_job => "this job has no GPU: ask for one with --gres gpu:1, or go on with the processor".into(),
        _ => format!("no GPU, none needed: the demo runs at once{}", room(found.available)),
    }
}

/// How large a model may be, from the memory that is free: two copies in f32, and a fifth for everything else.
fn room(available: Option<u64>) -> String {
    const BYTES_A_WEIGHT: f64 = 8.0;
    let billions = |bytes: u64| 0.8 * bytes as f64 / BYTES_A_WEIGHT / 1e9;
    available.map_or(String::new(), |bytes| {
        let billions = billions(bytes);
        format!(
            ", and memory is free for models of about {billions:.1} billion weights (original and pruned in f32; --dtype bf16: {:.1})",
            2.0 * billions
        )
    })
}

/// What a container takes along when it goes.
fn volume(found: &Found) -> Option<String> {
    found.surroundings.container.then(|| {
        "what the folders above hold goes with the container, unless they are on a volume: XDG_CACHE_HOME, XDG_DATA_HOME, HF_HOME"
            .into()
    })
}

fn begin(terminal: bool) -> &'static str {
    if terminal {
        "prunelens tour shows the explorer around; prunelens --model ... --sae ... opens what is yours"
    } else {
        "the explorer needs a terminal. Without one: prunelens inspect \"a prompt\", or prunelens render --out screen.svg"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GPU: Found = Found {
        surroundings: Surroundings { container: false, slurm: false, in_job: false },
        cuda: true,
        gpu: true,
        driver: true,
        missing: &[],
        available: Some(16_000_000_000),
        terminal: true,
    };

    fn first(found: Found) -> String {
        advice(&found).remove(0)
    }

    #[test]
    fn a_gpu_box_is_told_what_the_gpu_lacks() {
        assert!(first(GPU).contains("--device auto"));
        assert!(first(Found { cuda: false, ..GPU }).contains("prunelens-cuda"));
        let missing = ["libcublas.so.13: pip install it".to_owned(), "another".to_owned()];
        assert_eq!(first(Found { missing: &missing, ..GPU }), "for the GPU: libcublas.so.13: pip install it");
    }

    #[test]
    fn a_laptop_is_told_what_fits() {
        let laptop = Found { gpu: false, driver: false, cuda: false, ..GPU };
        let text = first(laptop);
        // 0.8 x 16e9 bytes / 8 bytes a weight.
        assert!(text.contains("about 1.6 billion weights") && text.contains("bf16: 3.2"), "{text}");
        let unknown = first(Found { available: None, ..laptop });
        assert!(unknown.ends_with("runs at once"), "{unknown}");
    }

    #[test]
    fn a_container_is_told_of_the_machine_around_it() {
        let container = Surroundings { container: true, ..Surroundings::default() };
        let without = Found { surroundings: container, gpu: false, ..GPU };
        let lines = advice(&without);
        assert!(lines[0].contains("--gpus all") && lines[1].contains("volume") && lines.len() == 3, "{lines:?}");
        // Its memory says what fits where the machine has no GPU either.
        assert!(first(Found { driver: false, ..without }).contains("no GPU"));
        assert!(first(Found { surroundings: container, ..GPU }).contains("--device auto"));
    }

    #[test]
    fn a_login_node_is_no_place_to_compute() {
        let login = Surroundings { slurm: true, ..Surroundings::default() };
        let node = Found { surroundings: login, gpu: false, driver: false, ..GPU };
        assert!(first(node).contains("srun") && first(node).contains("study slurm"));
        let job = Found { surroundings: Surroundings { in_job: true, ..login }, ..node };
        assert!(first(job).contains("this job has no GPU"));
        assert!(first(Found { surroundings: login, ..GPU }).contains("--device auto"));
        // Commands of Slurm in an image make no login node of it.
        let image = Found { surroundings: Surroundings { container: true, ..login }, ..node };
        assert!(first(image).starts_with("no GPU"));
    }

    #[test]
    fn without_a_terminal_there_are_other_commands() {
        let last = |terminal| advice(&Found { terminal, ..GPU }).pop().unwrap();
        assert!(last(true).contains("prunelens tour"));
        assert!(last(false).contains("prunelens inspect"));
    }
}
