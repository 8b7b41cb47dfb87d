//! Bridges and gateway addresses of managed networks.

use std::sync::Arc;

use mkube_model::IpNet;
use mkube_model::neighbours::router::{AddressRow, Router, RouterFault};

use super::worth_a_look;

pub async fn ensure_bridge(router: Arc<dyn Router>, bridge: String, address: IpNet) -> Result<(), RouterFault> {
    if !router.bridges().await?.contains(&bridge) {
        let added = router.add_bridge(&bridge, "mkube").await;
        if let Err(fault) = added
            && !(worth_a_look(&fault) && router.bridges().await?.contains(&bridge))
        {
            return Err(fault);
        }
    }
    let has =
        |rows: &[AddressRow]| rows.iter().any(|row| row.interface == bridge && row.address.addr() == address.addr());
    if !has(&router.addresses().await?) {
        let added = router.add_address(address, &bridge, "mkube").await;
        if let Err(fault) = added
            && !(worth_a_look(&fault) && has(&router.addresses().await?))
        {
            return Err(fault);
        }
    }
    Ok(())
}
