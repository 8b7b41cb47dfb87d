//! `mkube migrate`: everything of one store into another, while no controller uses either.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use mkube_desired_store::moving::{BucketCount, MoveFault, Plan, carry_out, differences, plan};
use mkube_desired_store::{
    EmbeddedStore, FileKind, JetStreamOptions, JetStreamStore, journal_of, read_buckets, read_file,
};
use mkube_model::kinds::KindTable;
use mkube_model::neighbours::desired_store::{DesiredStore, StoreContents, StoreFault};
use mkube_model::secret::SecretUrl;
use mkube_model::settings::{self, NatsSettings, Overrides, Settings, StoreKind};
use serde_json::{Value, json};

use crate::cli::MigrateArgs;
use crate::client::{block_on, plain_table};
use crate::failure::{CONFIGURATION, FAILED, Failure, INTERNAL, UNAVAILABLE, USAGE};
use crate::say;
use crate::settings_file;

/// What NATS lists us as.
const NAME: &str = "mkube migrate";
/// Differences that are told.
const TOLD: usize = 10;

/// Where a store is.
#[derive(Debug, Clone, PartialEq)]
enum Place {
    Embedded(PathBuf),
    Snapshot(PathBuf),
    Nats(Box<NatsSettings>),
}

impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Embedded(path) => write!(out, "embedded:{}", path.display()),
            Self::Snapshot(path) => write!(out, "snapshot:{}", path.display()),
            Self::Nats(nats) => write!(out, "{}", nats.url),
        }
    }
}

impl Place {
    fn of(text: &str) -> Result<Self, Failure> {
        let path = |rest: &str| PathBuf::from(rest.strip_prefix("//").unwrap_or(rest));
        match text.split_once(':') {
            Some(("embedded", rest)) if !rest.is_empty() => Ok(Self::Embedded(path(rest))),
            Some(("snapshot", rest)) if !rest.is_empty() => Ok(Self::Snapshot(path(rest))),
            Some(("config", rest)) if !rest.is_empty() => Self::configured(&path(rest)),
            Some(("nats" | "tls" | "ws" | "wss", _)) => {
                let value = json!({"nats": {"url": text}});
                let checked = settings::check(value, &|_| None, Overrides::none());
                // The text may hold a password.
                let refused = |_| Failure::text(USAGE, format!("{} is no address of NATS", SecretUrl::new(text)));
                Ok(Self::Nats(Box::new(checked.map_err(refused)?.0.nats)))
            }
            _ => {
                let failure = Failure::text(USAGE, format!("{:?} names no store", SecretUrl::new(text).to_string()));
                Err(failure.hint("embedded:FILE, snapshot:FILE, nats://HOST:PORT or config:FILE"))
            }
        }
    }

    /// The store that a configuration of `mkube serve` names.
    fn configured(file: &Path) -> Result<Self, Failure> {
        let settings: Settings = settings_file::load(file, false, Overrides::none())?;
        match settings.store.kind {
            StoreKind::Embedded => Ok(Self::Embedded(settings.store.path)),
            StoreKind::Nats if settings.nats.url.is_empty() => Err(Failure::text(
                CONFIGURATION,
                format!("{}: store.kind is nats and nats.url is empty", file.display()),
            )),
            StoreKind::Nats => Ok(Self::Nats(Box::new(settings.nats))),
        }
    }
}

/// Buckets of every kind there is.
fn buckets() -> Vec<String> {
    KindTable::builtin().iter().map(|kind| kind.bucket.to_owned()).collect()
}

/// Copies, compares, and prints what is where.
pub fn main(args: &MigrateArgs) -> Result<(), Failure> {
    let (from, to) = (Place::of(&args.from)?, Place::of(&args.to)?);
    block_on(async {
        let source = source(&from).await?;
        if source.values.is_empty() {
            eprintln!("note: there is nothing in {from}");
        }
        match &to {
            Place::Snapshot(_) => {
                let failure = Failure::text(USAGE, "what is known of a store is no store that can be written");
                Err(failure.hint("--to embedded:FILE or --to nats://HOST:PORT"))
            }
            Place::Embedded(path) => to_file(args, (&from, &source), path).await,
            Place::Nats(nats) => to_nats(args, (&from, &source), nats).await,
        }
    })
}

async fn source(from: &Place) -> Result<StoreContents, Failure> {
    match from {
        Place::Embedded(path) | Place::Snapshot(path) => {
            let file = read_file(path.clone()).await.map_err(|fault| failure("the source", fault))?;
            let said = matches!(from, Place::Snapshot(_));
            match file.kind {
                FileKind::Embedded if said => {
                    let text = format!("{} is an embedded store, and no snapshot of one in NATS", path.display());
                    return Err(Failure::text(FAILED, text).hint(format!("--from embedded:{}", path.display())));
                }
                FileKind::Snapshot if !said => {
                    let text = format!(
                        "{} is what was last known of a store in NATS, and may be older than that",
                        path.display()
                    );
                    return Err(Failure::text(FAILED, text).hint(format!(
                        "--from nats://HOST:PORT reads the store itself; if that is lost, --from snapshot:{}",
                        path.display()
                    )));
                }
                FileKind::Embedded | FileKind::Snapshot => {}
            }
            Ok(file.contents)
        }
        Place::Nats(nats) => read_nats(nats).await.map_err(|fault| failure("the source", fault)),
    }
}

