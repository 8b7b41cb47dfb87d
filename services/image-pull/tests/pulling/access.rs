//! As whom registries are asked, whom they are taken for, and what nobody else gets to see.

use std::sync::Arc;

use base64::Engine;
use mkube_model::neighbours::tarballs::{Archive, ImageRequest, PullPolicy, RegistryCredential, TarballFault};
use mkube_model::secret::Secret;
use mkube_model::settings::ImageRegistry;

use crate::image::oci;
use crate::registry::{Lie, Registry, Seen};
use crate::world::{World, plain, request};

fn challenge(status: u16, text: &str) -> Lie {
    Lie::Status(status, vec![("WWW-Authenticate".to_owned(), text.to_owned())], b"{}".to_vec())
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

/// Wants this user and password.
fn wants_basic(registry: &Registry, user: &str, password: &str) {
    let right = basic(user, password);
    registry.lie(move |seen| {
        (seen.authorization.as_deref() != Some(&right)).then(|| challenge(401, "Basic realm=\"registry\""))
    });
}

/// Gives tokens at `/token` to `user` (none: to anybody), and wants one for everything else.
fn wants_token(registry: &Registry, user: Option<(&str, &str)>) {
    let realm =
        format!("Bearer realm=\"http://{}/token\",service=\"here\",scope=\"repository:app:pull\"", registry.host());
    let right = user.map(|(user, password)| basic(user, password));
    registry.lie(move |seen| {
        if !seen.path.starts_with("/token") {
            return (seen.authorization.as_deref() != Some("Bearer t0ken")).then(|| challenge(401, &realm));
        }
        let body = br#"{"token":"t0ken","expires_in":300}"#.to_vec();
        Some(if right.is_none() || seen.authorization == right {
            Lie::Status(200, vec![], body)
        } else {
            Lie::Status(401, vec![], vec![])
        })
    });
}

fn entry(registry: &Registry, user: &str, password: &str) -> ImageRegistry {
    ImageRegistry { user: user.to_owned(), password: Secret::new(password), ..plain(&registry.host()) }
}

fn credential(registry: &str, user: &str, password: &str) -> RegistryCredential {
    RegistryCredential { registry: registry.to_owned(), user: user.to_owned(), password: Secret::new(password) }
}

fn honest() -> Registry {
    let registry = Registry::start();
    registry.put("app", "1", &oci("amd64", &[&[("a", b"x")]]));
    registry
}

/// Pulls `app:1` with these entries and the pod's credentials.
async fn pull(
    registry: &Registry,
    entries: Vec<ImageRegistry>,
    given: Vec<RegistryCredential>,
) -> Result<Archive, TarballFault> {
    let mut world = World::new(&[]);
    world.options.registries = entries;
    let source = world.open().await;
    let request = ImageRequest { credentials: given, ..request(&registry.reference("app:1"), PullPolicy::Always) };
    source.ensure(&request).await
}

#[tokio::test]
async fn credentials_of_configuration_and_pod_open_registries_of_every_kind() {
    for by_token in [false, true] {
        let close = |registry: &Registry| match by_token {
            true => wants_token(registry, Some(("bob", "hunter2"))),
            false => wants_basic(registry, "bob", "hunter2"),
        };
        let registry = honest();
        close(&registry);
        pull(&registry, vec![entry(&registry, "bob", "hunter2")], vec![]).await.expect("by the configuration");
        let host = registry.host();
        pull(&registry, vec![plain(&host)], vec![credential(&host, "bob", "hunter2")]).await.expect("by the pod");
        // The more exact one is wrong, the other right: each is tried.
        let two = vec![credential(&host, "bob", "hunter2"), credential(&format!("{host}/app"), "eve", "x")];
        pull(&registry, vec![entry(&registry, "old", "old")], two).await.expect("by the second");
        for (entries, given) in [
            (vec![plain(&host)], vec![]),
            (vec![entry(&registry, "bob", "wrong")], vec![]),
            (vec![plain(&host)], vec![credential("elsewhere:5000", "bob", "hunter2")]),
            (vec![plain(&host)], vec![credential(&format!("{host}/other"), "bob", "hunter2")]),
        ] {
            let fault = pull(&registry, entries, given).await.expect_err("closed");
            let text = fault.to_string();
            assert!(matches!(fault, TarballFault::Denied { .. }), "by token: {by_token}: {text}");
            assert!(!text.contains("hunter2") && !text.contains("wrong"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_public_image_of_a_registry_with_tokens_needs_no_password() {
    let registry = honest();
    wants_token(&registry, None);
    pull(&registry, vec![plain(&registry.host())], vec![]).await.expect("to anybody");
    let tokens: Vec<Seen> = registry.seen().into_iter().filter(|seen| seen.path.starts_with("/token")).collect();
    assert_eq!(tokens.len(), 1, "one token is enough for all requests");
    assert_eq!(tokens[0].authorization, None);
    assert_eq!(tokens[0].path, "/token?service=here&scope=repository%3Aapp%3Apull");
}

#[tokio::test]
async fn a_token_that_expired_early_is_replaced() {
    let registry = honest();
    let (host, mut given) = (registry.host(), 0);
    registry.lie(move |seen| {
        if seen.path.starts_with("/token") {
            given += 1;
            let body = format!("{{\"access_token\":\"t{given}\",\"expires_in\":300}}");
            return Some(Lie::Status(200, vec![], body.into_bytes()));
        }
        // Only the newest holds, and only for two requests.
        let right = format!("Bearer t{given}");
        let holds = given > 0
            && seen.authorization.as_deref() == Some(&right)
            && !(given == 1 && seen.path.contains("/blobs/"));
        (!holds).then(|| challenge(401, &format!("bearer Realm=\"http://{host}/token\"")))
    });
    pull(&registry, vec![plain(&registry.host())], vec![]).await.expect("with a second token");
    assert_eq!(registry.count("/token"), 2);
}

#[tokio::test]
async fn a_token_server_that_is_overloaded_is_no_refusal() {
    let registry = honest();
    let (host, mut refused) = (registry.host(), 0);
    registry.lie(move |seen| {
        if seen.path.starts_with("/token") {
            refused += 1;
            let busy = Lie::Status(503, vec![], vec![]);
            return Some(if refused < 3 { busy } else { Lie::Status(200, vec![], br#"{"token":"t"}"#.to_vec()) });
        }
        seen.authorization.is_none().then(|| challenge(401, &format!("Bearer realm=\"http://{host}/token\"")))
    });
    pull(&registry, vec![plain(&registry.host())], vec![]).await.expect("at the third attempt");
    // One that gives out what is no token at all.
    let registry = honest();
    let host = registry.host();
    registry.lie(move |seen| match seen.path.starts_with("/token") {
        true => Some(Lie::Status(200, vec![], "{\"token\":\"a\\nb\"}".into())),
        false => Some(challenge(401, &format!("Bearer realm=\"http://{host}/token\""))),
    });
    let fault = pull(&registry, vec![plain(&registry.host())], vec![]).await.expect_err("no token").to_string();
    assert!(fault.contains("without a token"), "{fault}");
}

#[tokio::test]
async fn a_redirect_takes_the_layer_along_and_the_password_not() {
    let (registry, store) = (honest(), honest());
    wants_basic(&registry, "bob", "hunter2");
    let to = store.host();
    let right = basic("bob", "hunter2");
    registry.lie(move |seen| {
        let own = seen.path.contains("/blobs/") && seen.authorization.as_deref() == Some(&right);
        own.then(|| Lie::Status(307, vec![("Location".to_owned(), format!("http://{to}{}", seen.path))], vec![]))
    });
    // The other is given its own credentials only by its own challenge, not by a redirect.
    let entries = vec![entry(&registry, "bob", "hunter2"), entry(&store, "bob", "hunter2")];
    pull(&registry, entries, vec![]).await.expect("by way of the other");
    assert_eq!(store.seen().len(), 2);
    assert!(store.seen().iter().all(|seen| seen.authorization.is_none()), "{:?}", store.seen());
}

#[tokio::test]
async fn nobody_is_led_out_of_tls_or_in_circles() {
    let (registry, other) = (honest(), honest());
    let to = other.host();
    registry.lie(move |_| {
        Some(Lie::Status(302, vec![("Location".to_owned(), format!("http://{to}/v2/app/manifests/1"))], vec![]))
    });
    let fault = pull(&registry, vec![plain(&registry.host())], vec![]).await.expect_err("not over TLS").to_string();
    assert!(fault.contains("not over TLS") && other.seen().is_empty(), "{fault}");
    registry.be_honest();
    registry.lie(|seen| Some(Lie::Status(302, vec![("Location".to_owned(), seen.path.clone())], vec![])));
    let fault = pull(&registry, vec![plain(&registry.host())], vec![]).await.expect_err("in circles").to_string();
    assert!(fault.contains("more than 5 times"), "{fault}");
    // A token server that is not over TLS gets no password.
    registry.be_honest();
    let realm = format!("Bearer realm=\"http://{}/token\"", other.host());
    registry.lie(move |_| Some(challenge(401, &realm)));
    let fault = pull(&registry, vec![entry(&registry, "bob", "hunter2")], vec![]).await.expect_err("plain").to_string();
    assert!(fault.contains("gets no password") && other.seen().is_empty(), "{fault}");
}

#[tokio::test]
async fn plain_http_is_for_registries_that_are_said_to_want_it() {
    let registry = honest();
    let fault = pull(&registry, vec![], vec![]).await.expect_err("no TLS there");
    assert!(matches!(&fault, TarballFault::Unreachable { why, .. } if why.contains("plainHTTP")), "{fault}");
    assert_eq!(registry.seen().len(), 0, "nothing was asked without TLS");
}

fn authority() -> (rcgen::CertifiedIssuer<'static, rcgen::KeyPair>, String) {
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).expect("parameters");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer =
        rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().expect("a key")).expect("signed");
    let pem = issuer.pem();
    (issuer, pem)
}

fn server(issuer: &rcgen::CertifiedIssuer<'static, rcgen::KeyPair>) -> Registry {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
    let certificate = params.signed_by(&key, issuer).expect("signed");
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![certificate.der().clone()], key).expect("a certificate");
    let registry = Registry::start_with(Some(Arc::new(config)));
    registry.put("app", "1", &oci("amd64", &[&[("a", b"x")]]));
    registry
}

#[tokio::test]
async fn a_registry_is_believed_by_the_authority_that_is_named_for_it() {
    let (issuer, pem) = authority();
    let registry = server(&issuer);
    let reference = registry.reference("app:1");
    let mut world = World::new(&[]);
    // Nobody vouches for it.
    let fault = world.open().await.always(&reference).await.expect_err("unknown").to_string();
    assert!(fault.contains("certificate") && fault.contains("caFile"), "{fault}");
    // As the local registry, by registry.tlsCACertFile; a missing file does not switch verification off.
    world.options.local_addresses = vec![registry.host()];
    let fault = world.open().await.always(&reference).await.expect_err("no authority").to_string();
    assert!(fault.contains("tlsCACertFile"), "{fault}");
    std::fs::write(&world.options.local_authority, &pem).expect("written");
    let source = world.open().await;
    source.always(&reference).await.expect("by the local authority");
    // By a file of its own, also one that was replaced meanwhile.
    let file = world.directory.path().join("own.crt");
    std::fs::write(&file, authority().1).expect("written");
    let entry = ImageRegistry { plain_http: false, ca_file: Some(file.clone()), ..plain(&registry.host()) };
    let mut world = World::new(&[]);
    world.options.registries = vec![entry];
    let source = world.open().await;
    source.always(&reference).await.expect_err("another's authority");
    std::fs::write(&file, format!("{pem}\n")).expect("written");
    source.always(&reference).await.expect("its own");
    std::fs::remove_file(&file).expect("gone");
    let archive = world.open().await.always(&reference).await.expect("cached");
    assert!(archive.stale.as_deref().is_some_and(|why| why.contains("own.crt")), "{:?}", archive.stale);
}

#[tokio::test]
async fn mirrors_are_asked_first_and_the_registry_where_they_fail() {
    let (registry, mirror, broken) = (honest(), Registry::start(), Registry::start());
    let image = oci("amd64", &[&[("a", b"x")]]);
    broken.lie(|_| Some(Lie::Status(500, vec![], vec![])));
    let entries = || {
        let mirrors = vec![broken.host(), mirror.host()];
        let own = ImageRegistry { mirrors, ..entry(&registry, "bob", "hunter2") };
        vec![own, plain(&mirror.host()), plain(&broken.host())]
    };
    pull(&registry, entries(), vec![]).await.expect("from the registry");
    assert!(broken.count("/app/") > 0 && mirror.count("/app/manifests/1") == 1);
    mirror.put("app", "1", &image);
    registry.forget();
    pull(&registry, entries(), vec![]).await.expect("from the mirror");
    assert_eq!(registry.seen().len(), 0);
    // A mirror that lies about a layer is left for the registry itself.
    let length = image.layers[0].len();
    let layer = image.layer(0);
    mirror.lie(move |seen| seen.path.contains(&layer).then(|| Lie::Body(vec![1; length])));
    pull(&registry, entries(), vec![]).await.expect("its layer from the registry");
    assert_eq!(registry.count("/blobs/"), 1);
    // What the registry itself says counts.
    mirror.lie(|_| Some(Lie::Silence));
    let mut world = World::new(&[]);
    world.options.registries = entries();
    let fault = world.open().await.always(&registry.reference("other:1")).await.expect_err("nowhere");
    assert!(matches!(fault, TarballFault::NotFound { .. }), "{fault}");
}
