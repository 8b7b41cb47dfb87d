//! Addresses of servers, without who we are.

use async_nats::ServerAddr;
use mkube_model::secret::{Secret, SecretUrl};

/// Where the servers are.
pub(crate) struct Addresses {
    /// Each one, without user or password, so that nothing that prints it prints them.
    pub(crate) servers: Vec<ServerAddr>,
    /// User and password, or a token, from the address.
    pub(crate) who: Option<Who>,
}

/// Who an address says we are.
#[derive(PartialEq, Eq)]
pub(crate) enum Who {
    /// A user with a password.
    User(String, Secret),
    /// Text before the `@` without a colon.
    Token(Secret),
}

pub(crate) fn addresses(url: &SecretUrl) -> Result<Addresses, String> {
    let mut found = Addresses { servers: Vec::new(), who: None };
    for text in url.expose().split(',').map(str::trim).filter(|text| !text.is_empty()) {
        let (scheme, rest) = text.split_once("://").unwrap_or(("nats", text));
        let (who, host) = match rest.rsplit_once('@') {
            Some((who, host)) => (Some(said(who)), host),
            None => (None, rest),
        };
        if host.is_empty() {
            return Err("nats.url: an address without a host".to_owned());
        }
        let server = format!("{scheme}://{host}");
        let server = server.parse().map_err(|_| format!("nats.url: {server} is not an address"))?;
        found.servers.push(server);
        match (&found.who, who) {
            (Some(before), Some(now)) if *before != now => {
                return Err("nats.url: all addresses must name the same user and password".to_owned());
            }
            (None, Some(now)) => found.who = Some(now),
            _ => {}
        }
    }
    if found.servers.is_empty() {
        return Err("nats.url is empty".to_owned());
    }
    Ok(found)
}

fn said(who: &str) -> Who {
    match who.split_once(':') {
        Some((user, password)) => Who::User(decoded(user), Secret::new(decoded(password))),
        None => Who::Token(Secret::new(decoded(who))),
    }
}

/// `%40` means `@`, as in every address; a `%` that begins nothing means itself.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        match after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(b'%');
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = (Vec<String>, Option<(String, String)>);

    fn read(text: &str) -> Result<Read, String> {
        let found = addresses(&SecretUrl::new(text))?;
        let servers = found.servers.iter().map(|server| format!("{}:{}", server.host(), server.port())).collect();
        let who = found.who.map(|who| match who {
            Who::User(user, password) => (user, password.expose().to_owned()),
            Who::Token(token) => (String::new(), token.expose().to_owned()),
        });
        Ok((servers, who))
    }

    #[test]
    fn servers_and_who_we_are_are_taken_apart() {
        let one = |host: &str| vec![host.to_owned()];
        let who = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(read("10.0.0.1"), Ok((one("10.0.0.1:4222"), None)));
        assert_eq!(read("nats://bob:p%40ss@h:1"), Ok((one("h:1"), who("bob", "p@ss"))));
        assert_eq!(read("nats://bob:50%@h:1"), Ok((one("h:1"), who("bob", "50%"))));
        assert_eq!(read("tls://s3cret@h"), Ok((one("h:4222"), who("", "s3cret"))));
        let two = vec!["a:1".to_owned(), "b:2".to_owned()];
        assert_eq!(read("nats://u:p@a:1, nats://b:2"), Ok((two, who("u", "p"))));
        for bad in ["", "nats://u:hunter2@a,nats://v:hunter2@b", "nats://u:hunter2@"] {
            let why = read(bad).expect_err(bad);
            assert!(!why.contains("hunter2"), "{why}");
        }
    }
}
