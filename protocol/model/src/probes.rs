//! Probes of containers, as a pod's spec declares them.

use std::time::Duration;

use serde_json::Value;

/// What one probe asks, once the container's address is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handler {
    /// A GET.
    Http {
        /// Over TLS.
        https: bool,
        /// Who is asked instead of the container.
        host: Option<String>,
        /// Port.
        port: u16,
        /// Path, with its query.
        path: String,
        /// Headers, in order.
        headers: Vec<(String, String)>,
    },
    /// A connection.
    Tcp {
        /// Who is asked instead of the container.
        host: Option<String>,
        /// Port.
        port: u16,
    },
    /// The health checking protocol of gRPC.
    Grpc {
        /// Port.
        port: u16,
        /// Name of the service; empty: the server as a whole.
        service: String,
    },
    /// A command in the container, where the device runs commands.
    Exec {
        /// Program and arguments.
        command: Vec<String>,
    },
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What it asks.
    pub handler: Handler,
    /// How long after the container's start it is asked first.
    pub initial_delay: Duration,
    /// Pause between two questions.
    pub period: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Good answers in a row that make it succeed.
    pub success_threshold: u32,
    /// Bad answers in a row that make it fail.
    pub failure_threshold: u32,
}

/// The probes of one container that can be asked. One that cannot, whatever it is, counts as absent: it must never look like a
/// failure.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Probes {
    /// `startupProbe`.
    pub startup: Option<Probe>,
    /// `livenessProbe`.
    pub liveness: Option<Probe>,
    /// `readinessProbe`.
    pub readiness: Option<Probe>,
    /// Names of those that are declared and cannot be asked.
    pub unsupported: Vec<&'static str>,
}

/// The fields of a container that hold probes.
pub const FIELDS: [&str; 3] = ["startupProbe", "livenessProbe", "readinessProbe"];

impl Probes {
    /// The probes of an element of `spec.containers`. Lenient: what is wrong in it was refused on the way in.
    pub fn of(container: &Value) -> Self {
        let mut unsupported = Vec::new();
        let mut read = |field: &'static str| {
            let declared = container.get(field).filter(|probe| probe.is_object())?;
            let probe = probe(declared, container);
            if probe.is_none() {
                unsupported.push(field);
            }
            probe
        };
        let [startup, liveness, readiness] = FIELDS.map(&mut read);
        Self { startup, liveness, readiness, unsupported }
    }

    /// Whether there is none that can be asked.
    pub fn is_empty(&self) -> bool {
        self.startup.is_none() && self.liveness.is_none() && self.readiness.is_none()
    }
}

fn probe(declared: &Value, container: &Value) -> Option<Probe> {
    let number = |field: &str, default: u32| {
        let written = declared[field].as_u64().and_then(|number| u32::try_from(number).ok());
        written.filter(|number| *number > 0).unwrap_or(default)
    };
    let seconds = |field: &str, default: u32| Duration::from_secs(number(field, default).into());
    Some(Probe {
        handler: handler(declared, container)?,
        initial_delay: seconds("initialDelaySeconds", 0),
        period: seconds("periodSeconds", 10),
        timeout: seconds("timeoutSeconds", 1),
        success_threshold: number("successThreshold", 1),
        failure_threshold: number("failureThreshold", 3),
    })
}

