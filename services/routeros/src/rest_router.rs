//! The trait [`Router`] over the wire.

use std::sync::{Arc, RwLock};

use async_trait::async_trait;
use mkube_model::IpNet;
use mkube_model::neighbours::router::{
    AddressRow, BridgePortRow, BridgeRow, ContainerRow, EnvRow, LogRow, MountRow, NeighbourRow, NewContainer, NewMount,
    NewVeth, Router, RouterFault, RowId, SystemResource, VethRow,
};
use mkube_model::secret::Secret;
use serde_json::{Map, Value, json};

use crate::client::{Client, RestOptions};
use crate::shape::{Release, Shape};
use crate::wire::Wire;
use crate::{files, rows};

/// A device behind its REST interface.
pub struct RestRouter {
    client: Client,
    /// Learnt from the device's version.
    shape: RwLock<Option<Shape>>,
}

impl RestRouter {
    /// A client; nothing is sent yet. An error is about the options.
    pub fn new(options: RestOptions) -> Result<Self, String> {
        Ok(Self { client: Client::new(options)?, shape: RwLock::new(None) })
    }

    /// A client over another wire than HTTP.
    pub fn over(wire: Arc<dyn Wire>) -> Self {
        Self { client: Client::over(wire), shape: RwLock::new(None) }
    }

    async fn shape(&self) -> Result<Shape, RouterFault> {
        let known = *self.shape.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        match known {
            Some(shape) => Ok(shape),
            None => {
                let resource = self.resource().await?;
                Self::shape_of(&resource)
            }
        }
    }

    fn shape_of(resource: &SystemResource) -> Result<Shape, RouterFault> {
        Release::parse(&resource.version).map(Shape::of).ok_or_else(|| RouterFault::Gibberish {
            operation: "GET /system/resource".into(),
            detail: format!("version {:?} is not one of RouterOS", resource.version),
        })
    }

    async fn add(&self, menu: &str, body: Map<String, Value>, long: bool) -> Result<RowId, RouterFault> {
        self.client.add(menu, Value::Object(body), long).await.map(RowId)
    }

    /// A command about one row; `.id` is understood by all releases.
    async fn about(&self, path: &str, id: &RowId) -> Result<(), RouterFault> {
        self.client.command(path, json!({".id": id.0})).await.map(drop)
    }
}

fn body(fields: &[(&str, &str)]) -> Map<String, Value> {
    let given = fields.iter().filter(|(_, value)| !value.is_empty());
    given.map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}

