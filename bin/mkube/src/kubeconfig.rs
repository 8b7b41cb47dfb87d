//! The kubeconfig of `mkube dev`: no secret in it, and still nobody else's business.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::json;

/// Writes the file, readable by its owner only; it appears as a whole.
pub fn write(path: &Path, api: SocketAddr) -> std::io::Result<()> {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "mkube",
        "clusters": [{"name": "mkube", "cluster": {"server": format!("http://{api}")}}],
        "users": [{"name": "mkube", "user": {}}],
        "contexts": [{"name": "mkube", "context": {"cluster": "mkube", "user": "mkube", "namespace": "default"}}],
        "preferences": {},
    });
    let temporary = path.with_extension("new");
    let mut file = std::fs::File::options().create(true).write(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(mkube_manifests::to_yaml(&config).as_bytes())?;
    std::fs::rename(&temporary, path)
}

/// The server of a kubeconfig's current context.
pub fn server(path: &Path) -> Option<String> {
    let config = mkube_manifests::parse_one(&std::fs::read_to_string(path).ok()?).ok()?;
    let named = |list: &str, name: &str| {
        config[list].as_array().and_then(|all| all.iter().find(|one| one["name"] == name).cloned())
    };
    let context = named("contexts", config["current-context"].as_str()?)?;
    let cluster = named("clusters", context.pointer("/context/cluster")?.as_str()?)?;
    Some(cluster.pointer("/cluster/server")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_file_is_private_and_names_the_server() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("kubeconfig");
        write(&path, "127.0.0.1:8082".parse().expect("an address")).expect("written");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(server(&path).as_deref(), Some("http://127.0.0.1:8082"));
    }
}
