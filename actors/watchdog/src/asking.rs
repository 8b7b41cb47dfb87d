//! What a probe asks, once it is known where its container is.

use mkube_model::neighbours::prober::Question;
use mkube_model::probes::Handler;

/// What is asked, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A question over the network.
    Question(Question),
    /// A command in the container.
    Command(Vec<String>),
}

/// What a probe asks of the container at `address`; nothing when it needs one and there is none.
pub fn asked(handler: &Handler, address: Option<String>) -> Option<Asked> {
    let at = |host: &Option<String>| host.clone().or_else(|| address.clone());
    let question = match handler {
        Handler::Exec { command } => return Some(Asked::Command(command.clone())),
        Handler::Http { https, host, port, path, headers } => {
            Question::Http { https: *https, host: at(host)?, port: *port, path: path.clone(), headers: headers.clone() }
        }
        Handler::Tcp { host, port } => Question::Tcp { host: at(host)?, port: *port },
        Handler::Grpc { port, service } => Question::Grpc { host: address?, port: *port, service: service.clone() },
    };
    Some(Asked::Question(question))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_is_asked_unless_the_probe_names_somebody_else() {
        let tcp = |host: Option<&str>| Handler::Tcp { host: host.map(str::to_owned), port: 80 };
        let asked = |host| asked(&tcp(host), Some("10.90.0.2".into()));
        let question = |host: &str| Some(Asked::Question(Question::Tcp { host: host.into(), port: 80 }));
        assert_eq!(asked(None), question("10.90.0.2"));
        assert_eq!(asked(Some("db.lo")), question("db.lo"));
    }

    #[test]
    fn a_command_needs_no_address_and_a_connection_does() {
        let command = vec!["true".to_owned()];
        assert_eq!(asked(&Handler::Exec { command: command.clone() }, None), Some(Asked::Command(command)));
        assert_eq!(asked(&Handler::Tcp { host: None, port: 80 }, None), None);
    }
}
