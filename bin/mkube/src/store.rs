//! `mkube store`: how the store of a running mkube is, and taking an older one as it is.

use serde_json::Value;

use crate::cli::{StoreAcceptArgs, StoreArgs, StoreCommand, StoreStatusArgs};
use crate::client::{Api, block_on, encoded, plain_table};
use crate::failure::{FAILED, Failure};
use crate::say;

const PATH: &str = "/api/v1/store";

/// Shows, or accepts.
pub fn main(args: &StoreArgs) -> Result<(), Failure> {
    match &args.command {
        StoreCommand::Status(args) => status(args),
        StoreCommand::Accept(args) => accept(args),
    }
}

/// Prints how it is. Ends with 1 unless it is well, so that scripts can ask.
fn status(args: &StoreStatusArgs) -> Result<(), Failure> {
    let api = Api::new(&args.server)?;
    let store = block_on(api.get_json(PATH, "application/json"))?;
    say::print(say::formatted(&store, args.output, || table(&store)))?;
    match store["state"].as_str() {
        Some("ok") => Ok(()),
        state => Err(Failure::text(FAILED, format!("the store is {}", state.unwrap_or("in no known state")))),
    }
}

fn accept(args: &StoreAcceptArgs) -> Result<(), Failure> {
    let api = Api::new(&args.server)?;
    let path = format!("{PATH}/accept?digest={}", encoded(&args.digest));
    let accepted = block_on(api.post_json(&path, mkube_messages::patience::ACCEPT))?;
    say::print(say::formatted(&accepted, args.output, || {
        format!(
            "{}; what was known before is in {} where mkube runs, `mkube import` takes it",
            counted(&accepted["counts"]),
            text(&accepted["copy"])
        )
    }))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn counted(counts: &Value) -> String {
    ["missing", "older", "returned"]
        .map(|kind| format!("{} {kind}", counts[kind].as_u64().unwrap_or_default()))
        .join(", ")
}

fn table(store: &Value) -> String {
    let mut lines = format!("STORE {}: {}", text(&store["state"]), text(&store["message"]));
    let Some(older) = store.get("older") else { return lines };
    let objects = older["objects"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !objects.is_empty() {
        let mut table = plain_table();
        table.set_header(["KIND", "NAMESPACE", "NAME", "STATE", "KNOWN", "FOUND"]);
        for object in objects {
            let fields = ["kind", "namespace", "name", "state", "known", "found"];
            table.add_row(fields.map(|field| text(&object[field])));
        }
        lines += &format!("\n\n{table}");
    }
    match older["unnamed"].as_u64().unwrap_or_default() {
        0 => {}
        more => lines += &format!("\nand {more} more"),
    }
    lines += &format!(
        "\n\n{}. To take the store as it is: mkube store accept {}",
        counted(&older["counts"]),
        text(&older["digest"])
    );
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_names_what_is_lost_and_how_to_accept_it() {
        assert_eq!(table(&json!({"state": "ok", "message": "connected"})), "STORE ok: connected");
        let object =
            json!({"kind": "Pod", "namespace": "shop", "name": "web", "state": "missing", "known": 7, "found": null});
        let store = json!({"state": "older", "message": "it is", "older": {
            "digest": "abc", "counts": {"missing": 5, "older": 1, "returned": 0}, "unnamed": 4, "objects": [object],
        }});
        let shown = table(&store);
        for words in
            ["STORE older: it is", "web", "and 4 more", "5 missing, 1 older, 0 returned", "mkube store accept abc"]
        {
            assert!(shown.contains(words), "{words}: {shown}");
        }
    }
}
