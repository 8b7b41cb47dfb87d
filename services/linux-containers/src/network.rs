//! Bridges, veth pairs and namespaces, through `ip`: a batch costs one process.
//!
//! Linux names have 15 bytes, RouterOS names have more: ours are `mk` and a hash, the RouterOS name is the alias. What carries
//! no alias of ours is never touched.

use std::process::Stdio;
use std::time::Duration;

use ipnet::IpNet;
use mkube_router_machine::Neighbour;
use mkube_router_machine::engine::{EngineFault, EngineVeth};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::Instant;

/// The kernel's limit on interface names.
const NAME_BYTES: usize = 15;
/// Of a RouterOS name in an alias; the kernel takes 255 bytes.
const ALIAS_CHARS: usize = 200;
/// Where `ip` keeps the names of namespaces.
pub const NAMESPACES: &str = "/run/netns";
/// Longest wait for a batch of commands.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest wait for an interface to go away.
const GONE: Duration = Duration::from_secs(3);
/// What `ip` says when an address is not there.
const NO_ADDRESS: [&str; 2] = ["Cannot assign requested address", "Address not found"];

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
        // It stands in a batch of commands: nothing in it may end a word or a line.
        let safe = |letter: char| if letter.is_ascii_alphanumeric() || "._-@".contains(letter) { letter } else { '_' };
        let name: String = name.chars().take(ALIAS_CHARS).map(safe).collect();
        format!("mkube {} {kind} {name}", self.scope)
    }

    /// A hardware address that stays the same: neighbours remember it.
    fn hardware(&self, kind: &str, name: &str) -> String {
        let hash = hash(&format!("{} {kind}", self.scope), name);
        let bytes: Vec<&str> = (1..11).step_by(2).map(|at| &hash[at..at + 2]).collect();
        format!("02:{}", bytes.join(":"))
    }
}

fn failed(text: &str) -> EngineFault {
    EngineFault::Interface(format!("ip: {}", text.trim()))
}

/// Runs a batch of `ip` commands, in a namespace or in the machine's own; the first that fails ends it.
async fn batch(namespace: Option<&str>, commands: &[String]) -> Result<(), EngineFault> {
    let text = |error: std::io::Error| failed(&error.to_string());
    let mut ip = Command::new("ip");
    if let Some(namespace) = namespace {
        ip.args(["-netns", namespace]);
    }
    ip.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = ip.spawn().map_err(text)?;
    if let Some(mut input) = child.stdin.take() {
        // A command that ended early says why on its other end.
        let _ = input.write_all(format!("{}\n", commands.join("\n")).as_bytes()).await;
    }
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    let output = output.map_err(|_| failed("no answer"))?.map_err(text)?;
    if output.status.success() { Ok(()) } else { Err(failed(&String::from_utf8_lossy(&output.stderr))) }
}

/// Removes interfaces, which may go by themselves at any moment; returns when they are gone.
async fn delete(links: &[String]) -> Result<(), EngineFault> {
    let until = Instant::now() + GONE;
    loop {
        let there: Vec<&String> = links.iter().filter(|link| exists(link)).collect();
        let Some(first) = there.first() else { return Ok(()) };
        let done = batch(None, &[format!("link del {first}")]).await;
        if exists(first) && Instant::now() > until {
            return done.and(Err(failed(&format!("{first} does not go away"))));
        }
    }
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
    let mut commands = Vec::new();
    if !exists(&link) {
        // A bridge without an address of its own takes that of one of its ports, and changes it when ports change.
        commands.push(format!("link add {link} address {} type bridge", names.hardware("bridge", bridge)));
    }
    commands.push(format!("link set {link} alias \"{}\"", names.alias("bridge", bridge)));
    commands.push(format!("link set {link} up"));
    batch(None, &commands).await
}

/// Removes a bridge of ours.
pub async fn remove_bridge(names: &Names, bridge: &str) -> Result<(), EngineFault> {
    let link = names.bridge(bridge);
    if alias_of(&link) != names.alias("bridge", bridge) {
        return Ok(());
    }
    delete(&[link]).await
}

