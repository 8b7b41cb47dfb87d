//! `make bench`, section `convert`: layers into an archive, beside `sha256sum` plus `cp` over the same bytes and beside skopeo.
//!
//! Makes its images itself: 1 GiB of noise, and files of this machine, in gzip and in zstd. Each conversion runs in a process of
//! its own, so that its memory can be told.
#![allow(clippy::disallowed_methods, reason = "what is measured is the time of real processes")]

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mkube_image_pull::convert::{BlobSource, BlobTrust, LayerBlob, Limits, Progress, SourceImage, convert};
use ring::digest::{Context, SHA256};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;
/// Runs of each figure; the median counts.
const RUNS: usize = 5;

type Done<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Done<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if let [child, layout, target] = words.as_slice()
        && child == "child"
    {
        return convert_here(Path::new(layout), Path::new(target));
    }
    if !words.is_empty() && !words.iter().any(|word| word == "convert") {
        return Ok(());
    }
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    println!("convert: blobs of an image into one archive for RouterOS; median of {RUNS} runs\n");
    println!(
        "{:<34} {:>9} {:>9} {:>11} {:>10} {:>11} {:>10} {:>9}",
        "image", "archive", "convert", "throughput", "of sha+cp", "of skopeo", "processor", "memory"
    );
    let noise = scratch.path().join("noise");
    lay_out(&noise, (0..4).map(|layer| move |tar: &mut dyn Write| noise_layer(tar, layer, 256 * MIB)), Pack::Gzip(1))?;
    figure("1 GiB of noise, 4 layers, gzip", &noise, scratch.path())?;
    std::fs::remove_dir_all(&noise)?;
    let own = own_files(400 * MIB);
    for (name, pack) in [("files of this machine, gzip -6", Pack::Gzip(6)), ("files of this machine, zstd", Pack::Zstd)]
    {
        let layout = scratch.path().join("own");
        let third = own.len().div_ceil(3).max(1);
        lay_out(&layout, own.chunks(third).map(|files| move |tar: &mut dyn Write| file_layer(tar, files)), pack)?;
        figure(name, &layout, scratch.path())?;
        std::fs::remove_dir_all(&layout)?;
    }
    // What is remembered of paths: 900,000 of them, in one pass, and where a link to a lower layer asks for a second look.
    for (name, linked) in [("900,000 empty files", false), ("the same, looked through first", true)] {
        let layout = scratch.path().join("many");
        lay_out(&layout, (0..2).map(|layer| move |tar: &mut dyn Write| many_layer(tar, layer, linked)), Pack::Gzip(1))?;
        figure(name, &layout, scratch.path())?;
        std::fs::remove_dir_all(&layout)?;
    }
    Ok(())
}

