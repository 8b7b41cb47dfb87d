//! Bringing archives to a device that fetches them: once, whole, and under a name that says what is in them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mkube_fakes::Recorder;
use mkube_images::{Delivery, FetchParts};
use mkube_messages::offers::{OFFERS_PATH, Offers};
use mkube_messages::request::RequestContext;
use mkube_messages::router::{DescribeFile, DescribeRoom, FetchFile, RemoveFile, RenameFile};
use mkube_model::disk_map::DiskMap;
use mkube_model::neighbours::router::RouterFault;
use mkube_model::neighbours::tarballs::{Archive, CachedImage, TarballFault};

/// What the device does with an order to download.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// Reads everything and says so.
    Whole,
    /// Reads everything; the answer is lost.
    AnswerLost,
    /// Reads half and is cut; the answer is lost. A job reads everything.
    CutThenJob,
    /// Never reads and never answers, as a job neither.
    Nothing,
    /// Says it is finished, and has half of it.
    Lies,
    /// Refuses.
    Refuses,
}

type Files = Arc<Mutex<HashMap<String, u64>>>;

/// A device of files: names and sizes, and what it was asked.
struct Bench {
    files: Files,
    offers: Offers,
    fetches: Recorder<FetchFile>,
    removes: Recorder<RemoveFile>,
    delivery: Delivery,
}

fn lost() -> RouterFault {
    RouterFault::ReplyLost { operation: "POST /tool/fetch".into(), cause: "Session closed".into() }
}

/// What a device does that is told to download.
fn download(way: Way, order: &FetchFile, disk: &Files, web: &Offers) -> Result<(), RouterFault> {
    let (_, token) = order.url.expose().split_once(OFFERS_PATH).expect("an offer");
    let put = |size: u64| {
        disk.lock().expect("nobody panics").insert(order.path.clone(), size);
    };
    let read = |share: u64| {
        let offer = web.find(token).expect("it stands while it is fetched");
        let reading = offer.read().expect("nobody else reads");
        reading.sent(0, offer.bytes() / share);
        offer.bytes() / share
    };
    match (way, order.in_background) {
        (Way::Whole, _) | (Way::CutThenJob, true) => put(read(1)),
        (Way::AnswerLost, _) => {
            put(read(1));
            return Err(lost());
        }
        (Way::CutThenJob, false) => {
            put(read(2));
            return Err(lost());
        }
        (Way::Nothing, false) => return Err(lost()),
        (Way::Nothing, true) => {}
        (Way::Lies, _) => put(read(1) / 2),
        (Way::Refuses, _) => {
            let detail = "not allowed by device-mode".to_owned();
            return Err(RouterFault::Refused { operation: "POST /tool/fetch".into(), detail });
        }
    }
    Ok(())
}

impl Bench {
    fn new(way: Way) -> Self {
        Self::with(way, 1 << 30)
    }

    fn with(way: Way, free: u64) -> Self {
        let files = Files::default();
        let offers = Offers::default();
        let (disk, web) = (files.clone(), offers.clone());
        let fetches = Recorder::answering(move |order: &FetchFile| download(way, order, &disk, &web));
        let disk = files.clone();
        let describe = Recorder::answering(move |question: &DescribeFile| {
            Ok(disk.lock().expect("nobody panics").get(&question.path).copied())
        });
        let disk = files.clone();
        let rename = Recorder::answering(move |order: &RenameFile| {
            let mut disk = disk.lock().expect("nobody panics");
            let size = disk.remove(&order.from).expect("what is named is there");
            disk.insert(order.to.clone(), size);
            Ok(())
        });
        let disk = files.clone();
        let removes = Recorder::answering(move |order: &RemoveFile| {
            disk.lock().expect("nobody panics").remove(&order.path);
            Ok(())
        });
        let room = Recorder::answering(move |_: &DescribeRoom| Ok(Some(free)));
        let delivery = Delivery::fetch(FetchParts {
            directory: "/disk1/cache/".into(),
            base_url: "http://10.0.0.2:8082".into(),
            offers: offers.clone(),
            describe: describe.door(),
            room: room.door(),
            fetch: fetches.door(),
            rename: rename.door(),
            remove: removes.door(),
        });
        Self { files, offers, fetches, removes, delivery }
    }

    async fn deliver(&self, archive: &Archive) -> Result<String, TarballFault> {
        let context = RequestContext::new("test", Duration::from_secs(600));
        self.delivery.deliver("app:1", archive, &context).await
    }

    fn files(&self) -> Vec<(String, u64)> {
        let mut all: Vec<_> = self.files.lock().expect("nobody panics").clone().into_iter().collect();
        all.sort();
        all
    }
}

fn archive(digest: Option<char>) -> Archive {
    let digest = digest.map(|letter| format!("sha256:{}", String::from(letter).repeat(64)));
    Archive { path: "/cache/app-1.tar".into(), digest, bytes: 5000, stale: None }
}

fn collected(letter: char, path: PathBuf) -> CachedImage {
    let Archive { digest, bytes, .. } = archive(Some(letter));
    CachedImage { references: vec![], digest, path, bytes, pulled_at: None, last_used: None }
}

fn place(letter: char) -> String {
    format!("/disk1/cache/sha256-{}.tar", String::from(letter).repeat(64))
}

