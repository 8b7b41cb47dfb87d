//! `mkube get volumes`: what pods mount, and what lies on the disk that nobody mounts.

use serde_json::Value;

use crate::client::{Api, Output, plain_table};
use crate::failure::Failure;
use crate::say;

const HEADER: [&str; 8] = ["NAMESPACE", "POD", "CONTAINER", "VOLUME", "KIND", "USED", "SIZE", "PATH"];

/// Whether these are asked for; no kind of objects has this name.
pub fn is_meant(resource: &str) -> bool {
    ["volumes", "volume", "vol"].contains(&resource.to_ascii_lowercase().as_str())
}

/// Prints them: those of the namespace, if one is meant, and what nobody mounts, which has none.
pub async fn get(api: &Api, namespace: Option<&str>, name: Option<&str>, output: &Output) -> Result<(), Failure> {
    let mut list = api.get_json("/api/v1/volumes", "application/json").await?;
    if let Some(items) = list["items"].as_array_mut() {
        let fits = |item: &Value| {
            (item["used"] == false || namespace.is_none_or(|namespace| item["namespace"] == namespace))
                && name.is_none_or(|name| item["name"] == name)
        };
        items.retain(fits);
    }
    match output {
        Output::Table | Output::Wide => print_table(&list),
        Output::Name => {
            let names = list["items"].as_array().into_iter().flatten().filter_map(|item| item["name"].as_str());
            say::print(names.map(|name| format!("volume/{name}\n")).collect::<String>())
        }
        output => say::print(output.text(&list).unwrap_or_default()),
    }
}

fn print_table(list: &Value) -> Result<(), Failure> {
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    if items.is_empty() {
        eprintln!("No resources found");
        return Ok(());
    }
    let mut table = plain_table();
    table.set_header(HEADER);
    for item in items {
        let text = |field: &str| match item[field].as_str() {
            None | Some("") => "-".to_owned(),
            Some(text) => text.to_owned(),
        };
        let used = if item["used"] == true { "yes" } else { "no" };
        let size = item["size"].as_u64().map_or("-".to_owned(), size_of);
        table.add_row([
            text("namespace"),
            text("pod"),
            text("container"),
            text("name"),
            text("kind"),
            used.to_owned(),
            size,
            text("path"),
        ]);
    }
    say::print(format_args!("{table}\n"))
}

fn size_of(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < units.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{size:.1} {}", units[unit]) }
}