/// One line of the table.
fn figure(name: &str, layout: &Path, scratch: &Path) -> Done<()> {
    let (archive, copy, other) = (scratch.join("out.tar"), scratch.join("copy.tar"), scratch.join("skopeo.tar"));
    let (mut own, mut plain, mut skopeo, mut processor, mut memory) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..RUNS {
        let _ = std::fs::remove_file(&archive);
        let (took, used, peak) = in_child(layout, &archive)?;
        own.push(took);
        processor.push(used);
        memory = memory.max(peak);
        let _ = std::fs::remove_file(&copy);
        plain.push(
            timed(Command::new("sha256sum").arg(&archive))? + timed(Command::new("cp").arg(&archive).arg(&copy))?,
        );
        let _ = std::fs::remove_file(&other);
        let to = format!("docker-archive:{}", other.display());
        let mut command = Command::new("skopeo");
        command.args(["copy", "--quiet"]).arg(format!("oci:{}:image", layout.display())).arg(to);
        // It is not everywhere, and the other figures do not need it.
        if let Ok(took) = timed(&mut command) {
            skopeo.push(took);
        }
    }
    let bytes = std::fs::metadata(&archive)?.len();
    let (own, plain) = (median(&mut own), median(&mut plain));
    let times = if skopeo.is_empty() {
        "-".to_owned()
    } else {
        format!("{:.2}", median(&mut skopeo).as_secs_f64() / own.as_secs_f64())
    };
    println!(
        "{name:<34} {:>6} MB {:>7.2} s {:>6.0} MB/s {:>10.2} {times:>11} {:>8.2} s {:>5.1} MiB",
        bytes / 1_000_000,
        own.as_secs_f64(),
        bytes as f64 / 1e6 / own.as_secs_f64(),
        plain.as_secs_f64() / own.as_secs_f64(),
        median(&mut processor).as_secs_f64(),
        memory as f64 / 1024.0,
    );
    for path in [archive, copy, other] {
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

fn timed(command: &mut Command) -> Done<Duration> {
    let started = Instant::now();
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if status.success() { Ok(started.elapsed()) } else { Err(format!("{command:?}: {status}").into()) }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Time, processor time and peak of memory above idle, KiB, of a conversion in a process of its own.
fn in_child(layout: &Path, archive: &Path) -> Done<(Duration, Duration, u64)> {
    let output = Command::new(std::env::current_exe()?).arg("child").arg(layout).arg(archive).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = text.split_whitespace().map(str::parse::<u64>);
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(Ok(micros)), Some(Ok(ticks)), Some(Ok(peak))) => {
            // The kernel counts in hundredths of a second wherever this runs.
            Ok((Duration::from_micros(micros), Duration::from_millis(ticks * 10), peak))
        }
        _ => Err(format!("the child said {text:?}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.trim_start_matches(':').split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

/// The child: converts, and prints microseconds, hundredths of a second of the processor, and the KiB above what it had before.
fn convert_here(layout: &Path, archive: &Path) -> Done<()> {
    let read = |path: &Path| -> Done<Value> { Ok(serde_json::from_slice(&std::fs::read(path)?)?) };
    let blob = |digest: &Value| layout.join("blobs").join(digest.as_str().unwrap_or_default().replace(':', "/"));
    let index = read(&layout.join("index.json"))?;
    let manifest = read(&blob(&index["manifests"][0]["digest"]))?;
    let layers = manifest["layers"].as_array().into_iter().flatten().map(|layer| LayerBlob {
        digest: layer["digest"].as_str().unwrap_or_default().to_owned(),
        source: BlobSource::File(blob(&layer["digest"])),
        trust: BlobTrust::Verified,
    });
    let image = SourceImage {
        name: "bench:latest".into(),
        config: std::fs::read(blob(&manifest["config"]["digest"]))?,
        layers: layers.collect(),
    };
    let before = status("VmRSS");
    let started = Instant::now();
    convert(&image, archive, &Limits::default(), &Progress::default())?;
    let took = started.elapsed();
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let ticks: u64 = after.split_whitespace().skip(11).take(2).filter_map(|text| text.parse::<u64>().ok()).sum();
    println!("{} {ticks} {}", took.as_micros(), status("VmHWM").saturating_sub(before));
    Ok(())
}

/// How layers are packed.
#[derive(Clone, Copy)]
enum Pack {
    Gzip(u32),
    Zstd,
}

/// Counts and hashes what goes by.
struct Hashing<W> {
    inner: W,
    hash: Context,
    bytes: u64,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, hash: Context::new(&SHA256), bytes: 0 }
    }

    fn digest(self) -> (String, u64, W) {
        let hex: String = self.hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        (hex, self.bytes, self.inner)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write_all(bytes)?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes an OCI layout of layers that write themselves.
fn lay_out<F: Fn(&mut dyn Write) -> io::Result<()>>(
    layout: &Path,
    layers: impl Iterator<Item = F>,
    pack: Pack,
) -> Done<()> {
    let blobs = layout.join("blobs/sha256");
    std::fs::create_dir_all(&blobs)?;
    let (mut listed, mut diff_ids) = (Vec::new(), Vec::new());
    let kind = if matches!(pack, Pack::Zstd) { "zstd" } else { "gzip" };
    for layer in layers {
        let part = blobs.join("part");
        let packed = Hashing::new(BufWriter::new(File::create(&part)?));
        let (diff_id, digest, bytes) = match pack {
            Pack::Gzip(level) => {
                let mut plain = Hashing::new(flate2::write::GzEncoder::new(packed, flate2::Compression::new(level)));
                layer(&mut plain)?;
                let (diff_id, _, zipped) = plain.digest();
                let (digest, bytes, mut out) = zipped.finish()?.digest();
                out.flush()?;
                (diff_id, digest, bytes)
            }
            Pack::Zstd => {
                let tar = blobs.join("tar");
                let mut plain = Hashing::new(BufWriter::new(File::create(&tar)?));
                layer(&mut plain)?;
                let (diff_id, _, mut out) = plain.digest();
                out.flush()?;
                drop(packed);
                // The tool of the field; what comes with the reader is far slower at packing.
                let done =
                    Command::new("zstd").args(["-q", "-f", "--rm", "-3"]).arg(&tar).arg("-o").arg(&part).status()?;
                if !done.success() {
                    return Err("zstd failed".into());
                }
                let mut hashed = Hashing::new(io::sink());
                io::copy(&mut File::open(&part)?, &mut hashed)?;
                let (digest, bytes, _) = hashed.digest();
                (diff_id, digest, bytes)
            }
        };
        std::fs::rename(&part, blobs.join(&digest))?;
        listed.push(json!({"mediaType": format!("application/vnd.oci.image.layer.v1.tar+{kind}"), "digest": format!("sha256:{digest}"), "size": bytes}));
        diff_ids.push(format!("sha256:{diff_id}"));
    }
    let store = |value: Value| -> Done<(String, usize)> {
        let bytes = value.to_string().into_bytes();
        let mut hashed = Hashing::new(io::sink());
        hashed.write_all(&bytes)?;
        let (digest, ..) = hashed.digest();
        std::fs::write(blobs.join(&digest), &bytes)?;
        Ok((format!("sha256:{digest}"), bytes.len()))
    };
    let config = json!({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let (digest, size) = store(config)?;
    let config = json!({"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": size});
    let (digest, size) = store(json!({"schemaVersion": 2, "config": config, "layers": listed}))?;
    let manifest = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size,
        "annotations": {"org.opencontainers.image.ref.name": "image"}});
    std::fs::write(layout.join("index.json"), json!({"schemaVersion": 2, "manifests": [manifest]}).to_string())?;
    std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(())
}

/// Bytes that nothing can compress, and the same every time.
struct Noise(u64);

impl Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for chunk in buffer.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
        Ok(buffer.len())
    }
}

fn noise_layer(tar: &mut dyn Write, number: u64, bytes: u64) -> io::Result<()> {
    let mut tar = tar::Builder::new(tar);
    for file in 0..bytes / (4 * MIB) {
        let mut header = tar::Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mode(0o644);
        header.set_size(4 * MIB);
        let noise = Noise(0x9e37_79b9_7f4a_7c15 ^ (number << 32 | (file + 1))).take(4 * MIB);
        tar.append_data(&mut header, format!("layer{number}/file{file}"), noise)?;
    }
    tar.finish()
}

fn many_layer(tar: &mut dyn Write, number: u64, linked: bool) -> io::Result<()> {
    let mut tar = tar::Builder::new(tar);
    let mut header = tar::Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mode(0o644);
    header.set_size(0);
    for file in 0..450_000 {
        let name = format!("layer{number}/directory{}/some-file-{file}", file % 1000);
        tar.append_data(&mut header, name, io::empty())?;
    }
    if linked && number == 1 {
        header.set_entry_type(tar::EntryType::Link);
        tar.append_link(&mut header, "link", "layer0/directory0/some-file-0")?;
    }
    tar.finish()
}

/// Files of this machine's programs, about so many bytes.
fn own_files(bytes: u64) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let (mut ahead, mut sum) =
        (vec![PathBuf::from("/usr/bin"), PathBuf::from("/usr/lib"), PathBuf::from("/usr/share")], 0);
    ahead.reverse();
    while let Some(directory) = ahead.pop() {
        let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            match std::fs::symlink_metadata(&path) {
                Ok(meta) if meta.is_dir() => ahead.push(path),
                Ok(meta) if meta.is_file() && meta.len() < 32 * MIB && sum < bytes && File::open(&path).is_ok() => {
                    sum += meta.len();
                    found.push((path, meta.len()));
                }
                _ => {}
            }
        }
    }
    found
}

fn file_layer(tar: &mut dyn Write, files: &[(PathBuf, u64)]) -> io::Result<()> {
    let mut tar = tar::Builder::new(tar);
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mode(0o755);
        header.set_size(*bytes);
        let name = path.strip_prefix("/").unwrap_or(path);
        tar.append_data(&mut header, name, File::open(path)?.take(*bytes))?;
    }
    tar.finish()
}