async fn read_nats(nats: &NatsSettings) -> Result<StoreContents, StoreFault> {
    read_buckets(nats, &buckets(), NAME).await.map(|(contents, _)| contents)
}

fn failure(which: &str, fault: StoreFault) -> Failure {
    let code = match fault {
        StoreFault::Absent(_) | StoreFault::Away(_) => UNAVAILABLE,
        StoreFault::Unreadable(_) | StoreFault::Unwritable(_) => FAILED,
    };
    let failure = Failure::text(code, format!("{which}: {fault}"));
    if code == UNAVAILABLE {
        failure.hint("both stores must be there, and no controller may use them")
    } else {
        failure
    }
}

/// Into a file that takes the place of the target when everything is in it: nobody ever opens half a store.
async fn to_file(args: &MigrateArgs, (from, source): (&Place, &StoreContents), path: &Path) -> Result<(), Failure> {
    if let Place::Embedded(other) | Place::Snapshot(other) = from
        && let (Ok(one), Ok(other)) = (path.canonicalize(), other.canonicalize())
        && one == other
    {
        return Err(Failure::text(USAGE, "source and target are the same file"));
    }
    let target = |fault| failure("the target", fault);
    let there = path.try_exists().map_err(|error| Failure::text(FAILED, format!("{}: {error}", path.display())))?;
    // Held until the end: nobody begins to use what is about to be replaced.
    let (held, now) = if !there {
        let journal = journal_of(path);
        if journal.exists() {
            let text = format!("{} is the journal of a store that is not there", journal.display());
            return Err(Failure::text(FAILED, text).hint("put its file back, or remove it"));
        }
        (None, StoreContents::default())
    } else if args.dry_run {
        let file = read_file(path).await.map_err(target)?;
        if file.kind == FileKind::Snapshot {
            let text = format!("{} is what was last known of a store in NATS; it is not replaced", path.display());
            return Err(Failure::text(FAILED, text).hint("name another file"));
        }
        (None, file.contents)
    } else {
        let store = EmbeddedStore::open(path).await.map_err(target)?;
        let now = store.load().await.map_err(target)?;
        (Some(store), now)
    };
    let whole = plan(source, &now);
    check(args, &whole)?;
    if args.dry_run || whole.changes.is_empty() && there {
        return told(args, from, &whole);
    }
    let part = part_of(path);
    let store = match resumed(&part, source).await? {
        Some(store) => store,
        None => EmbeddedStore::open(&part).await.map_err(target)?,
    };
    let rest = plan(source, &store.load().await.map_err(target)?);
    copy(rest, &store).await?;
    // Neither leaves a journal: that of the part would not follow it, that of the target would lie beside a file it does not belong to.
    store.compact().await.map_err(target)?;
    drop(store);
    verify(from, &read_file(&part).await.map_err(target)?.contents).await?;
    if let Some(held) = &held {
        held.compact().await.map_err(target)?;
    }
    let renamed = std::fs::rename(&part, path).and_then(|()| {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(parent)?.sync_all()
    });
    renamed.map_err(|error| Failure::text(FAILED, format!("{}: {error}", path.display())))?;
    drop(held);
    told(args, from, &whole)
}

fn part_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    path.with_file_name(name)
}

/// What an earlier run left, if it was of the same source; else it is removed.
async fn resumed(part: &Path, source: &StoreContents) -> Result<Option<EmbeddedStore>, Failure> {
    if !part.exists() {
        return Ok(None);
    }
    match EmbeddedStore::open(part).await {
        Ok(store) => match store.load().await {
            Ok(now) if !plan(source, &now).overwrites() => return Ok(Some(store)),
            _ => drop(store),
        },
        Err(fault) if read_file(part).await.is_err_and(|fault| matches!(fault, StoreFault::Absent(_))) => {
            return Err(failure("what an earlier run left", fault));
        }
        Err(_) => {}
    }
    for file in [part.to_owned(), journal_of(part)].into_iter().filter(|file| file.exists()) {
        std::fs::remove_file(&file).map_err(|error| Failure::text(FAILED, format!("{}: {error}", file.display())))?;
    }
    Ok(None)
}

async fn to_nats(
    args: &MigrateArgs,
    (from, source): (&Place, &StoreContents),
    nats: &NatsSettings,
) -> Result<(), Failure> {
    let target = |fault| failure("the target", fault);
    let whole = plan(source, &read_nats(nats).await.map_err(target)?);
    check(args, &whole)?;
    if args.dry_run || whole.changes.is_empty() {
        return told(args, from, &whole);
    }
    let directory = Scratch::new()?;
    let options = JetStreamOptions {
        nats: nats.clone(),
        buckets: buckets(),
        path: directory.0.join("known.redb"),
        write_behind: false,
        name: NAME.to_owned(),
        copy: |_, _, _| Ok(()),
    };
    let store = JetStreamStore::open(options).await.map_err(target)?;
    let now = store.load().await.map_err(target)?;
    if let Some(why) = now.stale {
        return Err(failure("the target", StoreFault::Absent(why)));
    }
    let rest = plan(source, &now);
    check(args, &rest)?;
    copy(rest, &store).await?;
    store.close().await;
    verify(from, &read_nats(nats).await.map_err(target)?).await?;
    told(args, from, &whole)
}

