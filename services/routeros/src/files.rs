//! Files of the device: what is asked of `/file`, `/tool/fetch` and `/disk`.

use mkube_model::neighbours::router::{Outcome, RouterFault};
use mkube_model::secret::Secret;
use serde_json::{Value, json};

use crate::client::Client;
use crate::fault;

/// A name in `/file` has no slash in front.
fn bare(path: &str) -> &str {
    path.trim_start_matches('/')
}

/// By name: a list, even a filtered one, makes a router walk all its disks.
pub async fn size(client: &Client, path: &str) -> Result<Option<u64>, RouterFault> {
    let asked = client.command("/file/get", json!({"number": bare(path), "value-name": "size"})).await;
    let understood = |size: &Value| size.as_str().and_then(|text| text.parse().ok());
    match asked {
        Ok(answer) => match understood(&answer["ret"]) {
            Some(size) => Ok(Some(size)),
            None => listed_size(client, path).await,
        },
        Err(RouterFault::NotFound { .. }) => Ok(None),
        // A device that does not know the command by REST, or has no size for it.
        Err(RouterFault::Refused { .. }) => listed_size(client, path).await,
        // A question left open is a question not answered.
        Err(fault) if fault.outcome() == Outcome::Unknown => {
            Err(RouterFault::Unreachable { operation: "POST /file/get".into(), cause: fault.to_string() })
        }
        Err(fault) => Err(fault),
    }
}

async fn listed_size(client: &Client, path: &str) -> Result<Option<u64>, RouterFault> {
    let filters = [("name", bare(path)), (".proplist", ".id,name,type,size")];
    let row = |row: &Value| {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        (text("name"), text("size").parse::<u64>().ok())
    };
    let rows = client.list("/file", &filters, &["name"], row).await?;
    Ok(rows.into_iter().find(|(name, _)| name == bare(path)).and_then(|(_, size)| size))
}

pub async fn fetch(client: &Client, url: &Secret, path: &str) -> Result<(), RouterFault> {
    let asked = json!({
        "url": url.expose(), "dst-path": bare(path), "output": "file", "check-certificate": "no", "idle-timeout": "30s",
    });
    let answer = client.slow_command("/tool/fetch", asked).await.map_err(|fault| fault::without(fault, url))?;
    let last = answer.as_array().and_then(|frames| frames.last()).unwrap_or(&answer);
    // Progress is told with the status 200, whatever came of it.
    match last["status"].as_str() {
        Some("finished") => Ok(()),
        Some("failed") => {
            Err(RouterFault::Refused { operation: "POST /tool/fetch".into(), detail: "the download failed".into() })
        }
        other => {
            let cause = format!("the last word on the download was {:?}", other.unwrap_or_default());
            Err(RouterFault::ReplyLost { operation: "POST /tool/fetch".into(), cause })
        }
    }
}

pub async fn fetch_as_job(client: &Client, url: &Secret, path: &str) -> Result<(), RouterFault> {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$");
    let script = format!(
        "/tool/fetch url=\"{}\" dst-path=\"{}\" output=file check-certificate=no idle-timeout=30s",
        quoted(url.expose()),
        quoted(bare(path))
    );
    let asked = client.command("/execute", json!({"script": script})).await;
    asked.map(drop).map_err(|fault| fault::without(fault, url))
}

pub async fn rename(client: &Client, from: &str, to: &str) -> Result<(), RouterFault> {
    client.command("/file/set", json!({"numbers": bare(from), "name": bare(to)})).await.map(drop)
}

pub async fn remove(client: &Client, path: &str) -> Result<(), RouterFault> {
    client.command("/file/remove", json!({"numbers": bare(path)})).await.map(drop)
}

pub async fn add(client: &Client, path: &str, contents: &str) -> Result<(), RouterFault> {
    client.command("/file/add", json!({"name": bare(path), "contents": contents})).await.map(drop)
}

pub async fn set(client: &Client, path: &str, contents: &str) -> Result<(), RouterFault> {
    client.command("/file/set", json!({"numbers": bare(path), "contents": contents})).await.map(drop)
}

/// What is free where a path lies: on the disk it names, if there is one of that name that says so.
pub async fn free(client: &Client, path: &str) -> Result<Option<u64>, RouterFault> {
    let disk = bare(path).split('/').next().unwrap_or_default();
    let row = |row: &Value| {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        (text("slot"), text("free").parse::<u64>().ok())
    };
    let rows = client.list("/disk", &[("slot", disk)], &["slot"], row).await?;
    Ok(rows.into_iter().find(|(slot, _)| slot == disk).and_then(|(_, free)| free))
}
