//! Bridges, veth pairs and namespaces, through `ip`: a batch costs one process.
//!
//! Linux names have 15 bytes, RouterOS names have more: ours are `mk` and a hash, the RouterOS name is the alias. What carries
//! no alias of ours is never touched.

use std::process::Stdio;

use ipnet::IpNet;
use mkube_router_machine::engine::{EngineFault, EngineVeth};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// The kernel's limit on interface names.
const NAME_BYTES: usize = 15;

fn hash(kind: &str, name: &str) -> String {
    let fold = |seed: u64| {
        format!("{kind}/{name}")
            .bytes()
            .fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    };
    format!("{:011x}", fold(0xcbf2_9ce4_8422_2325) & 0xfff_ffff_ffff)
}

/// Names of things of one host: two hosts on one machine do not meet.
#[derive(Debug, Clone)]
pub struct Names {
    scope: String,
}

impl Names {
    /// Names that depend on the host's directory.
    pub fn new(scope: &str) -> Self {
        Self { scope: hash("host", scope)[..6].to_owned() }
    }

    /// Prefix of this host's namespaces.
    pub fn namespace_prefix(&self) -> String {
        format!("mk{}-", self.scope)
    }

    /// Namespace of a container.
    pub fn namespace(&self, key: &str) -> String {
        format!("{}{key}", self.namespace_prefix())
    }

    /// Bridge of a RouterOS bridge.
    pub fn bridge(&self, name: &str) -> String {
        format!("mkb{}", hash(&self.scope, name))
    }

    /// Outer end of a veth.
    pub fn veth(&self, name: &str) -> String {
        format!("mk{}", hash(&self.scope, name))
    }

    fn alias(&self, kind: &str, name: &str) -> String {
        format!("mkube {} {kind} {name}", self.scope)
    }
}

fn failed(what: &str, text: &str) -> EngineFault {
    EngineFault::Interface(format!("{what}: {}", text.trim()))
}

/// Runs `ip` with a batch of commands; the first that fails ends it.
async fn batch(commands: &[String]) -> Result<(), EngineFault> {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed("ip", &error.to_string()))?;
    let text = format!("{}\n", commands.join("\n"));
    if let Some(mut input) = child.stdin.take() {
        input.write_all(text.as_bytes()).await.map_err(|error| failed("ip", &error.to_string()))?;
    }
    let output = child.wait_with_output().await.map_err(|error| failed("ip", &error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed("ip", &String::from_utf8_lossy(&output.stderr)))
}

/// Runs one `ip` command and reads its JSON.
async fn ask(arguments: &[&str]) -> Result<Value, EngineFault> {
    let output = Command::new("ip")
        .arg("-json")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|error| failed("ip", &error.to_string()))?;
    if !output.status.success() {
        return Err(failed("ip", &String::from_utf8_lossy(&output.stderr)));
    }
    if output.stdout.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Array(Vec::new()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed("ip", &error.to_string()))
}

fn exists(link: &str) -> bool {
    std::path::Path::new("/sys/class/net").join(link).exists()
}