#[actix_rt::test]
async fn an_archive_is_fetched_once_and_lies_under_its_digest() {
    tokio::time::pause();
    let bench = Bench::new(Way::Whole);
    for _ in 0..3 {
        assert_eq!(bench.deliver(&archive(Some('a'))).await, Ok(place('a')));
    }
    assert_eq!(bench.fetches.seen().len(), 1);
    let url = bench.fetches.seen()[0].url.expose().to_owned();
    let token = url.strip_prefix("http://10.0.0.2:8082/offers/").expect("below the base");
    assert_eq!(token.len(), 64, "256 bits nobody can guess");
    assert!(bench.offers.find(token).is_none(), "the offer ended with the delivery");
    // The same size, and something else in it.
    assert_eq!(bench.deliver(&archive(Some('b'))).await, Ok(place('b')));
    assert_eq!(bench.files(), [(place('a'), 5000), (place('b'), 5000)]);
    assert_ne!(bench.fetches.seen()[1].url.expose(), url, "each offer has its own word");
    // Its archive was collected: the copy goes too. The other one was only said to go.
    let directory = tempfile::tempdir().expect("a directory");
    let here = directory.path().join("b.tar");
    std::fs::write(&here, "still here").expect("written");
    bench.delivery.forget(&[collected('a', "/cache/gone.tar".into()), collected('b', here)]).await;
    assert_eq!(bench.files(), [(place('b'), 5000)]);
}

#[actix_rt::test]
async fn pods_that_want_the_same_at_the_same_time_share_one_download() {
    tokio::time::pause();
    let bench = Bench::new(Way::Whole);
    let archive = archive(Some('a'));
    let (one, two, three) = tokio::join!(bench.deliver(&archive), bench.deliver(&archive), bench.deliver(&archive));
    assert_eq!([one, two, three], [Ok(place('a')), Ok(place('a')), Ok(place('a'))]);
    assert_eq!(bench.fetches.seen().len(), 1);
}

#[actix_rt::test]
async fn a_lost_answer_is_followed_by_a_look_and_no_second_download() {
    tokio::time::pause();
    let bench = Bench::new(Way::AnswerLost);
    assert_eq!(bench.deliver(&archive(Some('a'))).await, Ok(place('a')));
    assert_eq!(bench.fetches.seen().len(), 1);
}

#[actix_rt::test]
async fn a_download_cut_by_the_end_of_its_session_is_made_by_a_job() {
    tokio::time::pause();
    let bench = Bench::new(Way::CutThenJob);
    assert_eq!(bench.deliver(&archive(Some('a'))).await, Ok(place('a')));
    let ways: Vec<bool> = bench.fetches.seen().iter().map(|order| order.in_background).collect();
    assert_eq!(ways, [false, true]);
    assert_eq!(bench.files(), [(place('a'), 5000)]);
}

#[actix_rt::test]
async fn what_does_not_come_is_said_and_leaves_nothing() {
    tokio::time::pause();
    for (way, words) in [
        (Way::Nothing, "0 bytes of 5000 came"),
        (Way::Lies, "2500 bytes of 5000 came"),
        (Way::Refuses, "not allowed by device-mode"),
    ] {
        let bench = Bench::new(way);
        let fault = bench.deliver(&archive(Some('a'))).await.expect_err("it did not come");
        let told = fault.to_string();
        assert!(matches!(fault, TarballFault::NotDelivered { .. }), "{fault:?}");
        assert!(told.contains("app:1") && told.contains(words), "{told}");
        assert!(!told.contains(OFFERS_PATH), "no address with a token: {told}");
        assert_eq!(bench.files(), [], "{words}");
        assert_eq!(bench.removes.seen().len(), 1);
    }
}

#[actix_rt::test]
async fn a_device_without_room_is_not_asked() {
    tokio::time::pause();
    let bench = Bench::with(Way::Whole, 4999);
    let fault = bench.deliver(&archive(Some('a'))).await.expect_err("no room").to_string();
    assert!(fault.contains("4999 bytes free and 5000 are needed"), "{fault}");
    assert_eq!(bench.fetches.seen().len(), 0);
}

#[actix_rt::test]
async fn archives_without_a_digest_are_told_apart_by_when_they_were_written() {
    let bench = Bench::new(Way::Whole);
    let directory = tempfile::tempdir().expect("a directory");
    let path: PathBuf = directory.path().join("app-1.tar");
    let mut seen = Vec::new();
    for second in [1, 2] {
        std::fs::write(&path, [0; 5000]).expect("written");
        let file = std::fs::File::options().write(true).open(&path).expect("open");
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(second)).expect("stamped");
        let archive = Archive { path: path.clone(), ..archive(None) };
        seen.push(bench.deliver(&archive).await.expect("delivered"));
    }
    assert!(seen[0] != seen[1] && seen.iter().all(|path| path.starts_with("/disk1/cache/app-1-")), "{seen:?}");
}

#[actix_rt::test]
async fn on_a_shared_disk_nothing_is_moved() {
    let map = DiskMap::new(vec![("/cache".into(), "raid1/cache".into())], None);
    let context = RequestContext::new("test", Duration::from_secs(5));
    let shared = Delivery::Shared(map);
    let path = shared.deliver("app:1", &archive(Some('a')), &context).await;
    assert_eq!(path, Ok("/raid1/cache/app-1.tar".into()));
}
