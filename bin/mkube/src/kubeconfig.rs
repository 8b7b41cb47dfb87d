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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ServerArgs;
    use crate::client::Access;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_file_is_private_and_names_the_server() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("kubeconfig");
        write(&path, "127.0.0.1:8082".parse().expect("an address")).expect("written");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let args = ServerArgs { server: None, token: None, ca: None, kubeconfig: Some(path) };
        assert_eq!(Access::of(&args).expect("understood").server, "http://127.0.0.1:8082");
    }
}
