//! Who may do what: basic and bearer credentials, roles, pulling without a name.
//!
//! Where nobody may pull without a name, clients are asked for Basic. Where that is allowed they are sent for a token instead, as the
//! public registries do: Docker's client neither pulls without a name from a registry that asks for Basic, nor sends a password to
//! one that does not ask at all. Basic and fixed bearer tokens are taken in both cases.

mod passes;
mod passwords;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mkube_model::neighbours::wall_clock::WallClock;
use mkube_model::settings::{RegistryAccessSettings, RegistryRole};
use ring::hmac;
use tokio::sync::Semaphore;

use passes::Passes;
use passwords::Password;

use crate::names::RepositoryName;
use crate::parts::{Access, AccessPolicy, AccessRequest, Action};
pub use passwords::hash_password;

/// Passwords checked at the same time: each costs a processor for a while.
const CHECKS: usize = 2;
/// Longest wait for one's turn.
const TURN: Duration = Duration::from_secs(5);
/// Good passwords remembered, so that each is worked out once.
const REMEMBERED: usize = 1024;
/// Told with a 403.
pub(crate) const DENIED: &str = "this needs the role write, and a name the registry is known by";
/// No name and no password, as some clients send it for "nobody".
const NOBODY: &str = ":";

/// What a request wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted<'r> {
    /// Learn whether this is a registry, and how to log in.
    Version,
    /// List repositories.
    Catalogue,
    /// Read from a repository.
    Pull(&'r str),
    /// Write into a repository.
    Push(&'r str),
    /// Delete from a repository.
    Delete(&'r str),
}

/// The name under which the client reached this registry, for telling where tokens are had.
#[derive(Debug, Clone, Copy)]
pub struct Reached<'r> {
    /// Whether through TLS.
    pub encrypted: bool,
    /// The `Host` of the request.
    pub host: &'r str,
}

/// Whether a request may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Yes; by whom, where a name was given.
    Granted(Option<String>),
    /// Not without better credentials: 401, with this value of `WWW-Authenticate`.
    Unauthenticated(String),
    /// Not with these credentials: 403, `DENIED`.
    Denied,
    /// Too many passwords are being checked: 429.
    Busy,
}

/// Why access cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum AccessFault {
    /// A hash that cannot be read.
    #[error(
        "access.users: the password of {0:?} begins like a hash and is not one that mkube knows; make one with `mkube registry --hash-password`"
    )]
    Hash(String),
    /// No random numbers.
    #[error("the machine gives no random numbers")]
    Random,
}

/// Who somebody is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    name: Option<String>,
    role: RegistryRole,
}

/// Why credentials are not taken.
enum Refused {
    Wrong,
    Busy,
}

/// Who may do what.
pub struct AccessControl {
    users: Arc<Vec<(String, Password, RegistryRole)>>,
    /// Name, keyed digest, role.
    tokens: Vec<(String, hmac::Tag, RegistryRole)>,
    anonymous_pull: bool,
    /// Everybody may do everything.
    open: bool,
    /// Names this registry may be asked under; none: any.
    hosts: Option<Vec<String>>,
    /// Of this process only; nothing it protects outlives it.
    key: hmac::Key,
    passes: Passes,
    /// Keyed digests of name and password that were right.
    remembered: Mutex<Vec<(hmac::Tag, Holder)>>,
    checks: Semaphore,
}

impl fmt::Debug for AccessControl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let users: Vec<&str> = self.users.iter().map(|(name, ..)| name.as_str()).collect();
        formatter
            .debug_struct("AccessControl")
            .field("users", &users)
            .field("anonymous_pull", &self.anonymous_pull)
            .finish_non_exhaustive()
    }
}

fn highest(roles: &[RegistryRole]) -> RegistryRole {
    roles.iter().copied().max().unwrap_or(RegistryRole::Read)
}

