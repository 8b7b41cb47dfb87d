//! What an upstream asks for in `WWW-Authenticate`.

use std::collections::HashMap;

/// How an upstream wants to be told who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Name and password with each request.
    Basic,
    /// A token from somewhere.
    Bearer {
        /// Where tokens are had.
        realm: String,
        /// For whom.
        service: Option<String>,
        /// For what; the usual one where none is named.
        scope: Option<String>,
    },
}

/// The first challenge that can be met; a token before a password.
pub(super) fn read<'h>(headers: impl Iterator<Item = &'h str>) -> Option<Challenge> {
    let mut basic = None;
    for header in headers {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            basic = Some(Challenge::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            continue;
        }
        let mut words = parameters(rest);
        if let Some(realm) = words.remove("realm") {
            return Some(Challenge::Bearer { realm, service: words.remove("service"), scope: words.remove("scope") });
        }
    }
    basic
}

/// `a="b",c=d`. Commas and escapes may stand in quotes.
fn parameters(text: &str) -> HashMap<String, String> {
    let mut found = HashMap::new();
    let mut rest = text.trim_start();
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ',']).to_ascii_lowercase();
        let after = after.trim_start();
        let mut value = String::new();
        let mut taken = after.len();
        if let Some(quoted) = after.strip_prefix('"') {
            let mut escaped = false;
            for (at, c) in quoted.char_indices() {
                match c {
                    _ if escaped => {
                        value.push(c);
                        escaped = false;
                    }
                    '\\' => escaped = true,
                    '"' => {
                        taken = at + 2;
                        break;
                    }
                    _ => value.push(c),
                }
            }
        } else {
            taken = after.find(',').unwrap_or(after.len());
            after[..taken].trim().clone_into(&mut value);
        }
        found.insert(name, value);
        rest = &after[taken..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_of_public_registries_are_read() {
        let github = r#"Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:owner/app:pull""#;
        let wanted = Challenge::Bearer {
            realm: "https://ghcr.io/token".to_owned(),
            service: Some("ghcr.io".to_owned()),
            scope: Some("repository:owner/app:pull".to_owned()),
        };
        assert_eq!(read([github].into_iter()), Some(wanted.clone()));
        let with_comma = r#"bearer scope="repository:a:pull,push", realm="https://x/\"t\"" , service=y"#;
        let Some(Challenge::Bearer { realm, service, scope }) = read([with_comma].into_iter()) else {
            panic!("bearer")
        };
        assert_eq!((realm.as_str(), service.as_deref()), (r#"https://x/"t""#, Some("y")));
        assert_eq!(scope.as_deref(), Some("repository:a:pull,push"));
        assert_eq!(read(["Basic realm=\"x\"", github].into_iter()), Some(wanted));
        assert_eq!(read(["Basic realm=\"x\""].into_iter()), Some(Challenge::Basic));
        for nothing in ["", "Bearer", "Bearer realm", "Negotiate", "Bearer \"", "Bearer =\""] {
            assert_eq!(read([nothing].into_iter()), None, "{nothing}");
        }
    }
}
