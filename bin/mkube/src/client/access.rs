//! Which server is meant, and what proves who asks: flags, the environment, a kubeconfig.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use base64::Engine as _;
use serde_json::Value;

use crate::cli::ServerArgs;
use crate::failure::{FAILED, Failure};

/// What `mkube dev` writes beside its data.
const HERE: &str = ".mkube/kubeconfig";
/// Where a controller listens that was told nothing else.
const USUAL: &str = "http://127.0.0.1:8082";

/// A server, and how to be let in.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Its address, without a slash at the end.
    pub server: String,
    /// Bearer token.
    pub token: Option<String>,
    /// Name and password.
    pub password: Option<(String, String)>,
    /// Authorities to believe, PEM.
    pub ca: Option<Vec<u8>>,
    /// Certificate and key of the client, PEM.
    pub identity: Option<Vec<u8>>,
    /// Believe any certificate.
    pub insecure: bool,
    /// Namespace that is meant when none is named.
    pub namespace: Option<String>,
}

impl Access {
    /// From the flags and the environment, or a kubeconfig. A server that is named gets no credentials that were meant for
    /// another one.
    pub fn of(args: &ServerArgs) -> Result<Self, Failure> {
        // A variable that is set to nothing is not set.
        let named = args.kubeconfig.as_ref().filter(|path| !path.as_os_str().is_empty());
        let mut access = match (&args.server, named.and_then(first_there)) {
            (Some(server), _) => Self { server: with_scheme(server), ..Self::default() },
            (None, Some(path)) => Self::of_file(&path)?,
            (None, None) if named.is_some() => {
                let named = named.map(|path| path.display().to_string()).unwrap_or_default();
                let failure = Failure::text(FAILED, format!("the kubeconfig {named} is not there"));
                return Err(failure.hint("--server, --kubeconfig or the variable KUBECONFIG name another one"));
            }
            (None, None) if Path::new(HERE).exists() => Self::of_file(Path::new(HERE))?,
            (None, None) => Self { server: USUAL.to_owned(), ..Self::default() },
        };
        if let Some(token) = &args.token {
            access.token = Some(token.clone());
        }
        if let Some(path) = &args.ca {
            access.ca = Some(read(path)?);
        }
        Ok(access)
    }

    fn of_file(path: &Path) -> Result<Self, Failure> {
        let bad = |error: anyhow::Error| Failure::new(FAILED, error.context(format!("kubeconfig {}", path.display())));
        let text = std::fs::read_to_string(path).map_err(|error| bad(error.into()))?;
        let config = mkube_manifests::parse_one(&text).map_err(|error| bad(error.into()))?;
        Self::of_config(&config, path.parent().unwrap_or(Path::new("."))).map_err(bad)
    }

    /// What the current context of a kubeconfig says; files it names lie beside it.
    fn of_config(config: &Value, beside: &Path) -> anyhow::Result<Self> {
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let named = |list: &str, name: &str, what: &str| {
            let found = config[list].as_array().into_iter().flatten().find(|one| one["name"] == name);
            found.map(|one| one[what].clone()).ok_or_else(|| anyhow!("there is no {what} {name:?} in it"))
        };
        let current = text(&config["current-context"]).ok_or_else(|| anyhow!("current-context is not set"))?;
        let context = named("contexts", &current, "context")?;
        let cluster = named("clusters", context["cluster"].as_str().unwrap_or_default(), "cluster")?;
        let user = match text(&context["user"]) {
            Some(name) => named("users", &name, "user")?,
            None => Value::Null,
        };
        let pem = |of: &Value, field: &str| -> anyhow::Result<Option<Vec<u8>>> {
            if let Some(data) = text(&of[format!("{field}-data")]) {
                let decoded = base64::engine::general_purpose::STANDARD.decode(data.trim());
                return decoded.map(Some).with_context(|| format!("{field}-data is not base64"));
            }
            let Some(path) = text(&of[field]) else { return Ok(None) };
            let path = beside.join(path);
            std::fs::read(&path).map(Some).with_context(|| path.display().to_string())
        };
        let identity = match (pem(&user, "client-certificate")?, pem(&user, "client-key")?) {
            (Some(certificate), Some(key)) => Some([&certificate[..], b"\n", &key].concat()),
            _ => None,
        };
        let token = match (text(&user["token"]), text(&user["tokenFile"])) {
            (None, Some(path)) => {
                let path = beside.join(path);
                let read = std::fs::read_to_string(&path).with_context(|| path.display().to_string());
                Some(read?.trim().to_owned())
            }
            (token, _) => token,
        };
        let server = text(&cluster["server"]).ok_or_else(|| anyhow!("its cluster has no server"))?;
        Ok(Self {
            server: with_scheme(&server),
            token,
            password: text(&user["username"]).zip(text(&user["password"])),
            ca: pem(&cluster, "certificate-authority")?,
            identity,
            insecure: cluster["insecure-skip-tls-verify"] == true,
            namespace: text(&context["namespace"]),
        })
    }
}