fn yes_no(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

fn veth_body(new: &NewVeth) -> Map<String, Value> {
    let gateway = new.gateway.map(|gateway| gateway.to_string()).unwrap_or_default();
    body(&[
        ("name", &new.name),
        ("address", &new.address.to_string()),
        ("gateway", &gateway),
        ("comment", &new.comment),
    ])
}

fn container_body(new: &NewContainer, shape: &Shape) -> Map<String, Value> {
    let dns = new.dns.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let mut fields = body(&[
        ("file", &new.file),
        ("interface", &new.interface),
        ("root-dir", &new.root_dir),
        (shape.mount_lists, new.mount_list.as_deref().unwrap_or_default()),
        (shape.env_lists, new.env_list.as_deref().unwrap_or_default()),
        ("cmd", &new.cmd),
        ("entrypoint", &new.entrypoint),
        ("workdir", &new.workdir),
        ("user", &new.user),
        ("hostname", &new.hostname),
        ("dns", &dns),
        ("logging", yes_no(new.logging)),
        ("start-on-boot", yes_no(new.start_on_boot)),
        ("comment", &new.comment),
    ]);
    if shape.settable_name {
        fields.insert("name".into(), json!(new.name));
    }
    if let (Some(bytes), Some(property)) = (new.memory_limit, shape.memory) {
        fields.insert(property.into(), json!(bytes.to_string()));
    }
    if let (Some(time), true) = (new.stop_time, shape.stop_time) {
        fields.insert("stop-time".into(), json!(format!("{}s", time.as_secs())));
    }
    fields
}

/// A row of a container has one of these.
const CONTAINER_MARKS: [&str; 4] = ["root-dir", "status", "stopped", "running"];

#[async_trait]
impl Router for RestRouter {
    async fn resource(&self) -> Result<SystemResource, RouterFault> {
        let answer = self.client.settings("/system/resource").await?;
        // Right after boot a device may answer with another endpoint's body.
        if answer.get("version").is_none() {
            let detail = "the answer has no version".to_owned();
            return Err(RouterFault::Gibberish { operation: "GET /system/resource".into(), detail });
        }
        let resource = rows::resource(&answer);
        let shape = Self::shape_of(&resource)?;
        *self.shape.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(shape);
        Ok(resource)
    }

    async fn containers(&self) -> Result<Vec<ContainerRow>, RouterFault> {
        self.client.list("/container", &[], &CONTAINER_MARKS, rows::container).await
    }

    async fn container(&self, id: &RowId) -> Result<Option<ContainerRow>, RouterFault> {
        let path = format!("/container/{id}");
        let row = match self.client.settings(&path).await {
            Err(RouterFault::NotFound { .. }) => return Ok(None),
            answer => answer?,
        };
        // As in a list: right after boot a device may answer with something else.
        let is_it = row[".id"] == id.0.as_str() && CONTAINER_MARKS.iter().any(|mark| row.get(mark).is_some());
        if !is_it {
            let detail = "the answer is no such container".to_owned();
            return Err(RouterFault::Gibberish { operation: format!("GET {path}"), detail });
        }
        Ok(Some(rows::container(&row)))
    }

    async fn veths(&self) -> Result<Vec<VethRow>, RouterFault> {
        self.client.list("/interface/veth", &[], &["gateway", "address"], rows::veth).await
    }

    async fn bridge_ports(&self) -> Result<Vec<BridgePortRow>, RouterFault> {
        let filters = [(".proplist", ".id,bridge,interface,dynamic,comment")];
        self.client.list("/interface/bridge/port", &filters, &["bridge"], rows::bridge_port).await
    }

    async fn bridges(&self) -> Result<Vec<BridgeRow>, RouterFault> {
        let filters = [(".proplist", ".id,name,comment")];
        self.client.list("/interface/bridge", &filters, &["name"], rows::bridge).await
    }

    async fn neighbours(&self) -> Result<Vec<NeighbourRow>, RouterFault> {
        let filters = [(".proplist", ".id,address,interface,mac-address,disabled,status")];
        Ok(self.client.list("/ip/arp", &filters, &["address"], rows::neighbour).await?.into_iter().flatten().collect())
    }

    async fn addresses(&self) -> Result<Vec<AddressRow>, RouterFault> {
        Ok(self.client.list("/ip/address", &[], &["address"], rows::address).await?.into_iter().flatten().collect())
    }

    async fn mounts(&self, list: &str) -> Result<Vec<MountRow>, RouterFault> {
        let filters = [(self.shape().await?.mount_list_name, list)];
        let mut rows = self.client.list("/container/mounts", &filters, &["dst"], rows::mount).await?;
        // Whoever asks removes what it does not want: rows of other lists must not be among them, whatever a device makes of a filter.
        rows.retain(|row: &MountRow| row.list == list);
        Ok(rows)
    }

    async fn envs(&self, list: &str) -> Result<Vec<EnvRow>, RouterFault> {
        let filters = [(self.shape().await?.env_list_name, list)];
        let mut rows = self.client.list("/container/envs", &filters, &["key"], rows::env).await?;
        rows.retain(|row: &EnvRow| row.list == list);
        Ok(rows)
    }

    async fn all_mounts(&self) -> Result<Vec<MountRow>, RouterFault> {
        self.client.list("/container/mounts", &[], &["dst"], rows::mount).await
    }

    async fn all_envs(&self) -> Result<Vec<EnvRow>, RouterFault> {
        self.client.list("/container/envs", &[], &["key"], rows::env).await
    }

    async fn log(&self) -> Result<Vec<LogRow>, RouterFault> {
        self.client.list("/log", &[], &["message"], rows::log).await
    }

    async fn container_log(&self, container: &str) -> Result<Vec<LogRow>, RouterFault> {
        if self.shape().await?.container_log {
            return self.client.list("/container/log", &[("container", container)], &["message"], rows::log).await;
        }
        // Older releases have one log for everything; lines of containers begin with their name.
        let prefix = format!("{container}: ");
        let rows = self.log().await?;
        let ours = rows.into_iter().filter(|row| row.topics.iter().any(|topic| topic == "container"));
        Ok(ours
            .filter_map(|row| {
                let message = row.message.strip_prefix(&prefix)?.to_owned();
                Some(LogRow { message, ..row })
            })
            .collect())
    }

    async fn add_container(&self, new: &NewContainer) -> Result<RowId, RouterFault> {
        let shape = self.shape().await?;
        self.add("/container", container_body(new, &shape), true).await
    }

    async fn start_container(&self, id: &RowId) -> Result<(), RouterFault> {
        self.about("/container/start", id).await
    }

    async fn stop_container(&self, id: &RowId) -> Result<(), RouterFault> {
        self.about("/container/stop", id).await
    }

    async fn remove_container(&self, id: &RowId) -> Result<(), RouterFault> {
        self.about("/container/remove", id).await
    }

    async fn set_start_on_boot(&self, id: &RowId, on: bool) -> Result<(), RouterFault> {
        self.client.command("/container/set", json!({".id": id.0, "start-on-boot": yes_no(on)})).await.map(drop)
    }

    async fn set_container_comment(&self, id: &RowId, comment: &str) -> Result<(), RouterFault> {
        self.client.command("/container/set", json!({".id": id.0, "comment": comment})).await.map(drop)
    }

    async fn set_container_interface(&self, id: &RowId, interface: &str) -> Result<(), RouterFault> {
        self.client.command("/container/set", json!({".id": id.0, "interface": interface})).await.map(drop)
    }

    async fn add_veth(&self, new: &NewVeth) -> Result<RowId, RouterFault> {
        self.add("/interface/veth", veth_body(new), false).await
    }

    async fn set_veth(&self, id: &RowId, new: &NewVeth) -> Result<(), RouterFault> {
        let mut fields = veth_body(new);
        fields.insert(".id".into(), json!(id.0));
        self.client.command("/interface/veth/set", Value::Object(fields)).await.map(drop)
    }

    async fn remove_veth(&self, id: &RowId) -> Result<(), RouterFault> {
        self.about("/interface/veth/remove", id).await
    }

    async fn add_bridge(&self, name: &str, comment: &str) -> Result<RowId, RouterFault> {
        self.add("/interface/bridge", body(&[("name", name), ("comment", comment)]), false).await
    }

    async fn remove_bridge(&self, id: &RowId) -> Result<(), RouterFault> {
        self.about("/interface/bridge/remove", id).await
    }

    async fn remove_address(&self, id: &RowId) -> Result<(), RouterFault> {
        self.about("/ip/address/remove", id).await
    }

    async fn add_address(&self, address: IpNet, interface: &str, comment: &str) -> Result<RowId, RouterFault> {
        let address = address.to_string();
        let fields = body(&[("address", &address), ("interface", interface), ("comment", comment)]);
        self.add("/ip/address", fields, false).await
    }

    async fn add_bridge_port(&self, bridge: &str, interface: &str, comment: &str) -> Result<RowId, RouterFault> {
        let fields = body(&[("bridge", bridge), ("interface", interface), ("comment", comment)]);
        self.add("/interface/bridge/port", fields, false).await
    }

    async fn remove_bridge_port(&self, id: &RowId) -> Result<(), RouterFault> {
        self.about("/interface/bridge/port/remove", id).await
    }

    async fn add_mount(&self, new: &NewMount) -> Result<RowId, RouterFault> {
        let shape = self.shape().await?;
        let mut fields = body(&[(shape.mount_list_name, &new.list), ("src", &new.src), ("dst", &new.dst)]);
        if new.read_only
            && let Some(property) = shape.read_only
        {
            fields.insert(property.into(), json!(if property == "mode" { "ro" } else { "true" }));
        }
        self.add("/container/mounts", fields, false).await
    }

    async fn remove_mount(&self, id: &RowId) -> Result<(), RouterFault> {
        self.about("/container/mounts/remove", id).await
    }

    async fn add_env(&self, list: &str, key: &str, value: &str) -> Result<RowId, RouterFault> {
        let shape = self.shape().await?;
        let mut fields = body(&[(shape.env_list_name, list), ("key", key)]);
        // An empty value is a value.
        fields.insert("value".into(), json!(value));
        self.add("/container/envs", fields, false).await
    }

    async fn remove_env(&self, id: &RowId) -> Result<(), RouterFault> {
        self.about("/container/envs/remove", id).await
    }

    async fn file_size(&self, path: &str) -> Result<Option<u64>, RouterFault> {
        files::size(&self.client, path).await
    }

    async fn disk_free(&self, path: &str) -> Result<Option<u64>, RouterFault> {
        files::free(&self.client, path).await
    }

    async fn fetch_file(&self, url: &Secret, path: &str) -> Result<(), RouterFault> {
        files::fetch(&self.client, url, path).await
    }

    async fn fetch_file_as_job(&self, url: &Secret, path: &str) -> Result<(), RouterFault> {
        files::fetch_as_job(&self.client, url, path).await
    }

    async fn rename_file(&self, from: &str, to: &str) -> Result<(), RouterFault> {
        files::rename(&self.client, from, to).await
    }

    async fn remove_file(&self, path: &str) -> Result<(), RouterFault> {
        files::remove(&self.client, path).await
    }

    async fn add_file(&self, path: &str, contents: &str) -> Result<(), RouterFault> {
        files::add(&self.client, path, contents).await
    }

    async fn set_file(&self, path: &str, contents: &str) -> Result<(), RouterFault> {
        files::set(&self.client, path, contents).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn a_container() -> NewContainer {
        NewContainer {
            name: "a".into(),
            mount_list: Some("m".into()),
            env_list: Some("e".into()),
            memory_limit: Some(1 << 20),
            stop_time: Some(Duration::from_secs(30)),
            ..NewContainer::default()
        }
    }

    #[test]
    fn each_release_gets_the_names_it_knows_and_no_others() {
        let names = |minor| {
            let fields = container_body(&a_container(), &Shape::of(Release { major: 7, minor }));
            fields.keys().cloned().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(19), "envlist logging mounts name start-on-boot");
        assert_eq!(names(20), "envlists logging memory-high mounts name start-on-boot");
        assert_eq!(names(21), "envlists logging memory-high mountlists name start-on-boot stop-time");
        assert_eq!(names(23), "envlists logging memory-max mountlists name start-on-boot stop-time");
    }
}
