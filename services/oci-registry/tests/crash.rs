//! A registry in a process of its own, killed at random points of pushes and pulls and started again on the same directory: what it
//! acknowledged is there and whole, and nothing partial is ever served.
//!
//! `MKUBE_CRASH_ROUNDS` says how often, `MKUBE_CRASH_SEED` repeats a failure.

#[path = "api/world.rs"]
#[allow(dead_code, reason = "shared with the tests of the API, which use more of it")]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use mkube_oci_registry::digest::{Algorithm, Digest};
use mkube_oci_registry::manifest::OCI_MANIFEST;
use mkube_oci_registry::parts::RegistryParts;
use mkube_oci_registry::serve::{Listening, serve};
use mkube_oci_registry::store::Store;
use reqwest::{Client, Method};
use serde_json::json;

const CHILD: &str = "MKUBE_TEST_REGISTRY";
const ROUNDS: &str = "MKUBE_CRASH_ROUNDS";
const SEED: &str = "MKUBE_CRASH_SEED";
const REPOSITORY: &str = "crash/app";

/// Not a test by itself: the process that is killed.
#[tokio::test]
async fn registry() {
    let Ok(directory) = std::env::var(CHILD) else { return };
    let store = Store::open(world::options(Path::new(&directory))).await;
    let store = store.expect("readable after every kill");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    println!("\nlistening on {}", listener.local_addr().expect("bound"));
    let (server, _) = serve(vec![Listening::plain(listener)], RegistryParts::new(store), |_| {}).expect("a server");
    server.await.expect("until it is killed");
}

/// Numbers that look random and come again with the same seed.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn bytes(&mut self, length: u64) -> Vec<u8> {
        (0..length.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).collect()
    }
}

/// What was acknowledged.
#[derive(Default, Clone)]
struct Acknowledged {
    blobs: BTreeSet<Digest>,
    /// Tag → digests that it may have: the one acknowledged last, and those of pushes that were cut off after it.
    tags: BTreeMap<String, BTreeSet<Digest>>,
    manifests: BTreeSet<Digest>,
}

struct Process {
    child: Child,
    url: String,
    client: Client,
}

impl Process {
    fn start(directory: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "registry", "--nocapture"])
            .env(CHILD, directory)
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut said =
            lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("listening on ").map(str::to_owned));
        let address = said.next().expect("the registry starts after every kill");
        // Which library does TLS is said once for the process; whoever was first is right.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().expect("a client");
        Self { child, url: format!("http://{address}"), client }
    }

    fn kill(&mut self) {
        self.child.kill().expect("ours");
        self.child.wait().expect("ours");
    }

    /// Sends; none when the other side is gone.
    async fn send(&self, method: Method, path: &str, kind: &str, range: Option<String>, body: Vec<u8>) -> Option<Told> {
        let mut request = self.client.request(method, format!("{}{path}", self.url)).header("content-type", kind);
        if let Some(range) = range {
            request = request.header("content-range", range);
        }
        let response = request.body(body).send().await.ok()?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (location, range) = (text("location"), text("range"));
        // A body that does not arrive whole counts as no answer.
        let body = response.bytes().await.ok()?.to_vec();
        Some(Told { status, location, range, body })
    }

    async fn get(&self, path: &str) -> Option<Told> {
        self.send(Method::GET, path, "*/*", None, Vec::new()).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already, when the test goes well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug)]
struct Told {
    status: u16,
    location: Option<String>,
    range: Option<String>,
    body: Vec<u8>,
}

fn path_of(digest: &Digest) -> String {
    world::blob(REPOSITORY, digest)
}

