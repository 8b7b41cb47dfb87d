//! What a request can say in its path and query.

use serde_json::{Value, json};

type Parameter = (&'static str, &'static str, &'static str);

/// Of reading one object: nothing.
pub const GET: &[Parameter] = &[];

/// Of lists of figures.
pub const FIGURES: &[Parameter] = &[
    ("fieldSelector", "string", "Only those of objects with these fields."),
    ("labelSelector", "string", "Only those of objects with these labels."),
];

/// Of lists and watches.
pub const LIST: &[Parameter] = &[
    ("allowWatchBookmarks", "boolean", "Whether a watch sends bookmarks."),
    ("continue", "string", "Where the next page of a list begins, as the page before said."),
    ("fieldSelector", "string", "Only objects with these fields."),
    ("labelSelector", "string", "Only objects with these labels."),
    ("limit", "integer", "So many objects in one page."),
    ("resourceVersion", "string", "Not older than this; a watch begins after it."),
    ("resourceVersionMatch", "string", "How resourceVersion is meant: Exact or NotOlderThan."),
    ("sendInitialEvents", "boolean", "Whether a watch begins with the objects that are there."),
    ("timeoutSeconds", "integer", "After so many seconds a watch ends."),
    ("watch", "boolean", "Goes on with what changes, one event in each line."),
];

/// Of everything that writes.
pub const WRITE: &[Parameter] = &[
    ("dryRun", "string", "All: everything is done but stored."),
    ("fieldManager", "string", "Who writes."),
    ("fieldValidation", "string", "What is done about fields that are not known: Ignore, Warn or Strict."),
];

/// Of patches.
pub const PATCH: &[Parameter] = &[
    ("dryRun", "string", "All: everything is done but stored."),
    ("fieldManager", "string", "Who writes."),
    ("fieldValidation", "string", "What is done about fields that are not known: Ignore, Warn or Strict."),
    ("force", "boolean", "Whether an apply takes fields from other managers."),
];

/// Of deletions.
pub const DELETE: &[Parameter] = &[
    ("dryRun", "string", "All: everything is done but stored."),
    ("gracePeriodSeconds", "integer", "Seconds the object has to end; 0 ends it at once."),
    ("orphanDependents", "boolean", "Deprecated: propagationPolicy says it."),
    ("propagationPolicy", "string", "What becomes of dependents: Orphan, Background or Foreground."),
];

/// Of logs.
pub const LOG: &[Parameter] = &[
    ("container", "string", "The container; the only one of its pod if it is not said."),
    ("follow", "boolean", "Goes on with what is written."),
    ("limitBytes", "integer", "So many bytes at most."),
    ("previous", "boolean", "Of the container that ran before."),
    ("sinceSeconds", "integer", "What was written in so many seconds."),
    ("sinceTime", "string", "What was written since then."),
    ("tailLines", "integer", "So many lines from the end."),
    ("timestamps", "boolean", "With the time before each line."),
];

/// Parameters as documents write them.
pub fn in_query(parameters: &[&[Parameter]]) -> Value {
    let all = parameters.iter().copied().flatten();
    let all = all.map(|(name, kind, what)| {
        json!({"name": name, "in": "query", "description": what, "schema": {"type": kind, "uniqueItems": true}})
    });
    Value::Array(all.collect())
}

/// A parameter of the path.
pub fn in_path(name: &str, what: &str) -> Value {
    json!({
        "name": name, "in": "path", "required": true, "description": what,
        "schema": {"type": "string", "uniqueItems": true},
    })
}
