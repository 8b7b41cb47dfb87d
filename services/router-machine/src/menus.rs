//! The menus there are, what their rows consist of, and in which release.

use crate::release::Release;
use crate::tables::Scalar;

/// A menu with rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs, reason = "each is named by its path")]
pub enum Menu {
    Container,
    Envs,
    Mounts,
    Veth,
    Bridge,
    BridgePort,
    Address,
    Arp,
    User,
}

/// A property.
#[derive(Debug, Clone, Copy)]
pub struct Property {
    /// Name.
    pub name: &'static str,
    /// How it is read.
    pub kind: Scalar,
    /// Printed when nothing was written; `None` prints nothing.
    pub default: Option<&'static str>,
    /// First release (minor) that has it.
    pub since: u32,
    /// Last release (minor) that has it.
    pub until: u32,
}

const fn p(name: &'static str, kind: Scalar, default: Option<&'static str>) -> Property {
    Property { name, kind, default, since: 0, until: u32::MAX }
}

const fn since(minor: u32, property: Property) -> Property {
    Property { since: minor, ..property }
}

const fn until(minor: u32, property: Property) -> Property {
    Property { until: minor, ..property }
}

use Scalar::{Bool, Bytes, Duration, Mac, Number, OneOf, Path, Secret, Text};

const CONTAINER: &[Property] = &[
    since(19, p("name", Text, None)),
    p("remote-image", Text, None),
    p("file", Text, None),
    p("interface", Text, None),
    p("root-dir", Path, None),
    since(21, p("layer-dir", Text, Some(""))),
    since(21, p("env", Text, Some(""))),
    until(19, p("envlist", Text, Some(""))),
    since(20, p("envlists", Text, Some(""))),
    until(20, p("mounts", Text, Some(""))),
    since(21, p("mountlists", Text, Some(""))),
    since(21, p("mount", Text, Some(""))),
    p("cmd", Text, Some("")),
    p("entrypoint", Text, Some("")),
    p("workdir", Text, Some("")),
    p("user", Text, Some("")),
    p("hostname", Text, Some("")),
    p("domain-name", Text, Some("")),
    p("dns", Text, Some("")),
    p("logging", Bool, Some("false")),
    p("start-on-boot", Bool, Some("false")),
    until(19, p("stop-signal", Number, Some("15"))),
    since(20, p("stop-signal", Text, Some("15-SIGTERM"))),
    since(21, p("stop-time", Duration, Some("10s"))),
    since(20, p("check-certificate", Bool, Some("true"))),
    Property { since: 20, until: 22, ..p("auto-restart-interval", Text, Some("none")) },
    since(23, p("restart-policy", OneOf(&["no", "on-failure", "always"]), Some("no"))),
    since(23, p("restart-interval", Duration, Some("0s"))),
    since(23, p("restart-max-count", Number, Some("0"))),
    since(20, p("memory-high", Bytes, Some("unlimited"))),
    since(23, p("memory-max", Bytes, Some("unlimited"))),
    since(21, p("cpu-list", Text, Some(""))),
    p("comment", Text, None),
];

const ENVS: &[Property] = &[
    until(19, p("name", Text, None)),
    since(20, p("list", Text, None)),
    p("key", Text, None),
    p("value", Text, None),
    since(21, p("disabled", Bool, Some("false"))),
    p("comment", Text, None),
];

const MOUNTS: &[Property] = &[
    until(20, p("name", Text, None)),
    since(21, p("list", Text, None)),
    p("src", Path, Some("/")),
    p("dst", Path, None),
    Property { since: 20, until: 22, ..p("read-only", Bool, Some("false")) },
    since(23, p("mode", OneOf(&["rw", "ro", "rw,noexec", "ro,noexec"]), Some("rw"))),
    since(21, p("disabled", Bool, Some("false"))),
    p("comment", Text, None),
];

const VETH: &[Property] = &[
    p("name", Text, None),
    p("address", Text, Some("")),
    p("gateway", Text, Some("")),
    p("gateway6", Text, Some("")),
    since(20, p("mac-address", Mac, None)),
    since(21, p("container-mac-address", Mac, None)),
    since(20, p("dhcp", Bool, Some("false"))),
    p("disabled", Bool, Some("false")),
    p("comment", Text, None),
];

const BRIDGE: &[Property] = &[
    p("name", Text, None),
    p("mtu", Text, Some("auto")),
    p("arp", Text, Some("enabled")),
    p("protocol-mode", OneOf(&["none", "stp", "rstp", "mstp"]), Some("rstp")),
    p("fast-forward", Bool, Some("true")),
    p("auto-mac", Bool, Some("true")),
    p("ageing-time", Duration, Some("5m")),
    p("vlan-filtering", Bool, Some("false")),
    p("igmp-snooping", Bool, Some("false")),
    p("dhcp-snooping", Bool, Some("false")),
    p("disabled", Bool, Some("false")),
    p("comment", Text, None),
];