/// Puts an address on a bridge of ours.
pub async fn ensure_address(names: &Names, bridge: &str, address: IpNet) -> Result<(), EngineFault> {
    let link = names.bridge(bridge);
    if !exists(&link) {
        return Err(EngineFault::Interface(format!("bridge {bridge} does not exist")));
    }
    batch(None, &[format!("addr replace {address} dev {link}{}", at_once(address))]).await
}

/// Takes an address off a bridge of ours.
pub async fn remove_address(names: &Names, bridge: &str, address: IpNet) -> Result<(), EngineFault> {
    let link = names.bridge(bridge);
    if !exists(&link) {
        return Ok(());
    }
    match batch(None, &[format!("addr del {address} dev {link}")]).await {
        Err(EngineFault::Interface(text)) if NO_ADDRESS.iter().any(|words| text.contains(words)) => Ok(()),
        done => done,
    }
}

/// An IPv6 address is used at once: nobody else has it, the host gave it out.
fn at_once(address: IpNet) -> &'static str {
    if matches!(address, IpNet::V6(_)) { " nodad" } else { "" }
}

/// Kernel names of the outer ends of interfaces.
pub fn links(names: &Names, veths: &[EngineVeth]) -> Vec<String> {
    veths.iter().map(|veth| names.veth(&veth.name)).collect()
}

/// Name of an interface inside; one the kernel cannot hold becomes the one containers know.
fn inside_name(veth: &EngineVeth, index: usize) -> String {
    let name = &veth.inside_name;
    let fine = |letter: char| letter.is_ascii_alphanumeric() || "._-@".contains(letter);
    let begins = name.starts_with(|letter: char| letter.is_ascii_alphanumeric());
    if begins && name.len() <= NAME_BYTES && name != "lo" && name.chars().all(fine) {
        name.clone()
    } else {
        format!("eth{index}")
    }
}

/// Makes a container's namespace with its interfaces. What an earlier try left is removed first.
pub async fn set_up(names: &Names, namespace: &str, veths: &[EngineVeth]) -> Result<(), EngineFault> {
    tear_down(namespace, &links(names, veths)).await?;
    let mut commands = vec![format!("netns add {namespace}")];
    for (index, veth) in veths.iter().enumerate() {
        let link = names.veth(&veth.name);
        let (inside, hardware) = (inside_name(veth, index), names.hardware("veth", &veth.name));
        commands.push(format!("link add {link} type veth peer name {inside} address {hardware} netns {namespace}"));
        commands.push(format!("link set {link} alias \"{}\"", names.alias("veth", &veth.name)));
        if let Some(bridge) = &veth.bridge {
            commands.push(format!("link set {link} master {}", names.bridge(bridge)));
        }
        commands.push(format!("link set {link} up"));
    }
    batch(None, &commands).await
}

/// Gives the interfaces inside their addresses, and the first its default route.
pub async fn set_up_inside(namespace: &str, veths: &[EngineVeth]) -> Result<(), EngineFault> {
    let mut commands = vec!["link set lo up".to_owned()];
    for (index, veth) in veths.iter().enumerate() {
        let name = inside_name(veth, index);
        for address in &veth.addresses {
            commands.push(format!("addr add {address} dev {name}{}", at_once(*address)));
        }
        commands.push(format!("link set {name} up"));
        if let (0, Some(gateway)) = (index, veth.gateway) {
            commands.push(format!("route add default via {gateway} dev {name} onlink"));
        }
    }
    batch(Some(namespace), &commands).await
}

/// Removes a container's namespace and its interfaces; returns when they are gone.
pub async fn tear_down(namespace: &str, links: &[String]) -> Result<(), EngineFault> {
    // Both ends go at once; with the namespace they would go some time later.
    delete(links).await?;
    if !std::path::Path::new(NAMESPACES).join(namespace).exists() {
        return Ok(());
    }
    batch(None, &[format!("netns del {namespace}")]).await
}