/// Pushes images until the registry is gone: blobs in one go or in pieces, then a manifest under a tag that moves.
async fn push(process: &Process, mut dice: Dice, tag: &str, known: &Mutex<Acknowledged>) -> Option<()> {
    let octets = "application/octet-stream";
    loop {
        let mut descriptors = Vec::new();
        for _ in 0..2 {
            let length = 1 + dice.below(600_000);
            let bytes = dice.bytes(length);
            let digest = Digest::of(Algorithm::Sha256, &bytes);
            descriptors.push(json!({"mediaType": "x", "digest": digest.as_str(), "size": bytes.len()}));
            let uploads = format!("/v2/{REPOSITORY}/blobs/uploads/");
            let done = if dice.below(2) == 0 {
                process.send(Method::POST, &format!("{uploads}?digest={digest}"), octets, None, bytes).await?
            } else {
                let mut location = process.send(Method::POST, &uploads, octets, None, Vec::new()).await?.location?;
                let mut first = 0;
                for piece in bytes.chunks(1 + bytes.len() / 3) {
                    let range = Some(format!("{first}-{}", first + piece.len() - 1));
                    let told = process.send(Method::PATCH, &location, octets, range, piece.to_vec()).await?;
                    assert_eq!(told.status, 202, "{told:?}");
                    (location, first) = (told.location?, first + piece.len());
                }
                process.send(Method::PUT, &format!("{location}?digest={digest}"), octets, None, Vec::new()).await?
            };
            assert_eq!(done.status, 201, "{done:?}");
            known.lock().expect("whole").blobs.insert(digest);
        }
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptors[0], "layers": [descriptors[1]]});
        let bytes = manifest.to_string().into_bytes();
        let digest = Digest::of(Algorithm::Sha256, &bytes);
        known.lock().expect("whole").tags.entry(tag.to_owned()).or_default().insert(digest.clone());
        let done = process.send(Method::PUT, &world::manifest(REPOSITORY, tag), OCI_MANIFEST, None, bytes).await?;
        assert_eq!(done.status, 201, "{done:?}");
        let mut known = known.lock().expect("whole");
        known.tags.insert(tag.to_owned(), BTreeSet::from([digest.clone()]));
        known.manifests.insert(digest);
    }
}

/// Pulls what was acknowledged until the registry is gone.
async fn pull(process: &Process, mut dice: Dice, known: &Mutex<Acknowledged>) -> Option<()> {
    loop {
        let wanted = {
            let known = known.lock().expect("whole");
            let count = known.blobs.len() as u64;
            if count == 0 { None } else { known.blobs.iter().nth(usize::try_from(dice.below(count)).ok()?).cloned() }
        };
        match wanted {
            Some(digest) => whole(&digest, &process.get(&path_of(&digest)).await?),
            // Nothing to pull yet; a registry that is gone by now is noticed all the same.
            None => drop(process.get("/v2/").await?),
        }
    }
}

fn whole(digest: &Digest, told: &Told) {
    assert_eq!(told.status, 200, "{digest} was acknowledged and is lost");
    assert_eq!(Digest::of(digest.algorithm(), &told.body), *digest, "{digest} is served and is not whole");
}

/// One upload that goes on over all the kills.
struct Long {
    bytes: Vec<u8>,
    location: Option<String>,
    acknowledged: usize,
}

async fn go_on(process: &Process, long: &mut Long) -> Option<()> {
    const PIECE: usize = 4096;
    let octets = "application/octet-stream";
    if let Some(location) = &long.location {
        let told = process.get(location).await?;
        assert_eq!(told.status, 204, "the session survives: {told:?}");
        let last: usize = told.range?.strip_prefix("0-")?.parse().ok()?;
        let there = if last == 0 { 0 } else { last + 1 };
        assert!(there >= long.acknowledged, "{there} bytes are there, {} were acknowledged", long.acknowledged);
        long.acknowledged = there;
    } else {
        let uploads = format!("/v2/{REPOSITORY}/blobs/uploads/");
        long.location = process.send(Method::POST, &uploads, octets, None, Vec::new()).await?.location;
    }
    let location = long.location.clone()?;
    loop {
        // Never at its end before the last round.
        let first = long.acknowledged;
        let piece = long.bytes[..long.bytes.len() - 1].get(first..)?;
        let piece = &piece[..piece.len().min(PIECE)];
        if piece.is_empty() {
            return None;
        }
        let range = Some(format!("{first}-{}", first + piece.len() - 1));
        let told = process.send(Method::PATCH, &location, octets, range, piece.to_vec()).await?;
        assert_eq!(told.status, 202, "{told:?}");
        long.acknowledged += piece.len();
    }
}

