//! Jobs run to their end, one after the other on each session.

use std::time::Duration;

use prunelens_core::{
    error::{Error, Result},
    files::create_folder,
    progress::Tick,
};
use prunelens_metrics::{FAMILIES, JobSpec, Params, Run, Store};
use serde_json::{Map, Value, json};

use super::{MetricsArgs, sessions::Sessions};
use crate::{
    export,
    measurement::{Measured, Measurement},
    output::{self, printable},
};

/// Measure, write the files, print the figures. What `tick` stops (Ctrl-C, a signal) goes on when it is asked for again.
pub fn run(sessions: Sessions, args: &MetricsArgs, store: Option<Store>, tick: Tick) -> Result<()> {
    let specs = specs(args)?;
    let mut layers = Map::new();
    for (layer, session) in sessions {
        let session = session()?;
        let folder = args.out.as_ref().unwrap_or(&session.spec.results);
        create_folder(folder)?;
        let mut objects = Map::new();
        for spec in &specs {
            let restart = args.restart;
            let measured =
                Measurement { session: &session, spec, store: store.as_ref(), restart, patience: Duration::ZERO }
                    .run(folder, tick)?;
            if args.json {
                objects.insert(spec.family.clone(), json_of(&measured));
            } else {
                output::answer(&printable(&text_of(&measured.run)))?;
            }
        }
        match layer {
            Some(layer) => drop(layers.insert(layer.to_string(), Value::Object(objects))),
            None => layers = objects,
        }
    }
    let several = args.layers.is_some();
    let all = if several { json!({ "layers": layers }) } else { Value::Object(layers) };
    if args.json { output::answer(&output::json(&all)?) } else { Ok(()) }
}

/// A job a name, each with the parameters that its family has; one that no family has is wrong use.
pub fn specs(args: &MetricsArgs) -> Result<Vec<JobSpec>> {
    let mut specs: Vec<JobSpec> = Vec::new();
    let given = &args.params.0.0;
    let mut used = Vec::new();
    for name in &args.names {
        // Both spellings are taken; files and folders have SAEBench's.
        let mut spec = JobSpec::new(&name.replace('-', "_"));
        let params = spec.family(FAMILIES)?.params;
        let own = given.iter().filter(|(name, _)| params.iter().any(|p| p.name == **name));
        spec.params = Params(own.map(|(name, value)| (name.clone(), value.clone())).collect());
        used.extend(spec.params.0.keys().cloned());
        spec.family(FAMILIES)?;
        if !specs.contains(&spec) {
            specs.push(spec);
        }
    }
    match given.keys().find(|name| !used.contains(name)) {
        Some(name) => Err(Error::Usage(format!("{} has no parameter --{name}", args.names.join(", ")))),
        None => Ok(specs),
    }
}

fn json_of(measured: &Measured) -> Value {
    let run = &measured.run;
    let mut object = export::table::json(&run.table);
    object["params"] = json!(run.spec.params);
    object["details"] = json!(run.details);
    object["remarks"] = json!(measured.remarks);
    object["resumed_at"] = json!(measured.resumed);
    object["seconds"] = run.seconds.into();
    object["files"] = run.files.iter().map(|path| path.display().to_string()).collect();
    object
}

fn text_of(run: &Run) -> String {
    let mut text = export::table::text(&run.table);
    run.files.iter().for_each(|path| text += &format!("written: {}\n", path.display()));
    text
}
