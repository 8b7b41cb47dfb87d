//! What a probe asks, once it is known where its container is.

use mkube_model::neighbours::prober::Question;
use mkube_model::probes::Handler;

/// The question of a probe to the container at `address`.
pub fn question(handler: &Handler, address: &str) -> Question {
    let at = |host: &Option<String>| host.clone().unwrap_or_else(|| address.to_owned());
    match handler {
        Handler::Http { https, host, port, path, headers } => {
            Question::Http { https: *https, host: at(host), port: *port, path: path.clone(), headers: headers.clone() }
        }
        Handler::Tcp { host, port } => Question::Tcp { host: at(host), port: *port },
        Handler::Grpc { port, service } => {
            Question::Grpc { host: address.to_owned(), port: *port, service: service.clone() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_is_asked_unless_the_probe_names_somebody_else() {
        let tcp = |host: Option<&str>| Handler::Tcp { host: host.map(str::to_owned), port: 80 };
        let asked = |host| question(&tcp(host), "10.90.0.2");
        assert_eq!(asked(None), Question::Tcp { host: "10.90.0.2".into(), port: 80 });
        assert_eq!(asked(Some("db.lo")), Question::Tcp { host: "db.lo".into(), port: 80 });
    }
}
