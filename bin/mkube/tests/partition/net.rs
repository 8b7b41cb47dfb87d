//! Controllers, NATS and the device on a bridge, each in a namespace of its own, and what can go wrong between two of them.

use std::collections::BTreeMap;

use crate::dice::Dice;
use crate::line::{Line, Quality};
use crate::namespace::Namespace;

/// Who has a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// A controller.
    First,
    /// Another one.
    Second,
    Nats,
    Device,
    /// On the way to the device where there are two controllers: notes who asks for what.
    Notebook,
}

impl Who {
    /// Its address; nobody outside of the namespaces ever sees it.
    pub fn address(self) -> String {
        format!("10.98.0.{}", self as usize + 2)
    }

    /// Of two controllers the one this is not.
    pub fn other(self) -> Self {
        if self == Self::First { Self::Second } else { Self::First }
    }
}

const HUB: &str = "10.98.0.1";

/// What happens to a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The cable of the party that is asked is pulled out.
    Unplugged,
    /// Packets of both directions are lost.
    Cut,
    /// Whoever asks hears nothing, and is heard.
    Deaf,
    /// Whoever asks hears everything, and is not heard.
    Mute,
    /// Every packet is answered with a reset.
    Refused,
    /// Everything goes over a line of this quality.
    Line(Quality),
}

/// Who asks whom.
pub type Link = (Who, Who);

/// A fault that is in force until it is mended.
pub struct Trouble {
    link: Link,
    fault: Fault,
    line: Option<Line>,
    /// Rules, as they were appended.
    rules: Vec<String>,
}

/// The net.
pub struct Net {
    hub: Namespace,
    members: BTreeMap<Who, Namespace>,
    ports: BTreeMap<Who, u16>,
}

impl Net {
    /// Everybody reaches everybody. NATS and the device listen on these ports.
    pub fn new(parties: &[Who], nats: u16, device: u16) -> Self {
        let hub = Namespace::new();
        hub.command("ip link add bridge type bridge");
        hub.command(&format!("ip addr add {HUB}/24 dev bridge"));
        hub.command("ip link set bridge up");
        let mut members = BTreeMap::new();
        for who in parties {
            let member = Namespace::new();
            hub.command(&format!("ip link add {who:?} type veth peer name eth0 netns {}", member.id()));
            hub.command(&format!("ip link set {who:?} master bridge up"));
            member.command(&format!("ip addr add {}/24 dev eth0", who.address()));
            member.command("ip link set eth0 up");
            members.insert(*who, member);
        }
        Self { hub, members, ports: [(Who::Nats, nats), (Who::Device, device)].into() }
    }

    /// Where somebody is.
    pub fn at(&self, who: Who) -> &Namespace {
        &self.members[&who]
    }

    /// The line of the notebook, which is always good.
    pub fn notebook(&self, dice: Dice) -> Line {
        let port = self.ports[&Who::Device];
        let upstream = format!("{}:{port}", Who::Device.address());
        let here = self.at(Who::Notebook);
        Line::new(Some(here), &format!("0.0.0.0:{port}"), here, &upstream, dice)
    }

    /// A line on the hub that everything a link carries goes over from its next connection on.
    fn detour(&self, (from, to): Link, dice: Dice) -> (Line, String) {
        let (address, port) = (to.address(), self.ports[&to]);
        let upstream = format!("{address}:{port}");
        let line = Line::new(Some(&self.hub), &format!("{HUB}:0"), &self.hub, &upstream, dice);
        let rule = format!("OUTPUT -p tcp -d {address} --dport {port} -j DNAT --to-destination {HUB}:{}", line.port);
        self.at(from).command(&format!("iptables -w -t nat -A {rule}"));
        (line, format!("-t nat -D {rule}"))
    }

    /// Something goes wrong from now on.
    pub fn trouble(&self, link: Link, fault: Fault, dice: Dice) -> Trouble {
        let (from, to) = (self.at(link.0), link.1.address());
        let (mut rules, mut line) = (Vec::new(), None);
        let mut rule = |text: String| {
            from.command(&format!("iptables -w -A {text}"));
            rules.push(format!("-D {text}"));
        };
        match fault {
            Fault::Unplugged => self.hub.command(&format!("ip link set {:?} down", link.1)),
            Fault::Cut => {
                rule(format!("INPUT -s {to} -j DROP"));
                rule(format!("OUTPUT -d {to} -j DROP"));
            }
            Fault::Deaf => rule(format!("INPUT -s {to} -j DROP")),
            Fault::Mute => rule(format!("OUTPUT -d {to} -j DROP")),
            Fault::Refused => rule(format!("OUTPUT -p tcp -d {to} -j REJECT --reject-with tcp-reset")),
            Fault::Line(quality) => {
                let (detour, undo) = self.detour(link, dice);
                detour.set(quality);
                line = Some(detour);
                // Connections that go the straight way end.
                rule(format!("OUTPUT -p tcp -d {to} -j REJECT --reject-with tcp-reset"));
                rules.push(undo);
            }
        }
        Trouble { link, fault, line, rules }
    }

    /// It is over. What a line still holds may arrive now, `late`, or never.
    pub fn mend(&self, trouble: Trouble, late: Option<std::time::Duration>) {
        let Trouble { link, fault, line, rules } = trouble;
        if fault == Fault::Unplugged {
            self.hub.command(&format!("ip link set {:?} up", link.1));
        }
        for rule in rules {
            self.at(link.0).command(&format!("iptables -w {rule}"));
        }
        if let (Some(line), Some(late)) = (&line, late) {
            line.set(Quality::Good);
            crate::dev::pause(late);
        }
    }
}
