use jiff::Timestamp;
use mkube_model::secret::Secret;
use mkube_model::settings::{RegistryToken, RegistryUser};

use super::*;

struct SetClock(Mutex<i64>);

impl WallClock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(*self.0.lock().expect("not poisoned")).expect("a time")
    }
}

const HERE: Reached<'static> = Reached { encrypted: true, host: "registry.gt.lo:5000" };

fn settings(anonymous_pull: bool) -> RegistryAccessSettings {
    let user = |name: &str, password: &str, roles: &[RegistryRole]| RegistryUser {
        name: name.to_owned(),
        password: Secret::new(password),
        roles: roles.to_vec(),
    };
    // Of "hunter2-hashed", with few rounds so that the test is quick; as Python's hashlib works it out.
    let hashed = "$pbkdf2-sha256$i=1000,l=32$c2FsdHNhbHRzYWx0c2FsdA$".to_owned()
        + &base64::engine::general_purpose::STANDARD_NO_PAD.encode(python_pbkdf2());
    RegistryAccessSettings {
        anonymous_pull,
        users: vec![
            user("ann", "hunter2-ann", &[RegistryRole::Read, RegistryRole::Write]),
            user("bob", &hashed, &[RegistryRole::Read]),
        ],
        tokens: vec![RegistryToken {
            name: "ci".to_owned(),
            token: Secret::new("hunter2-token"),
            roles: vec![RegistryRole::Write],
        }],
    }
}

/// `hashlib.pbkdf2_hmac("sha256", b"hunter2-hashed", b"saltsaltsaltsalt", 1000, 32)`
fn python_pbkdf2() -> Vec<u8> {
    let hex = "864f5d293075d4d12e9aef0db7ce07d3987be838e147e3b4cc7c51efc4487b32";
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}

