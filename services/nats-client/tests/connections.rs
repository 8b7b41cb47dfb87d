//! Every way to say who we are, over real servers; and what is said when it is not believed.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::StreamExt;
use mkube_model::secret::{Secret, SecretUrl};
use mkube_model::settings::{NatsSettings, NatsTlsSettings};
use mkube_nats_client::{NatsFault, connect};
use mkube_nats_server_fixture::NatsServer;
use nkeys::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

fn settings(server: &NatsServer) -> NatsSettings {
    NatsSettings { url: SecretUrl::new(server.url()), replicas: 1, ..NatsSettings::default() }
}

/// Connects and hears what it said itself.
async fn works(settings: &NatsSettings) {
    let connection = connect(settings, "mkube").await.expect("let in");
    let answer = async {
        let mut heard = connection.client.subscribe("here").await.expect("there");
        connection.client.publish("here", "said".into()).await.expect("there");
        heard.next().await.expect("a message").payload
    };
    let heard = tokio::time::timeout(Duration::from_secs(20), answer).await.expect("an answer");
    assert_eq!(heard.as_ref(), b"said");
}

async fn refused(settings: &NatsSettings) -> String {
    match connect(settings, "mkube").await {
        Ok(_) => panic!("let in"),
        Err(NatsFault::Refused(why)) => why,
        Err(other) => panic!("{other:?}"),
    }
}

fn file(directory: &TempDir, name: &str, text: &str) -> Option<PathBuf> {
    let path = directory.path().join(name);
    std::fs::write(&path, text).expect("written");
    Some(path)
}

#[tokio::test]
async fn a_user_with_a_password_is_let_in_from_keys_or_address_and_nobody_else() {
    let server = NatsServer::start_with("authorization { user: bob, password: \"p@ss:w0rd\" }");
    let plain = settings(&server);
    let keys = NatsSettings { user: "bob".into(), password: Secret::new("p@ss:w0rd"), ..plain.clone() };
    works(&keys).await;
    for who in ["bob:p@ss:w0rd", "bob:p%40ss%3Aw0rd"] {
        let url = SecretUrl::new(format!("nats://{who}@127.0.0.1:{}", server.port()));
        works(&NatsSettings { url, ..plain.clone() }).await;
    }
    let wrong = NatsSettings { password: Secret::new("hunter2"), ..keys };
    let why = refused(&wrong).await;
    assert!(why.contains("nats.user bob") && !why.contains("hunter2"), "{why}");
    let url = SecretUrl::new(format!("nats://bob:hunter2@127.0.0.1:{}", server.port()));
    let why = refused(&NatsSettings { url, ..plain.clone() }).await;
    assert!(why.contains("nats.url") && !why.contains("hunter2"), "{why}");
    assert!(refused(&plain).await.contains("nats.user"));
}

#[tokio::test]
async fn a_token_is_let_in_from_key_or_address() {
    let server = NatsServer::start_with("authorization { token: \"s3cret\" }");
    let plain = settings(&server);
    works(&NatsSettings { token: Secret::new("s3cret"), ..plain.clone() }).await;
    let url = SecretUrl::new(format!("nats://s3cret@127.0.0.1:{}", server.port()));
    works(&NatsSettings { url, ..plain.clone() }).await;
    let why = refused(&NatsSettings { token: Secret::new("hunter2"), ..plain }).await;
    assert!(why.contains("nats.token") && !why.contains("hunter2"), "{why}");
}

#[tokio::test]
async fn a_key_is_let_in_and_its_seed_is_never_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let (key, stranger) = (KeyPair::new_user(), KeyPair::new_user());
    let server = NatsServer::start_with(&format!("authorization {{ users: [ {{ nkey: {} }} ] }}", key.public_key()));
    let seed = |key: &KeyPair| key.seed().expect("a seed");
    let with = |name, text: &str| NatsSettings { nkey_file: file(&directory, name, text), ..settings(&server) };
    works(&with("key", &format!("# ours\n{}\n", seed(&key)))).await;
    let why = refused(&with("stranger", &seed(&stranger))).await;
    assert!(why.contains("nats.nkeyFile") && why.contains("stranger") && !why.contains(&seed(&stranger)), "{why}");
    for (name, text) in [("empty", ""), ("torn", &seed(&key)[..20])] {
        match connect(&with(name, text), "mkube").await {
            Err(NatsFault::Settings(why)) => assert!(why.contains(name) && !why.contains(&seed(&key)[..20]), "{why}"),
            other => panic!("{name}: {:?}", other.map(drop)),
        }
    }
}

