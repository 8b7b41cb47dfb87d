//! `mkube get --watch`: a list, and then every change, for as long as one looks. A server that goes away is waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tokio::time::Instant;

use super::get::{Asked, JSON, TABLE, TableOf};
use super::look::Tone;
use super::output::Output;
use super::targets::Target;
use crate::failure::{FAILED, Failure, USAGE};
use crate::say::print;

/// Pause before a server that went away is asked again, and how long it is waited for.
const PAUSE: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(120);
/// How long nothing may come: a server bookmarks every minute.
const SILENCE: Duration = Duration::from_secs(180);
/// Longest line of a watch.
const LINE: usize = 16 << 20;

/// What was printed of each object, so that nothing is said twice.
type Printed = BTreeMap<(String, String), String>;

struct Watching<'a> {
    asked: &'a Asked<'a>,
    target: &'a Target,
    table: Option<TableOf>,
    headed: bool,
    printed: Printed,
}

/// Prints what there is and what changes, until it is stopped.
pub async fn watch(asked: &Asked<'_>, target: &Target) -> Result<(), Failure> {
    if target.names.len() > 1 {
        return Err(Failure::text(USAGE, "one object is watched at a time, or all that are selected"));
    }
    let mut watching = Watching { asked, target, table: None, headed: asked.args.no_headers, printed: Printed::new() };
    let mut lost: Option<Instant> = None;
    loop {
        let ended = watching.once(&mut lost).await;
        let Err(failure) = ended else {
            // A server that ends watches at once is not to be asked without end.
            tokio::time::sleep(SHORT).await;
            continue;
        };
        // What was never there is not waited for.
        let Some(since) = lost.filter(|since| since.elapsed() < PATIENCE) else { return Err(failure) };
        if since.elapsed() < PAUSE {
            eprintln!("{}", asked.look.paint_err(Tone::Quiet, "the server went away; waiting for it"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Watching<'_> {
    /// A list and the changes after it, until the connection ends. `lost`: since when there is none, if there was one.
    async fn once(&mut self, lost: &mut Option<Instant>) -> Result<(), Failure> {
        let as_table = matches!(self.asked.args.output, Output::Table | Output::Wide);
        let accept = if as_table { TABLE } else { JSON };
        let of_name = self.target.names.first().map(|name| format!("fieldSelector=metadata.name%3D{name}"));
        let path = self.target.resource.path(self.asked.namespace_of(self.target), None);
        let chosen: Vec<String> = of_name.into_iter().collect();
        let list = self.asked.api.get_json(&(path.clone() + &self.asked.query(&chosen)), accept).await?;
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        if as_table && self.table.is_none() {
            self.table = self.asked.table(self.target, Some(&list));
        }
        self.show_list(&list, as_table)?;
        *lost = None;
        let more =
            ["watch=true".to_owned(), "allowWatchBookmarks=true".to_owned(), format!("resourceVersion={version}")];
        let query = self.asked.query(&chosen.into_iter().chain(more).collect::<Vec<_>>());
        let request = self.asked.api.request(Method::GET, &(path + &query)).header("accept", accept);
        *lost = Some(Instant::now());
        let mut answer = self.asked.api.stream(request).await?;
        let mut buffer: Vec<u8> = Vec::new();
        loop {
            let chunk = tokio::time::timeout(SILENCE, answer.chunk()).await;
            *lost = Some(Instant::now());
            let chunk = chunk.map_err(|_| Failure::text(FAILED, "the server has fallen silent"))?;
            let Some(chunk) = chunk.map_err(|error| Failure::new(FAILED, error))? else { return Ok(()) };
            buffer.extend_from_slice(&chunk);
            if buffer.len() > LINE {
                return Err(Failure::text(FAILED, "the server sends what is no change of an object"));
            }
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                if !self.event(&line, as_table)? {
                    return Ok(());
                }
            }
        }
    }

    fn show_list(&mut self, list: &Value, as_table: bool) -> Result<(), Failure> {
        let field = if as_table { "rows" } else { "items" };
        let mut fresh = list.clone();
        if let Some(all) = fresh[field].as_array_mut() {
            all.retain(|one| self.is_news(if as_table { &one["object"] } else { one }));
            if all.is_empty() {
                return Ok(());
            }
        }
        if as_table {
            return self.rows(&fresh, None);
        }
        let all = fresh[field].as_array().cloned().unwrap_or_default();
        all.iter().try_for_each(|one| self.object(one))
    }

    /// Whether an object has changed since it was printed.
    fn is_news(&mut self, object: &Value) -> bool {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let key = (text("/metadata/namespace"), text("/metadata/name"));
        let version = text("/metadata/resourceVersion");
        self.printed.insert(key, version.clone()).is_none_or(|before| before != version || version.is_empty())
    }

    /// Whether the watch goes on.
    fn event(&mut self, line: &[u8], as_table: bool) -> Result<bool, Failure> {
        let event: Value = serde_json::from_slice(line).map_err(|error| Failure::new(FAILED, error))?;
        let object = &event["object"];
        match event["type"].as_str().unwrap_or_default() {
            // Too old to go on from: the list is read again.
            "ERROR" => return Ok(false),
            "BOOKMARK" => {}
            kind if as_table => {
                for row in object["rows"].as_array().into_iter().flatten() {
                    self.is_news(&row["object"]);
                }
                self.rows(object, (kind == "DELETED").then_some(Tone::Quiet))?;
            }
            _ => {
                self.is_news(object);
                self.object(object)?;
            }
        }
        Ok(true)
    }

    fn rows(&mut self, table: &Value, tone: Option<Tone>) -> Result<(), Failure> {
        let Some(of) = &mut self.table else { return Ok(()) };
        let rows = of.rows(table);
        let mut lines = Vec::new();
        if !self.headed && !rows.is_empty() {
            lines.push(of.columns.heading(&rows));
            self.headed = true;
        }
        match tone {
            Some(tone) => lines.extend(rows.iter().map(|row| of.columns.line_in(row, tone))),
            None => lines.extend(of.columns.lines(&rows)),
        }
        if lines.is_empty() { Ok(()) } else { print(&(lines.join("\n") + "\n")) }
    }

    fn object(&self, object: &Value) -> Result<(), Failure> {
        match &self.asked.args.output {
            Output::Name => {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                print(format!("{}/{name}\n", self.target.resource.singular))
            }
            Output::Yaml => print(format!("---\n{}", mkube_manifests::to_yaml(object))),
            output => output.text(object).map_or(Ok(()), |text| print(&text)),
        }
    }
}
