//! `GET /offers/<word>`: one file to whoever knows its word, whole or in ranges, and nothing else of the disk.

use std::io::SeekFrom;
use std::ops::Range;

use actix_web::body::SizedStream;
use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use mkube_messages::offers::{Offers, Reading};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

/// Bytes sent at once.
const CHUNK: usize = 256 << 10;

/// Answers a request for the offer behind `token`. The token is in no log: who answers here keeps no trace of the path.
pub async fn answer(request: &HttpRequest, offers: &Offers, token: &str) -> HttpResponse {
    let head = request.method() == Method::HEAD;
    if !head && request.method() != Method::GET {
        return HttpResponse::MethodNotAllowed().insert_header((header::ALLOW, crate::methods::READ)).finish();
    }
    let Some(offer) = offers.find(token) else { return HttpResponse::NotFound().finish() };
    let length = offer.bytes();
    let opened = async {
        let file = File::open(offer.path()).await?;
        let there = file.metadata().await?;
        Ok::<_, std::io::Error>((file, there.is_file() && there.len() == length))
    };
    let mut file = match opened.await {
        Ok((file, true)) => file,
        // It was offered as something else.
        Ok((_, false)) => return HttpResponse::Gone().finish(),
        Err(error) => {
            tracing::warn!(%error, path = %offer.path().display(), "an offered file cannot be read");
            return HttpResponse::Gone().finish();
        }
    };
    let asked = request.headers().get(header::RANGE).and_then(|range| range.to_str().ok());
    let (mut response, range) = match range_of(asked, length) {
        Asked::Whole => (HttpResponse::Ok(), 0..length),
        Asked::Part(range) => {
            let mut response = HttpResponse::PartialContent();
            let told = format!("bytes {}-{}/{length}", range.start, range.end - 1);
            response.insert_header((header::CONTENT_RANGE, told));
            (response, range)
        }
        Asked::Beyond => {
            let told = (header::CONTENT_RANGE, format!("bytes */{length}"));
            return HttpResponse::RangeNotSatisfiable().insert_header(told).finish();
        }
    };
    response.content_type("application/octet-stream");
    response.insert_header((header::ACCEPT_RANGES, "bytes"));
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    let size = range.end - range.start;
    if head {
        return response.body(SizedStream::new(size, stream::empty::<Result<Bytes, std::io::Error>>()));
    }
    let Some(reading) = offer.read() else {
        return HttpResponse::ServiceUnavailable().insert_header((header::RETRY_AFTER, "5")).finish();
    };
    if let Err(error) = file.seek(SeekFrom::Start(range.start)).await {
        tracing::warn!(%error, path = %offer.path().display(), "an offered file cannot be read");
        return HttpResponse::Gone().finish();
    }
    response.body(SizedStream::new(size, pieces(file, reading, range)))
}

/// The bytes of a range, until the offer ends.
fn pieces(file: File, reading: Reading, range: Range<u64>) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> {
    stream::try_unfold((file, reading, range), async |(mut file, reading, range)| {
        if range.is_empty() {
            return Ok(None);
        }
        if !reading.goes_on() {
            return Err(std::io::Error::other("the offer has ended"));
        }
        let wanted = CHUNK.min(usize::try_from(range.end - range.start).unwrap_or(CHUNK));
        let mut piece = BytesMut::with_capacity(wanted);
        (&mut file).take(wanted as u64).read_buf(&mut piece).await?;
        if piece.is_empty() {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
        }
        let count = piece.len() as u64;
        reading.sent(range.start, count);
        Ok(Some((piece.freeze(), (file, reading, range.start + count..range.end))))
    })
}

/// What a `Range` header asks for.
#[derive(Debug, PartialEq)]
enum Asked {
    /// Everything; also when the header is not understood, as HTTP has it.
    Whole,
    /// Never empty.
    Part(Range<u64>),
    /// Nothing that is there.
    Beyond,
}

fn range_of(header: Option<&str>, length: u64) -> Asked {
    let Some((first, last)) = header.and_then(|text| text.strip_prefix("bytes=")).and_then(|text| text.split_once('-'))
    else {
        return Asked::Whole;
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(length),
        (Some(first), None) if last.trim().is_empty() => first..length,
        (None, Some(count)) if first.trim().is_empty() => length.saturating_sub(count)..length,
        _ => return Asked::Whole,
    };
    if range.start < range.end { Asked::Part(range) } else { Asked::Beyond }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_http() {
        let asked = |text| range_of(Some(text), 100);
        assert_eq!(range_of(None, 100), Asked::Whole);
        assert_eq!(asked("bytes=0-"), Asked::Part(0..100));
        assert_eq!(asked("bytes=10-19"), Asked::Part(10..20));
        assert_eq!(asked("bytes=90-1000"), Asked::Part(90..100));
        assert_eq!(asked("bytes=-30"), Asked::Part(70..100));
        assert_eq!(asked("bytes=-1000"), Asked::Part(0..100));
        for beyond in ["bytes=100-", "bytes=100-200", "bytes=-0"] {
            assert_eq!(asked(beyond), Asked::Beyond, "{beyond}");
        }
        for odd in ["bytes=0-1,5-6", "lines=1-2", "bytes=9-3", "bytes=x-", "bytes=-", "bytes"] {
            assert_eq!(asked(odd), Asked::Whole, "{odd}");
        }
        assert_eq!(asked("bytes=0-18446744073709551615"), Asked::Part(0..100));
    }
}