const BRIDGE_PORT: &[Property] = &[
    p("interface", Text, None),
    p("bridge", Text, None),
    p("priority", Text, Some("0x80")),
    p("edge", Text, Some("auto")),
    p("point-to-point", Text, Some("auto")),
    p("learn", Text, Some("auto")),
    p("horizon", Text, Some("none")),
    p("hw", Bool, Some("true")),
    p("pvid", Text, Some("1")),
    p("disabled", Bool, Some("false")),
    p("comment", Text, None),
];

const ADDRESS: &[Property] = &[
    p("address", Text, None),
    p("interface", Text, None),
    p("network", Text, None),
    p("disabled", Bool, Some("false")),
    p("comment", Text, None),
];

const ARP: &[Property] = &[
    p("address", Text, None),
    p("mac-address", Mac, None),
    p("interface", Text, None),
    p("published", Bool, Some("false")),
    p("disabled", Bool, Some("false")),
    p("comment", Text, None),
];

const USER: &[Property] = &[
    p("name", Text, None),
    p("group", Text, None),
    p("password", Secret, None),
    p("address", Text, Some("")),
    p("disabled", Bool, Some("false")),
    p("comment", Text, None),
];

impl Menu {
    /// All of them.
    pub const ALL: [Menu; 9] = [
        Self::Container,
        Self::Envs,
        Self::Mounts,
        Self::Veth,
        Self::Bridge,
        Self::BridgePort,
        Self::Address,
        Self::Arp,
        Self::User,
    ];

    /// Path below `/rest`.
    pub fn path(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Envs => "container/envs",
            Self::Mounts => "container/mounts",
            Self::Veth => "interface/veth",
            Self::Bridge => "interface/bridge",
            Self::BridgePort => "interface/bridge/port",
            Self::Address => "ip/address",
            Self::Arp => "ip/arp",
            Self::User => "user",
        }
    }

    fn every_property(self) -> &'static [Property] {
        match self {
            Self::Container => CONTAINER,
            Self::Envs => ENVS,
            Self::Mounts => MOUNTS,
            Self::Veth => VETH,
            Self::Bridge => BRIDGE,
            Self::BridgePort => BRIDGE_PORT,
            Self::Address => ADDRESS,
            Self::Arp => ARP,
            Self::User => USER,
        }
    }

    /// Properties of a release.
    pub fn properties(self, release: &Release) -> impl Iterator<Item = &'static Property> {
        let minor = release.minor;
        self.every_property().iter().filter(move |property| (property.since..=property.until).contains(&minor))
    }

    /// Properties a new row must have, in the order they are asked for.
    pub fn required(self, release: &Release) -> Vec<&'static str> {
        match self {
            Self::Container => vec!["interface"],
            Self::Envs => vec![self.list_name(release), "key", "value"],
            Self::Mounts => vec![self.list_name(release), "dst"],
            Self::Veth | Self::Bridge => vec!["name"],
            Self::BridgePort => vec!["interface", "bridge"],
            Self::Address | Self::Arp => vec!["address", "interface"],
            Self::User => vec!["name", "group"],
        }
    }

    /// What the list of an environment or mount row is called.
    pub fn list_name(self, release: &Release) -> &'static str {
        let renamed = if self == Self::Mounts { 21 } else { 20 };
        if release.from(renamed) { "list" } else { "name" }
    }

    /// Whether rows can be addressed by name.
    pub fn is_named(self) -> bool {
        matches!(self, Self::Container | Self::Veth | Self::Bridge | Self::User)
    }

    /// Words of its path.
    pub fn words(self) -> Vec<&'static str> {
        self.path().split('/').collect()
    }

    /// What its rows are numbered with: interfaces of all kinds share their numbers.
    pub fn numbered_with(self) -> &'static str {
        match self {
            Self::Veth | Self::Bridge => "interface",
            other => other.path(),
        }
    }

    /// Commands of a release that this device can carry out.
    pub fn commands(self, release: &Release) -> Vec<&'static str> {
        let mut commands = vec!["add", "comment", "print", "remove", "set"];
        match self {
            Self::Container => {
                commands.extend(["start", "stop"]);
                if release.from(21) {
                    commands.push("kill");
                }
                if release.from(23) {
                    commands.push("restart");
                }
            }
            Self::Envs | Self::Mounts if !release.from(21) => {}
            _ => commands.extend(["enable", "disable"]),
        }
        commands
    }
}
