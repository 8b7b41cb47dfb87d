//! From `Ready` in a pod's status to an answer with its address, and from the end of its name to the end of its process.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::machine::{BINARY, Http, Running, is_root, millis, pod, quantile, runs, scratch, text};
use mkube_free_ports::free_address;

const PODS: usize = 30;
/// Pause between two questions for a name.
const PAUSE: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(30);

/// Takes the figures.
pub async fn run() -> anyhow::Result<()> {
    if !is_root() {
        println!("## Names of pods: skipped, real containers need root\n");
        return Ok(());
    }
    let directory = scratch()?;
    let data = text(directory.path().join("dev"));
    let listen = free_address();
    let words = ["dev", "--host", "linux", "--data-dir", &data, "--listen", &listen, "--cidr", "10.96.3.0/24"];
    let words = [words.as_slice(), &["--registry", "127.0.0.1:0", "--dns", "127.0.0.1:0"]].concat();
    let measured = measure(&words, &listen, &directory.path().join("dev/host/engine/persist")).await;
    let _ = std::process::Command::new(BINARY).args(["dev", "--clean", "--data-dir", &data]).output()?;
    measured
}

async fn measure(words: &[&str], listen: &str, persist: &Path) -> anyhow::Result<()> {
    let running = Running::start(words)?;
    let line = running.printed.iter().find_map(|line| line.trim().strip_prefix("names "));
    let server = line.and_then(|line| line.split_whitespace().next()).context("it says where names are")?.to_owned();
    let (http, watching) = (Http::new()?, reqwest::Client::builder().no_proxy().build()?);
    let pods = format!("http://{listen}/api/v1/namespaces/default/pods");
    let (mut named, mut withdrawn, mut ahead) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..PODS {
        let name = format!("bench-{number}");
        let mut events = watching.get(format!("{pods}?watch=true&fieldSelector=metadata.name%3D{name}")).send().await?;
        let asking = Asking::until(&server, &name, true, None)?;
        http.post(&pods, &pod(&name, "hello:latest", &["httpd", "-f", "-p", "80"])).await?;
        let (ready, status) = until_ready(&mut events).await?;
        // Told before it was seen to be ready is no time at all.
        named.push(asking.ended()?.0.saturating_duration_since(ready));

        let process = process_of(&status, persist)?;
        let asking = Asking::until(&server, &name, false, Some(process))?;
        let begin = Instant::now();
        http.delete(&format!("{pods}/{name}")).await?;
        let (gone, ended) = asking.ended()?;
        withdrawn.push(gone.saturating_duration_since(begin));
        let ended = ended.context("its process ends")?;
        ahead.push(if ended < gone { None } else { Some(ended - gone) });
        http.until(&pods, PATIENCE, |list| list["items"].as_array().is_some_and(Vec::is_empty)).await?;
    }
    let late = ahead.iter().filter(|one| one.is_none()).count();
    let mut ahead: Vec<Duration> = ahead.into_iter().flatten().collect();
    println!("## Names of pods, real containers ({PODS} one after the other, a question every millisecond)\n");
    println!("| step | median | p99 | longest |\n|---|---|---|---|");
    for (step, all) in [
        ("`Ready` seen by a watch, until its name is answered", &mut named),
        ("DELETE sent, until its name is not answered any more", &mut withdrawn),
        ("from then until its process has ended", &mut ahead),
    ] {
        let [median, most, longest] = [0.5, 0.99, 1.0].map(|share| millis(quantile(all, share)));
        println!("| {step} | {median} | {most} | {longest} |");
    }
    println!(
        "\nPods whose process ended before their name: {late} of {PODS}; least time between: {}\n",
        millis(quantile(&mut ahead, 0.0))
    );
    running.stop();
    Ok(())
}

/// When a pod was seen to be ready, and as what.
async fn until_ready(events: &mut reqwest::Response) -> anyhow::Result<(Instant, Value)> {
    let mut unread = Vec::new();
    loop {
        let chunk = tokio::time::timeout(PATIENCE, events.chunk()).await.context("the watch is silent")??;
        let at = Instant::now();
        unread.extend_from_slice(&chunk.context("the watch ended")?);
        while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = unread.drain(..=end).collect();
            let event: Value = serde_json::from_slice(&line)?;
            if runs(&event["object"]) {
                return Ok((at, event["object"].clone()));
            }
        }
    }
}

/// Where the kernel shows the pod's process.
fn process_of(pod: &Value, persist: &Path) -> anyhow::Result<PathBuf> {
    let id = pod.pointer("/status/containerStatuses/0/containerID").and_then(Value::as_str);
    let id = id.and_then(|id| id.strip_prefix("routeros://")).context("a container's id")?;
    let id = id.trim_start_matches('*');
    let pid = std::fs::read_to_string(persist.join(format!("c{}", id.to_ascii_lowercase())).join("pid"))?;
    Ok(Path::new("/proc").join(pid.trim()))
}

/// A thread that asks again and again.
struct Asking {
    thread: JoinHandle<anyhow::Result<(Instant, Option<Instant>)>>,
}

impl Asking {
    /// Until the name is there, or is not; and until the process, if any, has ended.
    fn until(server: &str, pod: &str, there: bool, process: Option<PathBuf>) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let question = question(&[pod, "gt", "lo"]);
        let end = Instant::now() + PATIENCE;
        let thread = std::thread::spawn(move || {
            let (mut named, mut ended) = (None, None);
            while named.is_none() || process.is_some() && ended.is_none() {
                if Instant::now() > end {
                    bail!("the name did not become as it should be");
                }
                // The process first: what is seen later happened later.
                if ended.is_none() && process.as_ref().is_some_and(|process| !process.exists()) {
                    ended = Some(Instant::now());
                }
                if named.is_none() && answers(&socket, &question)? == Some(there) {
                    named = Some(Instant::now());
                }
                std::thread::sleep(PAUSE);
            }
            Ok((named.context("seen")?, ended))
        });
        Ok(Self { thread })
    }

    fn ended(self) -> anyhow::Result<(Instant, Option<Instant>)> {
        self.thread.join().unwrap_or_else(|_| bail!("the thread that asks panicked"))
    }
}

/// A question for the address of a name.
fn question(labels: &[&str]) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in labels {
        packet.push(u8::try_from(label.len()).unwrap_or_default());
        packet.extend_from_slice(label.as_bytes());
    }
    packet.extend_from_slice(&[0, 0, 1, 0, 1]);
    packet
}

/// Whether there is an address; none: no answer came.
fn answers(socket: &UdpSocket, question: &[u8]) -> anyhow::Result<Option<bool>> {
    socket.send(question)?;
    let mut answer = [0; 512];
    match socket.recv(&mut answer) {
        Ok(length) if length >= 12 => Ok(Some(answer[6..8] != [0, 0])),
        Ok(_) => Ok(None),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