/// The first file of a list that is there; kubectl's variable may name several.
fn first_there(path: &PathBuf) -> Option<PathBuf> {
    std::env::split_paths(path).find(|path| path.exists())
}

fn with_scheme(server: &str) -> String {
    let server = server.trim().trim_end_matches('/');
    if server.contains("://") { server.to_owned() } else { format!("http://{server}") }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::text(FAILED, format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config() -> Value {
        json!({
            "current-context": "b",
            "clusters": [{"name": "one", "cluster": {"server": "http://one"}},
                {"name": "two", "cluster": {"server": "https://two/", "certificate-authority-data": "Q0E="}}],
            "users": [{"name": "me", "user": {"token": "t", "client-certificate-data": "Qw==", "client-key-data": "Sw=="}}],
            "contexts": [{"name": "a", "context": {"cluster": "one"}},
                {"name": "b", "context": {"cluster": "two", "user": "me", "namespace": "shop"}}],
        })
    }

    #[test]
    fn the_current_context_says_server_credentials_and_namespace() {
        let access = Access::of_config(&config(), Path::new(".")).expect("understood");
        let wanted = Access {
            server: "https://two".to_owned(),
            token: Some("t".to_owned()),
            ca: Some(b"CA".to_vec()),
            identity: Some(b"C\nK".to_vec()),
            namespace: Some("shop".to_owned()),
            ..Access::default()
        };
        assert_eq!(access, wanted);
    }

    #[test]
    fn what_is_missing_in_a_kubeconfig_is_named() {
        for (pointer, value, words) in [
            ("/current-context", json!("c"), "no context \"c\""),
            ("/current-context", Value::Null, "current-context is not set"),
            ("/contexts/1/context/cluster", json!("three"), "no cluster \"three\""),
            ("/clusters/1/cluster/certificate-authority-data", json!("%"), "not base64"),
        ] {
            let mut config = config();
            *config.pointer_mut(pointer).expect("there") = value;
            let why = Access::of_config(&config, Path::new(".")).expect_err(words).to_string();
            assert!(why.contains(words), "{words}: {why}");
        }
    }

    #[test]
    fn a_named_server_gets_no_credentials_of_a_kubeconfig() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("kubeconfig");
        std::fs::write(&path, config().to_string()).expect("written");
        let args =
            ServerArgs { server: Some("10.0.0.1:8082".to_owned()), token: None, ca: None, kubeconfig: Some(path) };
        let access = Access::of(&args).expect("understood");
        assert_eq!((access.server.as_str(), &access.token, &access.identity), ("http://10.0.0.1:8082", &None, &None));
        let args = ServerArgs { server: None, ..args };
        assert_eq!(Access::of(&args).expect("understood").token.as_deref(), Some("t"));
    }
}
