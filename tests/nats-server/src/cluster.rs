//! Servers that know one another.

use mkube_free_ports::free_port;
use tempfile::TempDir;

use crate::server::NatsServer;

/// Servers that form one cluster. Streams with as many copies survive the loss of fewer than half of them.
pub struct NatsCluster {
    /// Each can be killed and started again.
    pub members: Vec<NatsServer>,
    _directory: TempDir,
}

impl NatsCluster {
    /// Starts so many and waits until they have a leader.
    pub fn start(members: usize) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let routes: Vec<u16> = (0..members).map(|_| free_port()).collect();
        let others: Vec<String> = routes.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
        let mut cluster = Self { members: Vec::new(), _directory: directory };
        for (number, route) in routes.iter().enumerate() {
            let name = format!("member{number}");
            let config =
                format!("cluster {{ name: test, listen: \"127.0.0.1:{route}\", routes: [{}] }}", others.join(", "));
            let place = cluster._directory.path().join(&name);
            let mut member = NatsServer::prepared(place, None, &name, &config, [free_port(), free_port()]);
            member.launch();
            cluster.members.push(member);
        }
        for member in &mut cluster.members {
            assert!(member.wait_until_ready(), "a member does not start:\n{}", member.log());
        }
        cluster
    }

    /// All addresses, as a client is told them.
    pub fn url(&self) -> String {
        self.members.iter().map(NatsServer::url).collect::<Vec<_>>().join(",")
    }
}