impl AccessControl {
    /// From checked settings.
    ///
    /// # Errors
    /// A password hash of a kind nobody knows here.
    pub fn new(settings: &RegistryAccessSettings, clock: Arc<dyn WallClock>) -> Result<Self, AccessFault> {
        let random = ring::rand::SystemRandom::new();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random).map_err(|_| AccessFault::Random)?;
        let mut users = Vec::new();
        for user in &settings.users {
            let password = Password::parse(user.password.expose(), &key).ok_or(AccessFault::Hash(user.name.clone()))?;
            users.push((user.name.clone(), password, highest(&user.roles)));
        }
        let token = |token: &mkube_model::settings::RegistryToken| {
            (token.name.clone(), hmac::sign(&key, token.token.expose().as_bytes()), highest(&token.roles))
        };
        Ok(Self {
            open: users.is_empty() && settings.tokens.is_empty(),
            hosts: None,
            users: Arc::new(users),
            tokens: settings.tokens.iter().map(token).collect(),
            anonymous_pull: settings.anonymous_pull,
            passes: Passes::new(clock)?,
            remembered: Mutex::default(),
            checks: Semaphore::new(CHECKS),
            key,
        })
    }

    /// Answers only under these names, without port: for a registry on this machine alone, which a web page in a browser of this
    /// machine could reach under a name of its own.
    #[must_use]
    pub fn only_called(mut self, names: Vec<String>) -> Self {
        self.hosts = Some(names);
        self
    }

    fn is_called(&self, host: &str) -> bool {
        let bare = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        self.hosts.as_ref().is_none_or(|names| names.iter().any(|name| name.eq_ignore_ascii_case(bare)))
    }

    /// Decides about one request by its `Authorization`.
    pub async fn judge(&self, authorization: Option<&str>, wanted: Wanted<'_>, reached: Reached<'_>) -> Decision {
        if !self.is_called(reached.host) {
            return Decision::Denied;
        }
        if self.open {
            return Decision::Granted(None);
        }
        let holder = match self.identify(authorization).await {
            Ok(holder) => holder,
            Err(Refused::Busy) => return Decision::Busy,
            Err(Refused::Wrong) => return Decision::Unauthenticated(self.challenge(wanted, reached)),
        };
        let writes = matches!(wanted, Wanted::Push(_) | Wanted::Delete(_));
        match holder {
            Some(holder) if writes && holder.role < RegistryRole::Write && holder.name.is_none() => {
                Decision::Unauthenticated(self.challenge(wanted, reached))
            }
            Some(holder) if writes && holder.role < RegistryRole::Write => Decision::Denied,
            Some(holder) => Decision::Granted(holder.name),
            // Whoever only asks how to log in is told, even where pulling is free: see the top of this file.
            None if self.anonymous_pull && !writes && wanted != Wanted::Version => Decision::Granted(None),
            None => Decision::Unauthenticated(self.challenge(wanted, reached)),
        }
    }

    /// What `GET /v2/_token` answers: a pass for some minutes, for whoever the credentials say, or for nobody.
    pub async fn issue(
        &self,
        authorization: Option<&str>,
        reached: Reached<'_>,
    ) -> Result<serde_json::Value, Decision> {
        let refused = || Decision::Unauthenticated(format!("Basic realm=\"{}\"", printable(reached.host)));
        let holder = match self.identify(authorization).await {
            Ok(Some(holder)) => holder,
            Ok(None) if self.open || self.anonymous_pull => Holder { name: None, role: RegistryRole::Read },
            Ok(None) | Err(Refused::Wrong) => return Err(refused()),
            Err(Refused::Busy) => return Err(Decision::Busy),
        };
        Ok(self.passes.issue(holder.name.as_deref(), holder.role))
    }

    /// The credentials' owner; `None` without credentials.
    async fn identify(&self, authorization: Option<&str>) -> Result<Option<Holder>, Refused> {
        let Some(authorization) = authorization.map(str::trim).filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        let (scheme, value) = authorization.split_once(' ').ok_or(Refused::Wrong)?;
        let value = value.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.bearer(value).ok_or(Refused::Wrong).map(Some);
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(Refused::Wrong);
        }
        let pair = STANDARD.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(Refused::Wrong)?;
        if pair == NOBODY {
            return Ok(None);
        }
        let (name, password) = pair.split_once(':').ok_or(Refused::Wrong)?;
        // `docker login` has no place for a bearer token: its name and the token as the password do as well.
        if let Some(holder) = self.bearer(password)
            && holder.name.as_deref() == Some(name)
        {
            return Ok(Some(holder));
        }
        self.user(name, password, &pair).await.map(Some)
    }

    fn bearer(&self, token: &str) -> Option<Holder> {
        let known =
            self.tokens.iter().find(|(_, tag, _)| hmac::verify(&self.key, token.as_bytes(), tag.as_ref()).is_ok());
        match known {
            Some((name, _, role)) => Some(Holder { name: Some(name.clone()), role: *role }),
            None => self.passes.read(token).map(|(name, role)| Holder { name, role }),
        }
    }

    async fn user(&self, name: &str, password: &str, pair: &str) -> Result<Holder, Refused> {
        let remembered = |tag: &hmac::Tag| hmac::verify(&self.key, pair.as_bytes(), tag.as_ref()).is_ok();
        {
            let known = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, holder)) = known.iter().find(|(tag, _)| remembered(tag)) {
                return Ok(holder.clone());
            }
        }
        let turn = tokio::time::timeout(TURN, self.checks.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(Refused::Busy) };
        let (users, key) = (self.users.clone(), self.key.clone());
        let (owned_name, owned_password) = (name.to_owned(), password.to_owned());
        let check = move || {
            // A name nobody has costs the same work, so that the time taken does not tell the names.
            let user = users.iter().find(|(known, ..)| *known == owned_name);
            let slow = || users.iter().find(|(_, password, _)| password.is_slow());
            let compared = user.or_else(|| slow().or_else(|| users.first()));
            let right = compared.is_some_and(|(_, password, _)| password.is(&owned_password, &key));
            user.filter(|_| right).map(|(_, _, role)| *role)
        };
        let role = tokio::task::spawn_blocking(check).await.ok().flatten().ok_or(Refused::Wrong)?;
        let holder = Holder { name: Some(name.to_owned()), role };
        let mut known = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.push((hmac::sign(&self.key, pair.as_bytes()), holder.clone()));
        Ok(holder)
    }

    fn challenge(&self, wanted: Wanted<'_>, reached: Reached<'_>) -> String {
        let host = printable(reached.host);
        if !self.anonymous_pull {
            return format!("Basic realm=\"{host}\"");
        }
        let scheme = if reached.encrypted { "https" } else { "http" };
        let scope = match wanted {
            Wanted::Version => String::new(),
            Wanted::Catalogue => ",scope=\"registry:catalog:*\"".to_owned(),
            Wanted::Pull(repository) => format!(",scope=\"repository:{}:pull\"", printable(repository)),
            Wanted::Push(repository) => format!(",scope=\"repository:{}:pull,push\"", printable(repository)),
            Wanted::Delete(repository) => format!(",scope=\"repository:{}:delete\"", printable(repository)),
        };
        format!("Bearer realm=\"{scheme}://{host}/v2/_token\",service=\"{host}\"{scope}")
    }
}

#[async_trait]
impl AccessPolicy for AccessControl {
    async fn decide(&self, request: &AccessRequest<'_>) -> Access {
        let repository = request.repository.map_or("", RepositoryName::as_str);
        let wanted = match request.action {
            Action::Ping => Wanted::Version,
            Action::Catalog => Wanted::Catalogue,
            Action::Pull => Wanted::Pull(repository),
            Action::Push => Wanted::Push(repository),
            Action::Delete => Wanted::Delete(repository),
        };
        let reached = Reached { encrypted: request.secure, host: request.host };
        match self.judge(request.authorization, wanted, reached).await {
            Decision::Granted(_) => Access::Allow,
            Decision::Unauthenticated(challenge) => Access::Challenge(challenge),
            Decision::Denied => Access::Deny(DENIED.to_owned()),
            Decision::Busy => Access::Busy,
        }
    }
}

/// What a client sent, fit to stand in quotes in a header.
fn printable(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || ".:[]-_/*".contains(*c)).take(300).collect()
}

#[cfg(test)]
mod tests;
