//! `config.yaml` of the console: where it finds mkube and the registry. Pure.

use std::net::Ipv4Addr;

use mkube_model::network::Network;
use serde_json::json;

/// The file. mkube and its registry answer on the address after the gateway of the default network.
pub fn console_config(node: &str, default: &Network) -> String {
    let own = Ipv4Addr::from(u32::from(default.gateway).saturating_add(1));
    // What JSON quotes, YAML reads.
    let quoted = |text: String| json!(text).to_string();
    format!(
        "cluster_name: {}\nlisten_port: 9090\nmkube:\n  base_url: {}\nregistry:\n  base_url: {}\n",
        quoted(node.to_owned()),
        quoted(format!("http://{own}:8082")),
        quoted(format!("http://{own}:5000")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_console_finds_mkube_beside_the_gateway() {
        let mut network = Network::plain("gt", "192.168.200.0/24".parse().expect("a literal"), "bridge");
        network.gateway = Ipv4Addr::new(192, 168, 200, 1);
        assert_eq!(
            console_config("rose: 1", &network),
            "cluster_name: \"rose: 1\"\nlisten_port: 9090\nmkube:\n  base_url: \"http://192.168.200.2:8082\"\n\
             registry:\n  base_url: \"http://192.168.200.2:5000\"\n"
        );
    }
}
