//! Who is asked for what. Pure.

use std::net::IpAddr;

use mkube_messages::dns::NamesView;

/// The name of the router in every network's zone.
const ROUTER: &str = "rose1";

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Zone whose server is asked.
    pub from: String,
    /// Zone it is asked for.
    pub to: String,
    /// The server.
    pub server: IpAddr,
    /// The name.
    pub name: String,
}

/// For each two networks' zones of different servers, both ways. Zones inside of these follow them, and those of addresses have no
/// such name.
pub fn questions(names: &NamesView) -> Vec<Question> {
    let bases = || {
        let own = names
            .zones
            .iter()
            .filter(|(name, zone)| zone.namespace.is_none() && zone.parent.is_empty() && !name.ends_with(".arpa"));
        own.filter_map(|(name, zone)| Some((name, zone.server?)))
    };
    let mut questions = Vec::new();
    for (from, server) in bases() {
        for (to, _) in bases().filter(|(to, other)| *to != from && *other != server) {
            let name = format!("{ROUTER}.{to}");
            questions.push(Question { from: from.clone(), to: to.clone(), server, name });
        }
    }
    questions
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use mkube_messages::dns::ZoneSight;

    #[test]
    fn every_server_is_asked_for_the_zones_of_the_others() {
        let zone = |server: &str, parent: &str| {
            Arc::new(ZoneSight { server: server.parse().ok(), parent: parent.into(), ..ZoneSight::default() })
        };
        let zones = [
            ("a.lo", zone("10.1.0.2", "")),
            ("b.lo", zone("10.2.0.2", "")),
            ("c.lo", zone("10.2.0.2", "")),
            ("none.lo", zone("none", "")),
            ("team.a.lo", zone("10.1.0.2", "a.lo")),
            ("1.10.in-addr.arpa", zone("10.1.0.2", "")),
        ];
        let view =
            NamesView { loaded: true, zones: zones.map(|(name, zone)| (name.to_owned(), zone)).into_iter().collect() };
        let asked: Vec<String> = questions(&view).iter().map(|one| format!("{} {}", one.server, one.name)).collect();
        assert_eq!(asked, ["10.1.0.2 rose1.b.lo", "10.1.0.2 rose1.c.lo", "10.2.0.2 rose1.a.lo", "10.2.0.2 rose1.a.lo"]);
    }
}