fn handler(declared: &Value, container: &Value) -> Option<Handler> {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    if let Some(http) = declared.get("httpGet").filter(|http| http.is_object()) {
        let header = |header: &Value| Some((text(&header["name"])?, text(&header["value"]).unwrap_or_default()));
        return Some(Handler::Http {
            https: http["scheme"].as_str().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
            host: text(&http["host"]),
            port: port(&http["port"], container)?,
            path: text(&http["path"]).unwrap_or_else(|| "/".to_owned()),
            headers: http["httpHeaders"].as_array().into_iter().flatten().filter_map(header).collect(),
        });
    }
    if let Some(tcp) = declared.get("tcpSocket").filter(|tcp| tcp.is_object()) {
        return Some(Handler::Tcp { host: text(&tcp["host"]), port: port(&tcp["port"], container)? });
    }
    if let Some(exec) = declared.get("exec").filter(|exec| exec.is_object()) {
        let words = exec["command"].as_array().into_iter().flatten();
        let command: Vec<String> = words.filter_map(|word| word.as_str().map(str::to_owned)).collect();
        return (!command.is_empty()).then_some(Handler::Exec { command });
    }
    let grpc = declared.get("grpc").filter(|grpc| grpc.is_object())?;
    let service = text(&grpc["service"]).unwrap_or_default();
    Some(Handler::Grpc { port: port(&grpc["port"], container)?, service })
}

/// The port that a number, or the name of a port of the container, stands for.
pub fn port(written: &Value, container: &Value) -> Option<u16> {
    let number = match written.as_str() {
        None => written.as_u64(),
        Some(name) => {
            let ports = container.get("ports").and_then(Value::as_array);
            let named = ports.into_iter().flatten().find(|port| port["name"] == name);
            named.and_then(|port| port["containerPort"].as_u64())
        }
    };
    number.and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_field_of_a_probe_is_read_and_names_of_ports_are_looked_up() {
        let container = json!({"name": "c", "ports": [{"name": "web", "containerPort": 8080}], "livenessProbe": {
            "httpGet": {"scheme": "HTTPS", "host": "h", "path": "/up", "port": "web",
                "httpHeaders": [{"name": "A", "value": "1"}]},
            "initialDelaySeconds": 3, "periodSeconds": 5, "timeoutSeconds": 2, "successThreshold": 1, "failureThreshold": 7,
        }});
        let liveness = Probes::of(&container).liveness.expect("a probe");
        let http = Handler::Http {
            https: true,
            host: Some("h".into()),
            port: 8080,
            path: "/up".into(),
            headers: vec![("A".into(), "1".into())],
        };
        assert_eq!(liveness.handler, http);
        let seconds = [liveness.initial_delay, liveness.period, liveness.timeout].map(|one| one.as_secs());
        assert_eq!(seconds, [3, 5, 2]);
        assert_eq!((liveness.success_threshold, liveness.failure_threshold), (1, 7));
    }

    #[test]
    fn what_is_not_written_is_as_in_kubernetes() {
        let probes = Probes::of(&json!({"readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 0}}));
        let readiness = probes.readiness.expect("a probe");
        assert_eq!(readiness.handler, Handler::Tcp { host: None, port: 80 });
        assert_eq!((readiness.initial_delay.as_secs(), readiness.period.as_secs()), (0, 10));
        assert_eq!((readiness.timeout.as_secs(), readiness.failure_threshold), (1, 3));
    }

    #[test]
    fn a_command_is_read_word_by_word() {
        let probes = Probes::of(&json!({"livenessProbe": {"exec": {"command": ["sh", "-c", "exit 1"]}}}));
        let command = ["sh", "-c", "exit 1"].map(str::to_owned).to_vec();
        assert_eq!(probes.liveness.expect("a probe").handler, Handler::Exec { command });
    }

    #[test]
    fn a_probe_that_cannot_be_asked_is_absent_and_named() {
        let probes = Probes::of(&json!({
            "livenessProbe": {"exec": {"command": []}},
            "readinessProbe": {"httpGet": {"port": "nowhere"}},
            "startupProbe": {"grpc": {"port": 90, "service": "s"}},
        }));
        assert_eq!((probes.liveness, probes.readiness), (None, None));
        assert_eq!(probes.unsupported, ["livenessProbe", "readinessProbe"]);
        let startup = probes.startup.expect("a probe");
        assert_eq!(startup.handler, Handler::Grpc { port: 90, service: "s".into() });
    }
}