/// A token as `nsc` signs them.
fn signed(issuer: &KeyPair, subject: &KeyPair, name: &str, nats: Value) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(json!({"typ": "JWT", "alg": "ed25519-nkey"}));
    let body = part(
        json!({"jti": name, "iat": 1, "iss": issuer.public_key(), "sub": subject.public_key(), "name": name, "nats": nats}),
    );
    let signature = issuer.sign(format!("{head}.{body}").as_bytes()).expect("signed");
    format!("{head}.{body}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test]
async fn a_file_of_credentials_is_let_in() {
    let directory = tempfile::tempdir().expect("a directory");
    let (operator, account, user) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
    let operator_token = signed(&operator, &operator, "operator", json!({"type": "operator", "version": 2}));
    let unlimited = json!({"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1});
    let account_token = |account: &KeyPair| {
        let limits = json!({"type": "account", "version": 2, "limits": unlimited});
        format!("{}: {}", account.public_key(), signed(&operator, account, "account", limits))
    };
    let system = KeyPair::new_account();
    let user_token = |issuer| {
        signed(issuer, &user, "user", json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1}))
    };
    let config = format!(
        "operator: {operator_token}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload {{\n{}\n{}\n}}",
        system.public_key(),
        account_token(&account),
        account_token(&system)
    );
    let server = NatsServer::start_with(&config);
    let credentials = |token: &str| {
        let seed = user.seed().expect("a seed");
        format!(
            "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    };
    let with = |name, text: &str| NatsSettings { credentials_file: file(&directory, name, text), ..settings(&server) };
    works(&with("good", &credentials(&user_token(&account)))).await;
    let why = refused(&with("stranger", &credentials(&user_token(&KeyPair::new_account())))).await;
    assert!(why.contains("stranger") && !why.contains(&user.seed().expect("a seed")), "{why}");
    match connect(&with("text", "no credentials"), "mkube").await {
        Err(NatsFault::Settings(why)) => assert!(why.contains("nats.credentialsFile"), "{why}"),
        other => panic!("{:?}", other.map(drop)),
    }
}

#[tokio::test]
async fn tls_is_spoken_with_the_named_authority_and_our_own_certificate() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = || {
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).expect("parameters");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().expect("a key")).expect("signed")
    };
    let (ours, other) = (authority(), authority());
    let certificate = |name: &str| {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
        let made = params.signed_by(&key, &ours).expect("signed");
        let cert = file(&directory, &format!("{name}.pem"), &made.pem());
        (cert, file(&directory, &format!("{name}.key"), &key.serialize_pem()))
    };
    let ca_file = file(&directory, "ca.pem", &ours.pem());
    let (server_cert, server_key) = certificate("server");
    let (cert_file, key_file) = certificate("client");
    let quoted = |path: &Option<PathBuf>| format!("{:?}", path.as_ref().expect("written"));
    let [cert, key, ca] = [&server_cert, &server_key, &ca_file].map(quoted);
    let server =
        NatsServer::start_with(&format!("tls {{ cert_file: {cert}, key_file: {key}, ca_file: {ca}, verify: true }}"));
    let with = |tls| NatsSettings { tls, ..settings(&server) };
    let full = NatsTlsSettings { ca_file, cert_file, key_file };
    works(&with(full.clone())).await;
    let strange = NatsTlsSettings { ca_file: file(&directory, "other.pem", &other.pem()), ..full.clone() };
    let nobody = NatsTlsSettings { cert_file: None, key_file: None, ..full.clone() };
    for tls in [strange, nobody, NatsTlsSettings::default()] {
        match connect(&with(tls), "mkube").await {
            Err(NatsFault::Unreachable(why)) => assert!(why.contains("127.0.0.1"), "{why}"),
            other => panic!("{:?}", other.map(drop)),
        }
    }
    let missing = NatsTlsSettings { ca_file: Some("/nowhere/ca.pem".into()), ..full.clone() };
    let empty = NatsTlsSettings { ca_file: file(&directory, "empty.pem", ""), ..full };
    for (tls, word) in [(missing, "/nowhere/ca.pem"), (empty, "no certificate is in it")] {
        match connect(&with(tls), "mkube").await {
            Err(NatsFault::Settings(why)) => assert!(why.contains(word) && why.contains("nats.tls.caFile"), "{why}"),
            other => panic!("{:?}", other.map(drop)),
        }
    }
    // A server without TLS gets nothing where TLS is wanted.
    let plain = NatsServer::start();
    let wanted = NatsSettings {
        tls: NatsTlsSettings { ca_file: file(&directory, "ca2.pem", &ours.pem()), ..Default::default() },
        ..settings(&plain)
    };
    assert!(connect(&wanted, "mkube").await.is_err());
}

#[tokio::test]
async fn a_connection_says_when_it_has_ended_and_does_not_come_back() {
    let mut server = NatsServer::start();
    let connection = connect(&settings(&server), "mkube").await.expect("let in");
    assert!(!connection.has_ended());
    server.kill();
    let why = tokio::time::timeout(Duration::from_secs(30), connection.ended()).await.expect("it is noticed");
    assert!(why.contains("lost") && connection.has_ended(), "{why}");
    let Err(NatsFault::Unreachable(why)) = connect(&settings(&server), "mkube").await else {
        panic!("nobody is there")
    };
    assert!(why.contains("127.0.0.1"), "{why}");
    server.start_again();
    works(&settings(&server)).await;
    assert!(connection.has_ended());
}
