use std::os::unix::fs::PermissionsExt;

use super::*;

fn names() -> Vec<String> {
    ["localhost", "127.0.0.1", "registry.gt.lo"].map(str::to_owned).to_vec()
}

fn at(days: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + days * 86_400).expect("a time")
}

fn source(directory: &Path) -> CertificateSource {
    CertificateSource::Own { directory: directory.to_owned(), names: names() }
}

fn leaf(pair: &CertifiedKey) -> Vec<u8> {
    pair.cert[0].to_vec()
}

fn read(directory: &Path, name: &str) -> String {
    std::fs::read_to_string(directory.join(name)).expect("it is there")
}

#[test]
fn an_authority_and_a_certificate_are_made_once_and_the_keys_are_the_owners_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = load(&source(dir.path()), at(0)).expect("made");
    for name in ["ca.key", "tls.key"] {
        let mode = std::fs::metadata(dir.path().join(name)).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let again = load(&source(dir.path()), at(1)).expect("read");
    assert_eq!(leaf(&first), leaf(&again));
    assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 4, "nothing in passing is left");
}

#[test]
fn before_its_end_another_certificate_is_signed_by_the_same_authority() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = load(&source(dir.path()), at(0)).expect("made");
    let (ca, key) = (read(dir.path(), "ca.crt"), read(dir.path(), "ca.key"));
    let same = load(&source(dir.path()), at(i64::from(SERVER_DAYS - SERVER_EARLY_DAYS) - 2)).expect("read");
    assert_eq!(leaf(&first), leaf(&same), "not before it is time");
    let renewed = load(&source(dir.path()), at(i64::from(SERVER_DAYS - SERVER_EARLY_DAYS) + 2)).expect("renewed");
    assert_ne!(leaf(&first), leaf(&renewed));
    assert_eq!((ca, key), (read(dir.path(), "ca.crt"), read(dir.path(), "ca.key")));
}

#[test]
fn an_authority_near_its_end_is_signed_anew_with_the_same_key() {
    let dir = tempfile::tempdir().expect("a directory");
    load(&source(dir.path()), at(0)).expect("made");
    let (ca, key) = (read(dir.path(), "ca.crt"), read(dir.path(), "ca.key"));
    load(&source(dir.path()), at(i64::from(AUTHORITY_DAYS) - 100)).expect("renewed");
    assert_ne!(ca, read(dir.path(), "ca.crt"));
    assert_eq!(key, read(dir.path(), "ca.key"));
}

#[test]
fn a_name_more_is_reason_for_another_certificate_and_one_less_is_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = load(&source(dir.path()), at(0)).expect("made");
    let with = |names: &[&str]| CertificateSource::Own {
        directory: dir.path().to_owned(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
    };
    let fewer = load(&with(&["localhost"]), at(0)).expect("read");
    assert_eq!(leaf(&first), leaf(&fewer));
    let more = load(&with(&["localhost", "192.168.200.3"]), at(0)).expect("made");
    assert_ne!(leaf(&first), leaf(&more));
}

#[test]
fn an_authority_whose_key_is_damaged_is_never_replaced() {
    let dir = tempfile::tempdir().expect("a directory");
    load(&source(dir.path()), at(0)).expect("made");
    std::fs::write(dir.path().join("ca.key"), "-----BEGIN hunter2").expect("written");
    let fault = load(&source(dir.path()), at(0)).expect_err("refused").to_string();
    assert!(fault.contains("ca.key") && !fault.contains("hunter2"), "{fault}");
    assert_eq!(read(dir.path(), "ca.key"), "-----BEGIN hunter2");
}

#[test]
fn a_certificate_and_key_that_do_not_fit_are_made_again_when_they_are_ours() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = load(&source(dir.path()), at(0)).expect("made");
    // As a crash between the two files leaves it.
    let other = KeyPair::generate().expect("a key");
    std::fs::write(dir.path().join("tls.key"), other.serialize_pem()).expect("written");
    let again = load(&source(dir.path()), at(0)).expect("made again");
    assert_ne!(leaf(&first), leaf(&again));
}

/// As the Go installer left it: signed by an authority whose key was never stored.
fn as_the_go_installer(directory: &Path, now: Timestamp) {
    load(&source(directory), now).expect("made");
    std::fs::remove_file(directory.join("ca.key")).expect("removed");
    std::fs::remove_file(directory.join("ca.crt")).expect("removed");
}

#[test]
fn what_the_go_installer_made_is_served_until_it_ends_and_then_an_authority_of_our_own_takes_over() {
    let dir = tempfile::tempdir().expect("a directory");
    as_the_go_installer(dir.path(), at(0));
    let before = read(dir.path(), "tls.crt");
    let adopted = load(&source(dir.path()), at(i64::from(SERVER_DAYS) - 1)).expect("adopted");
    assert_eq!(before, read(dir.path(), "tls.crt"));
    assert!(!dir.path().join("ca.key").exists(), "no authority is made while the old one serves");
    let after = load(&source(dir.path()), at(i64::from(SERVER_DAYS) + 1)).expect("made");
    assert_ne!(leaf(&adopted), leaf(&after));
    assert!(dir.path().join("ca.crt").exists());
}

#[test]
fn a_given_pair_is_read_and_a_broken_one_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    load(&source(dir.path()), at(0)).expect("made");
    let given = |certificate: &str, key: &str| CertificateSource::Given {
        certificate: dir.path().join(certificate),
        key: dir.path().join(key),
    };
    load(&given("tls.crt", "tls.key"), at(0)).expect("read");
    for (certificate, key, named) in [
        ("nowhere.crt", "tls.key", "nowhere.crt"),
        ("tls.crt", "nowhere.key", "nowhere.key"),
        ("tls.key", "tls.key", "no certificate"),
        ("tls.crt", "tls.crt", "no private key"),
        ("tls.crt", "ca.key", "does not fit"),
    ] {
        let fault = load(&given(certificate, key), at(0)).expect_err("refused").to_string();
        assert!(fault.contains(named), "{fault}");
    }
}

#[test]
fn a_key_as_the_go_installer_writes_it_is_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"])
        .args(["-subj", "/CN=registry.gt.lo", "-keyout", "pkcs8.key", "-out", "tls.crt"])
        .current_dir(dir.path())
        .output();
    let to_sec1 = std::process::Command::new("openssl")
        .args(["ec", "-in", "pkcs8.key", "-out", "tls.key"])
        .current_dir(dir.path())
        .output();
    if !made.is_ok_and(|made| made.status.success()) || !to_sec1.is_ok_and(|made| made.status.success()) {
        eprintln!("!!! SKIPPED: a key in SEC1 form: openssl is not installed");
        return;
    }
    assert!(read(dir.path(), "tls.key").contains("BEGIN EC PRIVATE KEY"));
    let source = CertificateSource::Given { certificate: dir.path().join("tls.crt"), key: dir.path().join("tls.key") };
    load(&source, at(0)).expect("read");
}
