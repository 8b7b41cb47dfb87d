//! Files offered to the device: whole or in pieces, once, and nothing beside them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use mkube_messages::offers::Offered;
use mkube_scenarios::{Setup, World};

use crate::quiet;

const LONG: Duration = Duration::from_secs(600);
const SIZE: usize = 3 << 20;

/// Offers a file of some megabytes behind a word.
fn offer(world: &World, word: &str) -> anyhow::Result<(Offered, Vec<u8>)> {
    let contents: Vec<u8> = (0..SIZE).map(|index| b'a' + (index % 23) as u8).collect();
    let path = world.directory().join(format!("{word}.tar"));
    std::fs::write(&path, &contents)?;
    Ok((world.controller().offers.offer(word.into(), path, SIZE as u64, LONG), contents))
}

#[actix_rt::test]
async fn a_file_is_given_once_to_whoever_knows_its_word_also_where_hosts_are_guarded() -> anyhow::Result<()> {
    let world = World::with(Setup { guarded: true, ..Setup::default() }).await?;
    let api = world.api();
    let (offered, contents) = offer(&world, "word")?;
    let foreign = [("host", "router.example:8082"), ("origin", "http://router.example")];
    let head = api.send("HEAD", "/offers/word", &foreign, "").await?.expect(200);
    assert_eq!(head.header("content-length"), SIZE.to_string());
    assert_eq!((head.header("accept-ranges"), head.text.as_str()), ("bytes", ""));
    for (method, path, code) in [
        ("GET", "/offers/other", 404),
        ("GET", "/offers/", 404),
        ("GET", "/offers/word/", 404),
        ("GET", "/offers/word.tar", 404),
        ("POST", "/offers/word", 405),
        ("DELETE", "/offers/word", 405),
    ] {
        api.send(method, path, &foreign, "").await?.expect(code);
    }
    let whole = api.send("GET", "/offers/word", &foreign, "").await?.expect(200);
    assert!(whole.text.as_bytes() == contents, "every byte of it");
    assert!(offered.is_used_up());
    for method in ["GET", "HEAD"] {
        api.send(method, "/offers/word", &foreign, "").await?.expect(404);
    }
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_cut_download_is_continued_and_ends_the_offer_when_all_was_given() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let (offered, contents) = offer(&world, "word")?;
    let get = async |range: &str| api.send("GET", "/offers/word", &[("range", range)], "").await;
    let beyond = get(&format!("bytes={SIZE}-")).await?.expect(416);
    assert_eq!(beyond.header("content-range"), format!("bytes */{SIZE}"));
    let first = get("bytes=0-999999").await?.expect(206);
    assert_eq!(first.header("content-range"), format!("bytes 0-999999/{SIZE}"));
    assert_eq!(first.header("content-length"), "1000000");
    let last = get("bytes=-100").await?.expect(206);
    assert!(last.text.as_bytes() == &contents[SIZE - 100..] && !offered.is_used_up());
    let rest = get("bytes=1000000-").await?.expect(206);
    assert!([first.text, rest.text].concat().as_bytes() == contents && offered.is_used_up());
    get("bytes=0-1").await?.expect(404);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_download_ends_with_its_offer_in_the_middle() -> anyhow::Result<()> {
    let world = quiet().await?;
    // More than the sockets hold by themselves.
    let path = world.directory().join("big.tar");
    std::fs::File::create(&path)?.set_len(256 << 20)?;
    let offered = world.controller().offers.offer("word".into(), path, 256 << 20, LONG);
    let address = world.api().address();
    let (begun, told) = tokio::sync::oneshot::channel();
    let (ended, go_on) = std::sync::mpsc::channel::<()>();
    let reader = tokio::task::spawn_blocking(move || -> anyhow::Result<usize> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"GET /offers/word HTTP/1.1\r\nhost: x\r\n\r\n")?;
        let mut some = vec![0; 1000];
        stream.read_exact(&mut some)?;
        let _ = begun.send(());
        go_on.recv()?;
        let mut rest = Vec::new();
        // The end comes as a cut.
        let _ = stream.read_to_end(&mut rest);
        Ok(some.len() + rest.len())
    });
    told.await?;
    assert_eq!(offered.idle(), None, "somebody reads");
    drop(offered);
    ended.send(())?;
    assert!(reader.await?? < 256 << 20, "it was cut");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_file_that_is_not_what_was_offered_is_not_given() -> anyhow::Result<()> {
    let world = quiet().await?;
    let (_offered, _) = offer(&world, "changed")?;
    std::fs::write(world.directory().join("changed.tar"), "something else")?;
    world.api().get("/offers/changed").await?.expect(410);
    let (_gone, _) = offer(&world, "gone")?;
    std::fs::remove_file(world.directory().join("gone.tar"))?;
    world.api().get("/offers/gone").await?.expect(410);
    world.stop().await;
    Ok(())
}
