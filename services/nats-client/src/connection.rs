//! One connection, from its beginning to its end.

use std::error::Error as _;
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerError};
use mkube_model::settings::NatsSettings;
use tokio::sync::watch;

use crate::address::{Who, addresses};
use crate::trust::client_config;

/// How long one server may take to greet us.
const GREETING: Duration = Duration::from_secs(5);
/// Pause between two questions whether the server is still there; after the third without an answer it is not.
const PING: Duration = Duration::from_secs(4);
/// How long an answer to a request may take.
const ANSWER: Duration = Duration::from_secs(5);

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NatsFault {
    /// Nobody answers there, or nothing that makes sense.
    #[error("{0}")]
    Unreachable(String),
    /// The server does not take us for who we say we are. Waiting does not help; somebody has to change something.
    #[error("{0}")]
    Refused(String),
    /// What the settings say cannot be used.
    #[error("{0}")]
    Settings(String),
}

/// A connection that works until it ends, and then never again.
#[derive(Clone)]
pub struct Connection {
    /// To speak.
    pub client: Client,
    ended: watch::Receiver<Option<String>>,
}

impl Connection {
    /// Returns when the connection has ended: why.
    pub async fn ended(&self) -> String {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => GONE.to_owned(),
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.borrow().is_some() || self.ended.has_changed().is_err()
    }
}

const GONE: &str = "the connection to NATS was lost";

/// Makes a connection. `name` is what the server lists it as.
pub async fn connect(settings: &NatsSettings, name: &str) -> Result<Connection, NatsFault> {
    let addresses = addresses(&settings.url).map_err(NatsFault::Settings)?;
    let (tell, ended) = watch::channel(None);
    let mut options = identified(settings, addresses.who)
        .await?
        .name(name)
        .connection_timeout(GREETING)
        .ping_interval(PING)
        .request_timeout(Some(ANSWER))
        // Each server is tried once; whoever wants more begins anew.
        .max_reconnects(addresses.servers.len())
        .reconnect_delay_callback(|_| Duration::ZERO)
        .ignore_discovered_servers()
        .event_callback(move |event| {
            let why = match event {
                Event::Disconnected | Event::Closed => Some(GONE.to_owned()),
                Event::ServerError(ServerError::AuthorizationViolation) => {
                    Some("the NATS server does not let us in any more".to_owned())
                }
                _ => None,
            };
            if let Some(why) = why {
                tell.send_if_modified(|told| told.is_none() && told.replace(why).is_none());
            }
            std::future::ready(())
        });
    let tls = &settings.tls;
    let must = tls.ca_file.is_some() || tls.cert_file.is_some();
    options = options.tls_client_config(client_config(tls).map_err(NatsFault::Settings)?).require_tls(must);
    let places: Vec<String> = addresses.servers.iter().map(|one| format!("{}:{}", one.host(), one.port())).collect();
    let client =
        options.connect(addresses.servers).await.map_err(|error| fault(settings, &places.join(", "), &error))?;
    Ok(Connection { client, ended })
}

async fn identified(settings: &NatsSettings, who: Option<Who>) -> Result<ConnectOptions, NatsFault> {
    let options = ConnectOptions::new();
    if !settings.user.is_empty() {
        return Ok(options.user_and_password(settings.user.clone(), settings.password.expose().to_owned()));
    }
    if !settings.token.is_empty() {
        return Ok(options.token(settings.token.expose().to_owned()));
    }
    if let Some(file) = &settings.nkey_file {
        let said =
            |error: &dyn std::fmt::Display| NatsFault::Settings(format!("nats.nkeyFile {}: {error}", file.display()));
        let text = tokio::fs::read_to_string(file).await.map_err(|error| said(&error))?;
        // The file of `nk -gen user`: the seed alone, perhaps with comments.
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let seed = lines.next().filter(|line| line.starts_with("SU"));
        let seed = seed.ok_or_else(|| said(&"no seed of a user (SU…) is in it"))?;
        return Ok(options.nkey(seed.to_owned()));
    }
    if let Some(file) = &settings.credentials_file {
        let said = |error: &dyn std::fmt::Display| {
            NatsFault::Settings(format!("nats.credentialsFile {}: {error}", file.display()))
        };
        let text = tokio::fs::read_to_string(file).await.map_err(|error| said(&error))?;
        return options.credentials(&text).map_err(|_| said(&"it is not a file of credentials"));
    }
    Ok(match who {
        Some(Who::User(user, password)) => options.user_and_password(user, password.expose().to_owned()),
        Some(Who::Token(token)) => options.token(token.expose().to_owned()),
        None => options,
    })
}

fn fault(settings: &NatsSettings, places: &str, error: &async_nats::ConnectError) -> NatsFault {
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation => {
            NatsFault::Refused(format!("the NATS server at {places} refuses {}", credentials(settings)))
        }
        ConnectErrorKind::Authentication => {
            NatsFault::Settings(format!("{} cannot sign what the NATS server at {places} asks", credentials(settings)))
        }
        ConnectErrorKind::Dns => NatsFault::Unreachable(format!("no address is known for NATS at {places}: {cause}")),
        ConnectErrorKind::TimedOut => NatsFault::Unreachable(format!("NATS at {places} does not greet us in time")),
        _ if cause.is_empty() => NatsFault::Unreachable(format!("NATS at {places} cannot be reached: {error}")),
        _ => NatsFault::Unreachable(format!("NATS at {places} cannot be reached: {cause}")),
    }
}

/// What we identify ourselves with, in words.
fn credentials(settings: &NatsSettings) -> String {
    if !settings.user.is_empty() {
        format!("nats.user {} with its password", settings.user)
    } else if !settings.token.is_empty() {
        "nats.token".to_owned()
    } else if let Some(file) = &settings.nkey_file {
        format!("the key in nats.nkeyFile {}", file.display())
    } else if let Some(file) = &settings.credentials_file {
        format!("the credentials in nats.credentialsFile {}", file.display())
    } else if settings.url.expose().contains('@') {
        "the user or token in nats.url".to_owned()
    } else {
        "us without a user; nats.user, nats.token, nats.nkeyFile and nats.credentialsFile say who we are".to_owned()
    }
}
