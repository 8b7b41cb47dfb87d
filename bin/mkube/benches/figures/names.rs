//! `mkube dns` against Debian's BIND: the same zone, the same questions, one core for the server and another for dnsperf.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;

use crate::machine::{Http, Running, median, scratch_on_disk, text};
use mkube_free_ports::free_port;

/// Addresses in the zone; with its NS record and the address of that, a hundred thousand records.
const NAMES: usize = 99_998;
/// Questions of the file that dnsperf goes round in.
const QUESTIONS: usize = 50_000;
/// Seconds of one look.
const SECONDS: &str = "10";
/// Looks at each server, taking turns; the median counts.
const ROUNDS: usize = 3;
const ZONE: &str = "bench.test";

/// Takes the figures.
pub async fn run() -> anyhow::Result<()> {
    println!("## Names: `mkube dns` against BIND, {} records, one core each\n", NAMES + 2);
    for program in ["taskset", "dnsperf"] {
        if Command::new(program).arg("-h").output().is_err() {
            println!("{program} is not installed (scripts/bench gets it): no figures\n");
            return Ok(());
        }
    }
    let directory = scratch_on_disk()?;
    let questions = directory.path().join("questions");
    std::fs::write(&questions, question_file())?;
    let peer = bind(directory.path())?;
    let (ours, looks) = (Ours::fill(directory.path(), peer.port).await?, questions.as_path());
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        mine.push(dnsperf(ours.dns, looks)?);
        theirs.push(dnsperf(peer.port, looks)?);
    }
    let rate = |all: &[Look]| median(&all.iter().map(|look| look.rate).collect::<Vec<f64>>());
    let lost = |all: &[Look]| all.iter().map(|look| look.lost).sum::<u64>();
    let (own, other) = (rate(&mine), rate(&theirs));
    println!("| | mkube | BIND | ratio |\n|---|---|---|---|");
    println!(
        "| queries per second (median of {ROUNDS} runs of {SECONDS} s) | {own:.0} | {other:.0} | {:.2} |",
        own / other
    );
    println!("| queries without an answer, all runs | {} | {} | |", lost(&mine), lost(&theirs));
    println!(
        "| resident, zone loaded, after the runs | {:.0} MiB | {:.0} MiB | |",
        ours.process.resident(),
        peer.process.resident()
    );
    println!("| start to `ready` with the zone in the file | {} ms | | |\n", ours.process.ready_after.as_millis());
    ours.process.stop();
    peer.process.stop();
    Ok(())
}

/// Names that are there, and one in twenty that is not.
fn question_file() -> String {
    let mut lines = String::new();
    for number in 0..QUESTIONS {
        // A step that shares no factor with the number of names: no two neighbours are near one another.
        let at = number * 7919 % NAMES;
        let name = if number % 20 == 0 { format!("none-{at}") } else { format!("host-{at}") };
        let _ = writeln!(lines, "{name}.{ZONE} A");
    }
    lines
}

struct Bind {
    process: Running,
    port: u16,
}

/// BIND with the zone, on the first core.
fn bind(directory: &Path) -> anyhow::Result<Bind> {
    let mut zone =
        format!("$TTL 300\n@ SOA ns1.{ZONE}. admin.{ZONE}. 2026010100 3600 900 604800 300\n@ NS ns1\nns1 A 10.0.0.1\n");
    for number in 0..NAMES {
        let [_, a, b, c] = u32::try_from(number)?.to_be_bytes();
        let _ = writeln!(zone, "host-{number} A 10.{a}.{b}.{c}");
    }
    let (zone_file, config) = (directory.join("zone"), directory.join("named.conf"));
    std::fs::write(&zone_file, zone)?;
    let (port, here) = (free_port(), text(directory));
    std::fs::write(
        &config,
        format!(
            "options {{ directory \"{here}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no; \
             allow-transfer {{ 127.0.0.1; }}; pid-file none; session-keyfile \"{here}/session.key\"; minimal-responses yes; }};\n\
             controls {{ }};\nzone \"{ZONE}\" {{ type primary; file \"{}\"; }};\n",
            text(&zone_file)
        ),
    )?;
    let config = text(&config);
    let process = Running::other(Path::new("taskset"), &["-c", "0", "named", "-f", "-n", "1", "-c", &config]);
    let process = process.context("BIND is not installed (scripts/bench gets it)")?;
    Ok(Bind { process, port })
}

struct Ours {
    process: Running,
    dns: u16,
}

impl Ours {
    /// Copies the zone from BIND, then starts again: what is resident is what the zone needs, not what copying it did.
    async fn fill(directory: &Path, primary: u16) -> anyhow::Result<Self> {
        let ours = Self::start(directory)?;
        let url = format!("{}/api/v1/zones/transfer", ours.rest()?);
        let (http, end) = (Http::new()?, Instant::now() + Duration::from_secs(60));
        let wanted = json!({"zone": ZONE, "primary": format!("127.0.0.1:{primary}")});
        // BIND may still be reading it.
        while let Err(error) = http.post(&url, &wanted).await {
            if Instant::now() > end {
                bail!("the zone was not copied: {error:#}");
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        ours.process.stop();
        Self::start(directory)
    }

    fn start(directory: &Path) -> anyhow::Result<Self> {
        let (dns, data) = (free_port(), text(directory.join("ours")));
        let listen = format!("127.0.0.1:{dns}");
        let words = ["dns", "--listen-dns", &listen, "--listen-http", "127.0.0.1:0", "--data-dir", &data];
        Ok(Self { process: Running::on_core(0, &words)?, dns })
    }

    fn rest(&self) -> anyhow::Result<String> {
        let line = self.process.printed.iter().find_map(|line| line.strip_prefix("name server, REST on "));
        Ok(line.context("it says where its REST is")?.to_owned())
    }
}

/// What dnsperf saw.
struct Look {
    rate: f64,
    lost: u64,
}

fn dnsperf(port: u16, questions: &Path) -> anyhow::Result<Look> {
    let (port, file) = (port.to_string(), text(questions));
    let words =
        ["-c", "1", "dnsperf", "-s", "127.0.0.1", "-p", &port, "-d", &file, "-l", SECONDS, "-c", "4", "-q", "200"];
    let output = Command::new("taskset").args(words).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let after = |label: &str| said.lines().find_map(|line| line.trim().strip_prefix(label)).map(str::trim);
    let rate = after("Queries per second:").and_then(|text| text.parse().ok());
    let lost = after("Queries lost:").and_then(|text| text.split_whitespace().next()?.parse().ok());
    let look = rate.zip(lost).map(|(rate, lost)| Look { rate, lost });
    look.with_context(|| format!("dnsperf: {said}{}", String::from_utf8_lossy(&output.stderr)))
}