fn alias_of(link: &str) -> String {
    std::fs::read_to_string(format!("/sys/class/net/{link}/ifalias"))
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

/// Makes a bridge if missing.
pub async fn ensure_bridge(names: &Names, bridge: &str) -> Result<(), EngineFault> {
    let link = names.bridge(bridge);
    if exists(&link) {
        return batch(&[format!("link set {link} up")]).await;
    }
    batch(&[
        format!("link add {link} type bridge"),
        format!("link set {link} alias \"{}\"", names.alias("bridge", bridge)),
        format!("link set {link} up"),
    ])
    .await
}

/// Removes a bridge of ours.
pub async fn remove_bridge(names: &Names, bridge: &str) -> Result<(), EngineFault> {
    let link = names.bridge(bridge);
    if !exists(&link) || alias_of(&link) != names.alias("bridge", bridge) {
        return Ok(());
    }
    batch(&[format!("link del {link}")]).await
}

/// Puts an address on a bridge of ours.
pub async fn ensure_address(names: &Names, bridge: &str, address: IpNet) -> Result<(), EngineFault> {
    let link = names.bridge(bridge);
    if !exists(&link) {
        return Err(EngineFault::Interface(format!("bridge {bridge} does not exist")));
    }
    batch(&[format!("addr replace {address} dev {link}")]).await
}

/// Takes an address off a bridge of ours.
pub async fn remove_address(names: &Names, bridge: &str, address: IpNet) -> Result<(), EngineFault> {
    let link = names.bridge(bridge);
    if !exists(&link) {
        return Ok(());
    }
    batch(&[format!("addr del {address} dev {link}")]).await
}

/// Makes a container's namespace with its interfaces. What an earlier try left is removed first.
pub async fn set_up(names: &Names, key: &str, veths: &[EngineVeth]) -> Result<(), EngineFault> {
    let namespace = names.namespace(key);
    let mut commands = Vec::new();
    if std::path::Path::new("/run/netns").join(&namespace).exists() {
        commands.push(format!("netns del {namespace}"));
    }
    for veth in veths {
        let link = names.veth(&veth.name);
        if exists(&link) {
            commands.push(format!("link del {link}"));
        }
    }
    commands.push(format!("netns add {namespace}"));
    for (index, veth) in veths.iter().enumerate() {
        let link = names.veth(&veth.name);
        // A name the kernel cannot hold becomes the one containers know.
        let inside =
            if veth.inside_name.len() <= NAME_BYTES { veth.inside_name.clone() } else { format!("eth{index}") };
        commands.push(format!("link add {link} type veth peer name {inside} netns {namespace}"));
        commands.push(format!("link set {link} alias \"{}\"", names.alias("veth", &veth.name)));
        if let Some(bridge) = &veth.bridge {
            commands.push(format!("link set {link} master {}", names.bridge(bridge)));
        }
        commands.push(format!("link set {link} up"));
    }
    batch(&commands).await?;
    let mut inside = vec!["link set lo up".to_owned()];
    for (index, veth) in veths.iter().enumerate() {
        let name = if veth.inside_name.len() <= NAME_BYTES { veth.inside_name.clone() } else { format!("eth{index}") };
        for address in &veth.addresses {
            inside.push(format!("addr add {address} dev {name}"));
        }
        inside.push(format!("link set {name} up"));
        if let (0, Some(gateway)) = (index, veth.gateway) {
            inside.push(format!("route add default via {gateway} dev {name}"));
        }
    }
    batch_in(&namespace, &inside).await
}

async fn batch_in(namespace: &str, commands: &[String]) -> Result<(), EngineFault> {
    let mut child = Command::new("ip")
        .args(["-netns", namespace, "-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed("ip", &error.to_string()))?;
    if let Some(mut input) = child.stdin.take() {
        let text = format!("{}\n", commands.join("\n"));
        input.write_all(text.as_bytes()).await.map_err(|error| failed("ip", &error.to_string()))?;
    }
    let output = child.wait_with_output().await.map_err(|error| failed("ip", &error.to_string()))?;
    if output.status.success() { Ok(()) } else { Err(failed("ip", &String::from_utf8_lossy(&output.stderr))) }
}

/// Removes a container's namespace; its interfaces go with it.
pub async fn tear_down(names: &Names, key: &str) -> Result<(), EngineFault> {
    let namespace = names.namespace(key);
    if !std::path::Path::new("/run/netns").join(&namespace).exists() {
        return Ok(());
    }
    batch(&[format!("netns del {namespace}")]).await
}

/// Makes an interface a port of a bridge, or of none; one that is not there yet gets its bridge when it is made.
pub async fn attach(names: &Names, veth: &str, bridge: Option<&str>) -> Result<(), EngineFault> {
    let link = names.veth(veth);
    if !exists(&link) {
        return Ok(());
    }
    match bridge {
        Some(bridge) => batch(&[format!("link set {link} master {}", names.bridge(bridge))]).await,
        None => batch(&[format!("link set {link} nomaster")]).await,
    }
}

/// Removes an interface of ours.
pub async fn remove_veth(names: &Names, veth: &str) -> Result<(), EngineFault> {
    let link = names.veth(veth);
    if !exists(&link) || alias_of(&link) != names.alias("veth", veth) {
        return Ok(());
    }
    batch(&[format!("link del {link}")]).await
}

/// Namespaces of this host.
pub async fn namespaces(names: &Names) -> Result<Vec<String>, EngineFault> {
    let found = ask(&["netns", "list"]).await?;
    let prefix = names.namespace_prefix();
    let all = found.as_array().into_iter().flatten().filter_map(|one| one["name"].as_str());
    Ok(all.filter(|name| name.starts_with(&prefix)).map(|name| name[prefix.len()..].to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_into_what_the_kernel_allows_and_depend_on_the_host() {
        let (one, other) = (Names::new("/a"), Names::new("/b"));
        let long = "veth_a-long-namespace_a-long-pod-name_0";
        assert!(one.veth(long).len() <= NAME_BYTES && one.bridge("bridge-gt").len() <= NAME_BYTES);
        assert_ne!(one.veth(long), other.veth(long));
        assert_ne!(one.veth("x"), one.bridge("x"));
    }
}