fn access(anonymous_pull: bool) -> (AccessControl, Arc<SetClock>) {
    let clock = Arc::new(SetClock(Mutex::new(1_800_000_000)));
    (AccessControl::new(&settings(anonymous_pull), clock.clone()).expect("fine"), clock)
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

const ALL: [Wanted<'static>; 5] =
    [Wanted::Version, Wanted::Catalogue, Wanted::Pull("app"), Wanted::Push("app"), Wanted::Delete("app")];

/// One letter for each thing wanted: granted, unauthenticated, denied.
async fn row(access: &AccessControl, authorization: Option<&str>) -> String {
    let mut row = String::new();
    for wanted in ALL {
        row.push(match access.judge(authorization, wanted, HERE).await {
            Decision::Granted(_) => 'g',
            Decision::Unauthenticated(_) => 'u',
            Decision::Denied => 'd',
            Decision::Busy => 'b',
        });
    }
    row
}

#[tokio::test]
async fn the_matrix_of_who_may_do_what() {
    let (closed, _) = access(false);
    let (pullable, _) = access(true);
    for (who, authorization, in_closed, in_pullable) in [
        ("nobody", None, "uuuuu", "ugguu"),
        ("nobody, as some clients say it", Some(basic("", "")), "uuuuu", "ugguu"),
        ("a writer", Some(basic("ann", "hunter2-ann")), "ggggg", "ggggg"),
        ("a reader", Some(basic("bob", "hunter2-hashed")), "gggdd", "gggdd"),
        ("a wrong password", Some(basic("ann", "hunter3")), "uuuuu", "uuuuu"),
        ("another's password", Some(basic("bob", "hunter2-ann")), "uuuuu", "uuuuu"),
        ("an unknown name", Some(basic("eve", "hunter2-ann")), "uuuuu", "uuuuu"),
        ("a token", Some("bearer hunter2-token".to_owned()), "ggggg", "ggggg"),
        ("a token as a password", Some(basic("ci", "hunter2-token")), "ggggg", "ggggg"),
        ("a token under another's name", Some(basic("ann", "hunter2-token")), "uuuuu", "uuuuu"),
        ("a wrong token", Some("Bearer hunter2".to_owned()), "uuuuu", "uuuuu"),
        ("the hash itself", Some(basic("bob", settings(false).users[1].password.expose())), "uuuuu", "uuuuu"),
        ("nonsense", Some("Basic %%%".to_owned()), "uuuuu", "uuuuu"),
        ("another scheme", Some("Digest x".to_owned()), "uuuuu", "uuuuu"),
    ] {
        assert_eq!(row(&closed, authorization.as_deref()).await, in_closed, "{who}, closed");
        assert_eq!(row(&pullable, authorization.as_deref()).await, in_pullable, "{who}, free to pull");
        assert_eq!(row(&closed, authorization.as_deref()).await, in_closed, "{who}, once more");
    }
}

#[tokio::test]
async fn without_users_and_tokens_everybody_may_do_everything() {
    let open = AccessControl::new(&RegistryAccessSettings::default(), Arc::new(SetClock(Mutex::new(0)))).expect("fine");
    assert_eq!(row(&open, None).await, "ggggg");
    assert_eq!(row(&open, Some(&basic("whoever", "whatever"))).await, "ggggg");
}

#[tokio::test]
async fn a_closed_registry_asks_for_basic_and_one_free_to_pull_sends_for_a_token() {
    let (closed, _) = access(false);
    let asked = closed.judge(None, Wanted::Push("team/app"), HERE).await;
    assert_eq!(asked, Decision::Unauthenticated("Basic realm=\"registry.gt.lo:5000\"".to_owned()));
    let (pullable, _) = access(true);
    let asked = pullable.judge(None, Wanted::Push("team/app"), HERE).await;
    let wanted = "Bearer realm=\"https://registry.gt.lo:5000/v2/_token\",service=\"registry.gt.lo:5000\",\
                  scope=\"repository:team/app:pull,push\"";
    assert_eq!(asked, Decision::Unauthenticated(wanted.to_owned()));
    let hostile = Reached { encrypted: false, host: "x\",evil=\"y\r\nSet-Cookie: z" };
    let Decision::Unauthenticated(header) = pullable.judge(None, Wanted::Version, hostile).await else {
        panic!("not granted")
    };
    assert!(!header.contains("evil=\"") && !header.contains('\r'), "{header}");
}

#[tokio::test]
async fn a_pass_stands_for_its_holder_until_its_time_is_over() {
    let (access, clock) = self::access(true);
    let pass = |issued: serde_json::Value| format!("Bearer {}", issued["token"].as_str().expect("a token"));
    let nobody = pass(access.issue(None, HERE).await.expect("given to everybody"));
    assert_eq!(row(&access, Some(&nobody)).await, "ggguu", "who has no name may try again with one");
    let writer = pass(access.issue(Some(&basic("ann", "hunter2-ann")), HERE).await.expect("given"));
    assert_eq!(row(&access, Some(&writer)).await, "ggggg");
    let reader = pass(access.issue(Some(&basic("bob", "hunter2-hashed")), HERE).await.expect("given"));
    assert_eq!(row(&access, Some(&reader)).await, "gggdd");
    let refused = access.issue(Some(&basic("ann", "hunter3")), HERE).await.expect_err("refused");
    assert!(matches!(refused, Decision::Unauthenticated(_)));
    let mut forged = writer.clone();
    forged.pop();
    assert_eq!(row(&access, Some(&forged)).await, "uuuuu");
    *clock.0.lock().expect("not poisoned") += 1000;
    assert_eq!(row(&access, Some(&writer)).await, "uuuuu");
    let (other, _) = self::access(true);
    let foreign = pass(other.issue(Some(&basic("ann", "hunter2-ann")), HERE).await.expect("given"));
    assert_eq!(row(&access, Some(&foreign)).await, "uuuuu", "another process's pass");
}

#[tokio::test]
async fn a_hash_made_here_is_taken_here_and_one_of_another_kind_is_no_plain_password() {
    let mut settings = settings(false);
    let hash = hash_password("hunter2-new").expect("made");
    assert!(!hash.contains("hunter2"));
    assert_ne!(hash, hash_password("hunter2-new").expect("made"), "salted");
    settings.users[0].password = Secret::new(hash);
    let clock = Arc::new(SetClock(Mutex::new(0)));
    let access = AccessControl::new(&settings, clock.clone()).expect("fine");
    assert_eq!(row(&access, Some(&basic("ann", "hunter2-new"))).await, "ggggg");
    for foreign in
        ["$2y$05$abcdefghijklmnopqrstuv", "$argon2id$v=19$m=1$a$b", "$pbkdf2-sha256$i=0$a$b", "$pbkdf2-sha256$x"]
    {
        settings.users[0].password = Secret::new(foreign);
        let fault = AccessControl::new(&settings, clock.clone()).expect_err("refused").to_string();
        assert!(fault.contains("ann") && !fault.contains(foreign), "{fault}");
    }
}

#[test]
fn no_secret_is_printed() {
    let (access, _) = access(true);
    let printed = format!("{access:?}");
    assert!(printed.contains("ann") && !printed.contains("hunter2"), "{printed}");
}