/// Makes an interface a port of a bridge, or of none; one that is not there yet gets its bridge when it is made.
pub async fn attach(names: &Names, veth: &str, bridge: Option<&str>) -> Result<(), EngineFault> {
    let link = names.veth(veth);
    if !exists(&link) {
        return Ok(());
    }
    let command = match bridge {
        Some(bridge) => format!("link set {link} master {}", names.bridge(bridge)),
        None => format!("link set {link} nomaster"),
    };
    batch(None, &[command]).await
}

/// Where the kernel tells whom it has heard.
const HEARD: &str = "/proc/net/arp";
/// In the kernel's list: the hardware address is known.
const COMPLETE: u32 = 2;

/// Who is heard on bridges of ours.
pub fn neighbours(names: &Names, bridges: &[String]) -> Vec<Neighbour> {
    let links: Vec<(String, &String)> = bridges.iter().map(|bridge| (names.bridge(bridge), bridge)).collect();
    heard(&std::fs::read_to_string(HEARD).unwrap_or_default(), &links)
}

/// Lines of the kernel's list that are about these links.
fn heard(list: &str, links: &[(String, &String)]) -> Vec<Neighbour> {
    let one = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [address, _, flags, hardware, _, link] = words.as_slice() else { return None };
        let (_, bridge) = links.iter().find(|(of, _)| of == link)?;
        let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok()?;
        (flags & COMPLETE != 0).then_some(())?;
        let address = address.parse().ok()?;
        Some(Neighbour { address, interface: (*bridge).clone(), hardware: hardware.to_ascii_uppercase() })
    };
    list.lines().filter_map(one).collect()
}

/// Removes an interface of ours.
pub async fn remove_veth(names: &Names, veth: &str) -> Result<(), EngineFault> {
    let link = names.veth(veth);
    if alias_of(&link) != names.alias("veth", veth) {
        return Ok(());
    }
    delete(&[link]).await
}

/// Containers of this host that have a namespace.
pub fn namespaces(names: &Names) -> Vec<String> {
    let prefix = names.namespace_prefix();
    let Ok(entries) = std::fs::read_dir(NAMESPACES) else { return Vec::new() };
    let all = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    all.filter_map(|name| name.strip_prefix(&prefix).map(str::to_owned)).collect()
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
        assert_ne!(one.hardware("veth", "x"), one.hardware("veth", "y"));
        assert_eq!(one.hardware("veth", "x").len(), "02:00:00:00:00:00".len());
    }

    #[test]
    fn who_is_heard_on_a_bridge_of_ours_is_told_by_its_name() {
        let list = "IP address       HW type     Flags       HW address            Mask     Device\n\
            10.90.0.9        0x1         0x2         02:00:00:00:00:09     *        mkb1\n\
            10.90.0.8        0x1         0x0         00:00:00:00:00:00     *        mkb1\n\
            10.90.0.7        0x1         0x2         02:00:00:00:00:07     *        eth0\n";
        let bridge = "bridge-gt".to_owned();
        let found = heard(list, &[("mkb1".to_owned(), &bridge)]);
        let expected = Neighbour {
            address: std::net::Ipv4Addr::new(10, 90, 0, 9),
            interface: bridge,
            hardware: "02:00:00:00:00:09".to_owned(),
        };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn no_name_becomes_a_command() {
        let names = Names::new("/a");
        let alias = names.alias("veth", "x\"\nlink del eth0");
        assert!(!alias.contains(['\n', '"', ';']), "{alias}");
        let inside = |name: &str| {
            let veth = EngineVeth {
                name: "v".into(),
                addresses: vec![],
                gateway: None,
                bridge: None,
                inside_name: name.into(),
            };
            inside_name(&veth, 3)
        };
        assert_eq!(inside("veth_gt_web_0"), "veth_gt_web_0");
        for name in ["a\nlink del b", "a b", "-batch", "", "..", "a/b", "lo", "a-name-of-16-byte"] {
            assert_eq!(inside(name), "eth3", "{name:?}");
        }
    }
}
