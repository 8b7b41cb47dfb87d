//! What a name server is asked and told.

use std::collections::BTreeSet;

use async_trait::async_trait;
use mkube_model::neighbours::name_servers::{
    CALL, CreatedRecord, ForwarderRow, HEALTH, NameFault, NameServers, NewRecord, RecordRow, ServerHealth, ZoneRow,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::rows;
use crate::wire::Wire;

/// The largest page a server gives.
const PAGE: usize = 1000;
/// Pages of one list: more is no list but a circle.
const PAGES: usize = 1000;

/// See the room's card. One for all servers.
pub struct MicrodnsClient {
    wire: Wire,
}

impl MicrodnsClient {
    /// One that has spoken to nobody yet.
    ///
    /// # Errors
    /// In words, when no HTTP client can be made.
    pub fn new() -> Result<Self, String> {
        Ok(Self { wire: Wire::new()? })
    }

    /// All pages of a list. Rows that move from one page to the next while it is read are taken once.
    async fn pages<Row>(
        &self,
        endpoint: &str,
        path: &str,
        read: impl Fn(&Value) -> Option<Row>,
    ) -> Result<Vec<Row>, NameFault> {
        let (mut all, mut seen) = (Vec::new(), BTreeSet::new());
        for page in 0..PAGES {
            let path = format!("{path}?limit={PAGE}&offset={}", page * PAGE);
            let rows = self.wire.get(endpoint, &path, CALL).await?;
            let Some(rows) = rows.as_array() else {
                return Err(NameFault::Unknown("a list was expected".to_owned()));
            };
            for row in rows {
                // A row that cannot be read is not passed over in silence: it could be one of ours.
                let value =
                    read(row).ok_or_else(|| NameFault::Unknown("a row of a list has no id or name".to_owned()))?;
                if seen.insert(row["id"].as_str().unwrap_or_default().to_owned()) {
                    all.push(value);
                }
            }
            if rows.len() < PAGE {
                return Ok(all);
            }
        }
        Err(NameFault::Unknown(format!("a list of {PAGES} pages has no end")))
    }
}

/// What a success has to say.
fn said<Row>(row: Option<Row>) -> Result<Row, NameFault> {
    row.ok_or_else(|| NameFault::Unknown("the answer does not say what was made".to_owned()))
}

/// A word as part of a path.
fn escaped(word: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    word.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[async_trait]
impl NameServers for MicrodnsClient {
    async fn health(&self, endpoint: &str) -> Result<ServerHealth, NameFault> {
        self.wire.get(endpoint, "/health", HEALTH).await.map(|body| rows::health(&body))
    }

    async fn zones(&self, endpoint: &str) -> Result<Vec<ZoneRow>, NameFault> {
        self.pages(endpoint, "/zones", rows::zone).await
    }

    async fn create_zone(&self, endpoint: &str, name: &str) -> Result<ZoneRow, NameFault> {
        let answer = self.wire.change(Method::POST, endpoint, "/zones", Some(json!({"name": name}))).await?;
        said(rows::zone(&answer.body))
    }

    async fn records(&self, endpoint: &str, zone_id: &str) -> Result<Vec<RecordRow>, NameFault> {
        let found = self.pages(endpoint, &format!("/zones/{}/records", escaped(zone_id)), rows::record).await?;
        Ok(found.into_iter().map(|row| of_zone(row, zone_id)).collect())
    }

    async fn create_record(&self, endpoint: &str, zone_id: &str, new: &NewRecord) -> Result<CreatedRecord, NameFault> {
        let path = format!("/zones/{}/records", escaped(zone_id));
        let answer = self.wire.change(Method::POST, endpoint, &path, Some(rows::new_record(new))).await?;
        let row = said(rows::record(&answer.body))?;
        Ok(CreatedRecord { row: of_zone(row, zone_id), new: answer.status.as_u16() == 201 })
    }

    async fn update_record(&self, endpoint: &str, row: &RecordRow) -> Result<RecordRow, NameFault> {
        let path = format!("/zones/{}/records/{}", escaped(&row.zone_id), escaped(&row.id));
        let answer = self.wire.change(Method::PUT, endpoint, &path, Some(rows::changes(row))).await?;
        said(rows::record(&answer.body)).map(|found| of_zone(found, &row.zone_id))
    }

    async fn delete_record(&self, endpoint: &str, zone_id: &str, id: &str) -> Result<(), NameFault> {
        let path = format!("/zones/{}/records/{}", escaped(zone_id), escaped(id));
        self.wire.change(Method::DELETE, endpoint, &path, None).await.map(drop)
    }

    async fn forwarders(&self, endpoint: &str) -> Result<Vec<ForwarderRow>, NameFault> {
        let found = self.wire.get(endpoint, "/dns/forwarders", CALL).await?;
        let list = found.as_array().ok_or_else(|| NameFault::Unknown("a list was expected".to_owned()))?;
        Ok(list.iter().filter_map(rows::forwarder).collect())
    }

    async fn put_forwarder(&self, endpoint: &str, row: &ForwarderRow) -> Result<ForwarderRow, NameFault> {
        let body = json!({"zone": row.zone, "servers": row.servers});
        let answer = self.wire.change(Method::POST, endpoint, "/dns/forwarders", Some(body)).await?;
        said(rows::forwarder(&answer.body))
    }

    async fn delete_forwarder(&self, endpoint: &str, zone: &str) -> Result<(), NameFault> {
        let path = format!("/dns/forwarders/{}", escaped(zone));
        self.wire.change(Method::DELETE, endpoint, &path, None).await.map(drop)
    }
}

/// Releases that do not say which zone a record is in mean the one in the path.
fn of_zone(row: RecordRow, zone_id: &str) -> RecordRow {
    if row.zone_id.is_empty() { RecordRow { zone_id: zone_id.to_owned(), ..row } } else { row }
}
