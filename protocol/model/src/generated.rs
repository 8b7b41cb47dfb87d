//! ConfigMaps that mkube writes itself, out of what it is configured with.
//!
//! What they hold does not count as part of a container: their files are renewed under it, and it is not made anew. Else a network
//! that is added would restart the name servers of all the others, and taking over a site those whose file was written by somebody
//! else. Names decide that, so that it is the same before and after mkube has written them.

use serde_json::Value;

use crate::metadata;

/// Annotation that says where the contents come from. `false` on a ConfigMap of such a name: its owner writes it.
pub const GENERATED: &str = "vkube.io/generated";
/// The name servers' configuration, in the namespace of each network that has one.
pub const DNS_CONFIG: &str = "dns-config";
/// Its key.
pub const DNS_CONFIG_KEY: &str = "microdns.toml";
/// The console's configuration.
pub const CONSOLE_CONFIG: &str = "mkube-console-config";
/// Its key.
pub const CONSOLE_CONFIG_KEY: &str = "config.yaml";
/// Its namespace.
pub const CONSOLE_NAMESPACE: &str = "infra";

/// The key mkube writes in a ConfigMap of this name, if it writes one.
pub fn generated_key(namespace: &str, name: &str) -> Option<&'static str> {
    match name.split_once('.').map_or(name, |(plain, _)| plain) {
        DNS_CONFIG => Some(DNS_CONFIG_KEY),
        CONSOLE_CONFIG if namespace == CONSOLE_NAMESPACE => Some(CONSOLE_CONFIG_KEY),
        _ => None,
    }
}

/// What a ConfigMap of this name is called for a node that shares its store with another, which has the name already.
pub fn name_for_node(plain: &str, node: &str) -> String {
    format!("{plain}.{node}")
}

/// Whether the owner of a ConfigMap wants to write it himself.
pub fn is_kept_by_its_owner(map: &Value) -> bool {
    metadata::annotation(map, GENERATED) == Some("false")
}
