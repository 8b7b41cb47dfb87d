//! Bridges and gateway addresses of managed networks. What carries our comment was made by us, and by nobody else.

use std::sync::Arc;

use mkube_model::IpNet;
use mkube_model::marks::owner_in_veth_comment;
use mkube_model::neighbours::router::{AddressRow, BridgeRow, Router, RouterFault};

use super::worth_a_look;

/// The comment of bridges and addresses that mkube made.
const OURS: &str = "mkube";

pub async fn ensure_bridge(router: Arc<dyn Router>, bridge: String, address: IpNet) -> Result<(), RouterFault> {
    if !has_bridge(&router.bridges().await?, &bridge) {
        let added = router.add_bridge(&bridge, OURS).await;
        if let Err(fault) = added
            && !(worth_a_look(&fault) && has_bridge(&router.bridges().await?, &bridge))
        {
            return Err(fault);
        }
    }
    let has =
        |rows: &[AddressRow]| rows.iter().any(|row| row.interface == bridge && row.address.addr() == address.addr());
    if !has(&router.addresses().await?) {
        let added = router.add_address(address, &bridge, OURS).await;
        if let Err(fault) = added
            && !(worth_a_look(&fault) && has(&router.addresses().await?))
        {
            return Err(fault);
        }
    }
    Ok(())
}

fn has_bridge(rows: &[BridgeRow], name: &str) -> bool {
    rows.iter().any(|row| row.name == name)
}

/// Takes away what was made for a network: its gateway address, and the bridge if nothing else is on it. What somebody else
/// made, or uses, stays. `shared`: another network is on the bridge.
pub async fn release_bridge(
    router: Arc<dyn Router>,
    bridge: String,
    address: IpNet,
    shared: bool,
) -> Result<(), RouterFault> {
    let ports = router.bridge_ports().await?;
    let mut on_it = ports.iter().filter(|port| port.bridge == bridge).peekable();
    let empty = on_it.peek().is_none();
    if let Some(port) = on_it.find(|port| !shared && owner_in_veth_comment(&port.comment).is_some()) {
        let detail = format!("{} is still a port of it", port.interface);
        return Err(RouterFault::WrongState { operation: format!("bridge {bridge}"), detail });
    }
    let rows = router.addresses().await?;
    let ours = |row: &&AddressRow| row.interface == bridge && row.address == address && row.comment == OURS;
    for row in rows.iter().filter(ours) {
        gone(router.remove_address(&row.id).await)?;
    }
    let others = rows.iter().any(|row| row.interface == bridge && !ours(&row));
    if shared || others || !empty {
        return Ok(());
    }
    for row in router.bridges().await?.iter().filter(|row| row.name == bridge && row.comment == OURS) {
        gone(router.remove_bridge(&row.id).await)?;
    }
    Ok(())
}

/// That it was not there is as good as that it was removed; whoever asked comes again after a lost answer.
fn gone(removed: Result<(), RouterFault>) -> Result<(), RouterFault> {
    match removed {
        Err(RouterFault::NotFound { .. }) => Ok(()),
        other => other,
    }
}
