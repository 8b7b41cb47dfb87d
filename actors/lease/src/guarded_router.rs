//! The device behind the permit: what changes it is sent only by whoever drives.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mkube_model::IpNet;
use mkube_model::neighbours::router::{
    AddressRow, BridgePortRow, BridgeRow, ContainerRow, EnvRow, LogRow, MountRow, NeighbourRow, NewContainer, NewMount,
    NewVeth, Router, RouterFault, RowId, SystemResource, VethRow,
};
use mkube_model::secret::Secret;

use crate::commands::Length;
use crate::permit::Permit;
use crate::times::LONGEST;

/// What is answered at once. The REST client gives up sooner; this is its time, twice: it may wait for its turn.
const SHORT: Length = Length::Short(Duration::from_secs(20));
/// What is answered when it is accepted, by a device that may be busy with a container.
const MOVE: Length = Length::Long(Duration::from_secs(20));
/// What may unpack an image or download one.
const LONG: Length = Length::Long(LONGEST);

/// See the file's text. Reading is free.
pub struct GuardedRouter {
    device: Arc<dyn Router>,
    permit: Permit,
}

impl GuardedRouter {
    /// The device, for whoever has the permit.
    pub fn new(device: Arc<dyn Router>, permit: Permit) -> Self {
        Self { device, permit }
    }
}

