//! `mkube export` and `mkube import`: everything a server's owners wrote, as text.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::cli::{ExportArgs, ImportArgs, OutputFormat};
use crate::client::{Api, block_on, plain_table};
use crate::failure::{FAILED, Failure};
use crate::say;

/// Longest wait for the results of an import.
const PATIENCE: Duration = Duration::from_secs(600);

/// Writes what the server exports. A file is there as a whole or not at all.
pub fn export(args: &ExportArgs) -> Result<(), Failure> {
    let api = Api::new(&args.server)?;
    let mut query = vec![("format", args.format.clone())];
    query.extend(args.secrets.then(|| ("secrets", "true".to_owned())));
    query.extend(args.kinds.clone().map(|kinds| ("kinds", kinds)));
    query.extend(args.namespace.clone().map(|namespace| ("namespace", namespace)));
    let (mut out, part): (Box<dyn Write>, Option<Part>) = if args.output.as_os_str() == "-" {
        (Box::new(io::stdout().lock()), None)
    } else {
        let (file, part) = Part::beside(&args.output).map_err(|error| at(&args.output, error))?;
        (Box::new(file), Some(part))
    };
    block_on(api.download("/api/v1/export", &query, &mut out))?;
    if let Some(part) = part {
        out.flush().and_then(|()| part.keep()).map_err(|error| at(&args.output, error))?;
    }
    Ok(())
}

fn at(path: &Path, error: io::Error) -> Failure {
    Failure::text(FAILED, format!("{}: {error}", path.display()))
}

/// A file that gets its name when it is complete, and is removed when it does not come to that.
struct Part {
    path: PathBuf,
    wanted: PathBuf,
    kept: bool,
}

impl Part {
    fn beside(wanted: &Path) -> io::Result<(File, Self)> {
        let mut name = wanted.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let path = wanted.with_file_name(name);
        // There may be Secrets in it.
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok((file, Self { path, wanted: wanted.to_owned(), kept: false }))
    }

    fn keep(mut self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()?;
        std::fs::rename(&self.path, &self.wanted)?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Sends a text and prints what became of each document. Ends with 1 when one was refused.
pub fn import(args: &ImportArgs) -> Result<(), Failure> {
    let text = if args.file.as_os_str() == "-" {
        if io::stdin().is_terminal() {
            eprintln!("reading documents from the terminal until end of file");
        }
        let mut text = Vec::new();
        io::stdin().read_to_end(&mut text).map(|_| text)
    } else {
        std::fs::read(&args.file)
    };
    let text = text.map_err(|error| at(&args.file, error))?;
    let api = Api::new(&args.server)?;
    let path = if args.dry_run { "/api/v1/import?dryRun=All" } else { "/api/v1/import" };
    let (code, answer) = block_on(api.post_text(path, text, PATIENCE))?;
    let Some(results) = answer["results"].as_array() else {
        let message = answer["message"].as_str().unwrap_or("no reason was given");
        return Err(Failure::text(FAILED, format!("{message} ({code})")));
    };
    let wide = args.output == OutputFormat::Wide;
    let shown = say::print(say::formatted(&answer, args.output, || table(results, wide)));
    for (result, warning) in results.iter().flat_map(|one| {
        one["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str).map(move |warning| (one, warning))
    }) {
        eprintln!("warning: document {}: {warning}", result["document"]);
    }
    match answer["failed"].as_u64().unwrap_or_default() {
        0 => shown,
        failed => Err(Failure::text(FAILED, format!("{failed} of {} documents were refused", results.len()))),
    }
}

/// What was done to each, and why not. What was so already is counted; `all` shows it too.
fn table(results: &[Value], all: bool) -> String {
    let text = |one: &Value, field: &str| match &one[field] {
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let mut table = plain_table();
    table.set_header(["DOCUMENT", "KIND", "NAMESPACE", "NAME", "ACTION", "ERROR"]);
    let shown: Vec<&Value> = results.iter().filter(|one| all || one["action"] != "unchanged").collect();
    for one in &shown {
        let place = match one["item"].as_u64() {
            Some(item) => format!("{}.{item}", one["document"]),
            None => text(one, "document"),
        };
        let rest = ["kind", "namespace", "name", "action"].map(|field| text(one, field));
        let error = one["error"].as_str().unwrap_or_default().to_owned();
        table.add_row([place].into_iter().chain(rest).chain([error]).collect::<Vec<_>>());
    }
    let count = |action: &str| results.iter().filter(|one| one["action"] == action).count();
    let counts = ["created", "configured", "unchanged", "failed"].map(|action| format!("{} {action}", count(action)));
    let rows = if shown.is_empty() { String::new() } else { format!("{table}\n\n") };
    format!("{rows}{}", counts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_shows_what_was_done_and_counts_the_rest() {
        let results = [
            json!({"document": 1, "kind": "Namespace", "name": "shop", "action": "unchanged"}),
            json!({"document": 2, "item": 3, "kind": "Pod", "namespace": "shop", "name": "web", "action": "failed", "error": "no"}),
        ];
        let shown = table(&results, false);
        assert!(shown.contains("2.3") && shown.contains("no") && !shown.contains("Namespace"), "{shown}");
        assert!(shown.ends_with("0 created, 0 configured, 1 unchanged, 1 failed"), "{shown}");
        assert!(table(&results, true).contains("Namespace"));
        assert_eq!(table(&results[..1], false), "0 created, 0 configured, 1 unchanged, 0 failed");
    }
}