/// A directory that is removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Failure> {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("mkube-migrate-{}", std::process::id()));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| Failure::text(INTERNAL, format!("{}: {error}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn check(args: &MigrateArgs, plan: &Plan) -> Result<(), Failure> {
    if !plan.overwrites() || args.overwrite {
        return Ok(());
    }
    let BucketCount { differing, foreign, .. } = plan.total();
    let text = format!(
        "the target is not empty: {foreign} objects are only there, {differing} are other ones; nothing was changed"
    );
    Err(Failure::text(FAILED, text).hint("--overwrite makes it hold what the source holds, and nothing else"))
}

async fn copy(plan: Plan, target: &dyn DesiredStore) -> Result<(), Failure> {
    let all = plan.changes.len();
    let shown = std::io::stderr().is_terminal();
    let progress = |done: usize| {
        if shown {
            let _ = write!(std::io::stderr(), "\r{done} of {all} written");
        }
    };
    let copied = carry_out(plan, target, progress).await;
    if shown && all > 0 {
        eprintln!();
    }
    copied.map_err(|fault| {
        let code = match &fault {
            MoveFault::Target(StoreFault::Absent(_) | StoreFault::Away(_)) => UNAVAILABLE,
            _ => FAILED,
        };
        Failure::text(code, fault.to_string()).hint("the same command goes on where this one ended")
    })
}

/// Both as they are now: somebody may have written meanwhile.
async fn verify(from: &Place, target: &StoreContents) -> Result<(), Failure> {
    let found = differences(&source(from).await?, target, TOLD);
    if found.is_empty() {
        return Ok(());
    }
    let text = format!("what was written is not what is there:\n  {}", found.join("\n  "));
    Err(Failure::text(FAILED, text).hint("somebody else may use one of the stores; the same command goes on"))
}

/// What was there, what was written, bucket by bucket.
fn told(args: &MigrateArgs, from: &Place, plan: &Plan) -> Result<(), Failure> {
    let done = if args.dry_run { "would be written" } else { "written and compared" };
    let row = |count: &BucketCount| (count.values, count.values - count.there, count.there, count.foreign);
    let total = plan.total();
    let counts = |count: &BucketCount| {
        let (values, written, there, removed) = row(count);
        json!({"objects": values, "written": written, "unchanged": there, "removed": removed})
    };
    let buckets: serde_json::Map<String, Value> =
        plan.buckets.iter().map(|(bucket, count)| (bucket.clone(), counts(count))).collect();
    let answer = json!({"dryRun": args.dry_run, "buckets": buckets, "total": counts(&total)});
    let table = || {
        let mut table = plain_table();
        table.set_header(["BUCKET", "OBJECTS", "WRITTEN", "UNCHANGED", "REMOVED"]);
        let numbers = |name: &str, count: &BucketCount| {
            let (values, written, there, removed) = row(count);
            [name.to_owned(), values.to_string(), written.to_string(), there.to_string(), removed.to_string()]
        };
        for (bucket, count) in &plan.buckets {
            table.add_row(numbers(bucket, count));
        }
        table.add_row(numbers("total", &total));
        format!("{table}\n\n{} objects of {from}: {} {done}", total.values, total.values - total.there)
    };
    say::print(say::formatted(&answer, args.output, table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_named_and_a_password_is_never_repeated() {
        let embedded = |path: &str| Place::Embedded(path.into());
        assert_eq!(Place::of("embedded:/a/b.redb").expect("a store"), embedded("/a/b.redb"));
        assert_eq!(Place::of("embedded:///a/b.redb").expect("a store"), embedded("/a/b.redb"));
        assert_eq!(Place::of("embedded:state.redb").expect("a store"), embedded("state.redb"));
        assert_eq!(Place::of("snapshot:s").expect("a store"), Place::Snapshot("s".into()));
        let nats = Place::of("nats://me:hunter2@10.0.0.1:4222").expect("a store");
        assert!(!format!("{nats} {nats:?}").contains("hunter2"), "{nats}");
        for bad in ["", "file.redb", "embedded:", "redis://me:hunter2@x", "nats://"] {
            let refused = Place::of(bad).expect_err("no store");
            assert!(!format!("{refused:?}").contains("hunter2"), "{refused:?}");
        }
    }

    #[test]
    fn the_part_stands_beside_its_file() {
        assert_eq!(part_of(Path::new("/x/state.redb")), PathBuf::from("/x/state.redb.part"));
        assert_eq!(part_of(Path::new("state.redb")), PathBuf::from("state.redb.part"));
    }
}