/// Everything that was acknowledged, and everything that is listed.
async fn check(process: &Process, known: &Acknowledged, seen: &mut BTreeSet<Digest>) {
    for digest in known.blobs.iter().filter(|digest| seen.insert((*digest).clone())) {
        whole(digest, &process.get(&path_of(digest)).await.expect("an answer"));
    }
    for digest in &known.manifests {
        whole(digest, &process.get(&world::manifest(REPOSITORY, digest)).await.expect("an answer"));
    }
    for (tag, digests) in &known.tags {
        let told = process.get(&world::manifest(REPOSITORY, tag)).await.expect("an answer");
        let pushed = digests.iter().any(|digest| known.manifests.contains(digest));
        assert!(told.status == 200 || !pushed, "{tag} was acknowledged and is lost");
        if told.status == 200 {
            let digest = Digest::of(Algorithm::Sha256, &told.body);
            assert!(digests.contains(&digest), "{tag} is {digest}, none of {digests:?}");
            // What its push named must be there, whether it was acknowledged or not.
            let manifest: serde_json::Value = serde_json::from_slice(&told.body).expect("JSON");
            for one in [&manifest["config"], &manifest["layers"][0]] {
                let digest = Digest::parse(one["digest"].as_str().expect("text")).expect("a digest");
                whole(&digest, &process.get(&path_of(&digest)).await.expect("an answer"));
            }
        }
    }
}

/// Nothing under a final name that is not what the name says.
fn check_disk(directory: &Path, seen: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory.join("blobs/sha256")).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().to_string_lossy().into_owned();
        if seen.insert(name.clone()) {
            let bytes = std::fs::read(entry.path()).expect("readable");
            assert_eq!(Digest::of(Algorithm::Sha256, &bytes).hex(), name, "a partial blob has its name");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_and_nothing_partial_is_served_however_often_it_is_killed() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let rounds = number(ROUNDS).unwrap_or(20);
    let seed = number(SEED).unwrap_or_else(|| u64::from(uuid::Uuid::new_v4().as_fields().0));
    println!("{SEED}={seed}");
    let mut dice = Dice(seed);
    let directory = tempfile::tempdir().expect("a directory");
    let known = Mutex::new(Acknowledged::default());
    let mut long = Long { bytes: dice.bytes(64 << 20), location: None, acknowledged: 0 };
    let (mut seen, mut seen_files) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..rounds {
        let mut process = Process::start(directory.path());
        let so_far = known.lock().expect("whole").clone();
        check(&process, &so_far, &mut seen).await;
        let life = Duration::from_millis(5 + dice.below(250));
        let pid = process.child.id().to_string();
        let killing = async {
            tokio::time::sleep(life).await;
            let killed = Command::new("kill").args(["-9", &pid]).status().expect("kill");
            assert!(killed.success(), "round {round}");
        };
        let dices: Vec<Dice> = (0..5).map(|_| Dice(dice.next())).collect();
        tokio::join!(
            push(&process, dices[0].clone(), "one", &known),
            push(&process, dices[1].clone(), "two", &known),
            push(&process, dices[2].clone(), "three", &known),
            pull(&process, dices[3].clone(), &known),
            pull(&process, dices[4].clone(), &known),
            go_on(&process, &mut long),
            killing,
        );
        process.kill();
        check_disk(directory.path(), &mut seen_files);
    }
    let mut process = Process::start(directory.path());
    let known = known.into_inner().expect("whole");
    check(&process, &known, &mut BTreeSet::new()).await;
    assert!(!known.blobs.is_empty(), "nothing was pushed in {rounds} rounds");
    // The long upload ends well, after all that.
    let location = long.location.clone().expect("it was begun");
    let first = long.acknowledged;
    let told = process.get(&location).await.expect("an answer");
    let there: usize =
        told.range.expect("a range").strip_prefix("0-").expect("of the start").parse().expect("a number");
    let there = if there == 0 { first } else { there + 1 };
    let digest = Digest::of(Algorithm::Sha256, &long.bytes);
    let range = Some(format!("{there}-{}", long.bytes.len() - 1));
    let rest = long.bytes[there..].to_vec();
    let path = format!("{location}?digest={digest}");
    let told = process.send(Method::PUT, &path, "application/octet-stream", range, rest).await.expect("an answer");
    assert_eq!(told.status, 201, "{}", String::from_utf8_lossy(&told.body));
    whole(&digest, &process.get(&path_of(&digest)).await.expect("an answer"));
    process.kill();
    check_disk(directory.path(), &mut BTreeSet::new());
    println!("{} blobs and {} manifests acknowledged", known.blobs.len(), known.manifests.len());
}