#[async_trait]
impl Router for GuardedRouter {
    async fn resource(&self) -> Result<SystemResource, RouterFault> {
        self.device.resource().await
    }
    async fn containers(&self) -> Result<Vec<ContainerRow>, RouterFault> {
        self.device.containers().await
    }
    async fn container(&self, id: &RowId) -> Result<Option<ContainerRow>, RouterFault> {
        self.device.container(id).await
    }
    async fn veths(&self) -> Result<Vec<VethRow>, RouterFault> {
        self.device.veths().await
    }
    async fn bridge_ports(&self) -> Result<Vec<BridgePortRow>, RouterFault> {
        self.device.bridge_ports().await
    }
    async fn bridges(&self) -> Result<Vec<BridgeRow>, RouterFault> {
        self.device.bridges().await
    }
    async fn neighbours(&self) -> Result<Vec<NeighbourRow>, RouterFault> {
        self.device.neighbours().await
    }
    async fn addresses(&self) -> Result<Vec<AddressRow>, RouterFault> {
        self.device.addresses().await
    }
    async fn mounts(&self, list: &str) -> Result<Vec<MountRow>, RouterFault> {
        self.device.mounts(list).await
    }
    async fn envs(&self, list: &str) -> Result<Vec<EnvRow>, RouterFault> {
        self.device.envs(list).await
    }
    async fn all_mounts(&self) -> Result<Vec<MountRow>, RouterFault> {
        self.device.all_mounts().await
    }
    async fn all_envs(&self) -> Result<Vec<EnvRow>, RouterFault> {
        self.device.all_envs().await
    }
    async fn log(&self) -> Result<Vec<LogRow>, RouterFault> {
        self.device.log().await
    }
    async fn container_log(&self, container: &str) -> Result<Vec<LogRow>, RouterFault> {
        self.device.container_log(container).await
    }
    async fn add_container(&self, new: &NewContainer) -> Result<RowId, RouterFault> {
        self.permit.send("POST /container/add", LONG, self.device.add_container(new)).await
    }
    async fn start_container(&self, id: &RowId) -> Result<(), RouterFault> {
        self.permit.send("POST /container/start", MOVE, self.device.start_container(id)).await
    }
    async fn stop_container(&self, id: &RowId) -> Result<(), RouterFault> {
        self.permit.send("POST /container/stop", MOVE, self.device.stop_container(id)).await
    }
    async fn remove_container(&self, id: &RowId) -> Result<(), RouterFault> {
        self.permit.send("POST /container/remove", MOVE, self.device.remove_container(id)).await
    }
    async fn set_start_on_boot(&self, id: &RowId, on: bool) -> Result<(), RouterFault> {
        self.permit.send("POST /container/set", SHORT, self.device.set_start_on_boot(id, on)).await
    }
    async fn set_container_comment(&self, id: &RowId, comment: &str) -> Result<(), RouterFault> {
        self.permit.send("POST /container/set", SHORT, self.device.set_container_comment(id, comment)).await
    }
    async fn set_container_interface(&self, id: &RowId, interface: &str) -> Result<(), RouterFault> {
        self.permit.send("POST /container/set", SHORT, self.device.set_container_interface(id, interface)).await
    }
    async fn add_veth(&self, new: &NewVeth) -> Result<RowId, RouterFault> {
        self.permit.send("POST /interface/veth/add", SHORT, self.device.add_veth(new)).await
    }
    async fn set_veth(&self, id: &RowId, new: &NewVeth) -> Result<(), RouterFault> {
        self.permit.send("POST /interface/veth/set", SHORT, self.device.set_veth(id, new)).await
    }
    async fn remove_veth(&self, id: &RowId) -> Result<(), RouterFault> {
        self.permit.send("POST /interface/veth/remove", SHORT, self.device.remove_veth(id)).await
    }
    async fn add_bridge(&self, name: &str, comment: &str) -> Result<RowId, RouterFault> {
        self.permit.send("POST /interface/bridge/add", SHORT, self.device.add_bridge(name, comment)).await
    }
    async fn remove_bridge(&self, id: &RowId) -> Result<(), RouterFault> {
        self.permit.send("POST /interface/bridge/remove", SHORT, self.device.remove_bridge(id)).await
    }
    async fn remove_address(&self, id: &RowId) -> Result<(), RouterFault> {
        self.permit.send("POST /ip/address/remove", SHORT, self.device.remove_address(id)).await
    }
    async fn add_address(&self, address: IpNet, interface: &str, comment: &str) -> Result<RowId, RouterFault> {
        self.permit.send("POST /ip/address/add", SHORT, self.device.add_address(address, interface, comment)).await
    }
    async fn add_bridge_port(&self, bridge: &str, interface: &str, comment: &str) -> Result<RowId, RouterFault> {
        self.permit
            .send("POST /interface/bridge/port/add", SHORT, self.device.add_bridge_port(bridge, interface, comment))
            .await
    }
    async fn remove_bridge_port(&self, id: &RowId) -> Result<(), RouterFault> {
        self.permit.send("POST /interface/bridge/port/remove", SHORT, self.device.remove_bridge_port(id)).await
    }
    async fn add_mount(&self, new: &NewMount) -> Result<RowId, RouterFault> {
        self.permit.send("POST /container/mounts/add", SHORT, self.device.add_mount(new)).await
    }
    async fn remove_mount(&self, id: &RowId) -> Result<(), RouterFault> {
        self.permit.send("POST /container/mounts/remove", SHORT, self.device.remove_mount(id)).await
    }
    async fn add_env(&self, list: &str, key: &str, value: &str) -> Result<RowId, RouterFault> {
        self.permit.send("POST /container/envs/add", SHORT, self.device.add_env(list, key, value)).await
    }
    async fn remove_env(&self, id: &RowId) -> Result<(), RouterFault> {
        self.permit.send("POST /container/envs/remove", SHORT, self.device.remove_env(id)).await
    }
    async fn file_size(&self, path: &str) -> Result<Option<u64>, RouterFault> {
        self.device.file_size(path).await
    }
    async fn disk_free(&self, path: &str) -> Result<Option<u64>, RouterFault> {
        self.device.disk_free(path).await
    }
    async fn fetch_file(&self, url: &Secret, path: &str) -> Result<(), RouterFault> {
        self.permit.send("POST /tool/fetch", LONG, self.device.fetch_file(url, path)).await
    }
    async fn fetch_file_as_job(&self, url: &Secret, path: &str) -> Result<(), RouterFault> {
        self.permit.send("POST /tool/fetch", LONG, self.device.fetch_file_as_job(url, path)).await
    }
    async fn rename_file(&self, from: &str, to: &str) -> Result<(), RouterFault> {
        self.permit.send("POST /file/set", SHORT, self.device.rename_file(from, to)).await
    }
    async fn remove_file(&self, path: &str) -> Result<(), RouterFault> {
        self.permit.send("POST /file/remove", SHORT, self.device.remove_file(path)).await
    }
    async fn add_file(&self, path: &str, contents: &str) -> Result<(), RouterFault> {
        self.permit.send("POST /file/add", SHORT, self.device.add_file(path, contents)).await
    }
    async fn set_file(&self, path: &str, contents: &str) -> Result<(), RouterFault> {
        self.permit.send("POST /file/set", SHORT, self.device.set_file(path, contents)).await
    }
}
