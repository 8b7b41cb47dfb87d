//! Blobs: whether they are there, their bytes or some of them, and removing them.

use actix_web::HttpResponse;
use actix_web::body::SizedStream;
use actix_web::http::header;

use crate::digest::Digest;
use crate::fault::Fault;
use crate::http::{Call, answer, download};
use crate::names::RepositoryName;

/// Which bytes are wanted.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All,
    Some { first: u64, length: u64 },
    Impossible,
}

/// Reads a `Range` header of one range. What cannot be read, or has several, counts as not said, as HTTP has it.
fn wanted(range: Option<&str>, size: u64) -> Wanted {
    let Some(range) = range.and_then(|text| text.trim().strip_prefix("bytes=")) else { return Wanted::All };
    let Some((first, last)) = range.split_once('-') else { return Wanted::All };
    let number = |text: &str| text.trim().parse::<u64>();
    match (number(first), number(last)) {
        (Err(_), Ok(count)) if first.trim().is_empty() => {
            let length = count.min(size);
            if length == 0 { Wanted::Impossible } else { Wanted::Some { first: size - length, length } }
        }
        (Ok(first), Err(_)) if last.trim().is_empty() && first < size => Wanted::Some { first, length: size - first },
        (Ok(first), Ok(last)) if first <= last && first < size => {
            Wanted::Some { first, length: last.min(size - 1) - first + 1 }
        }
        (Ok(_), Ok(_)) => Wanted::Impossible,
        (Ok(_), Err(_)) if last.trim().is_empty() => Wanted::Impossible,
        _ => Wanted::All,
    }
}

pub async fn get(call: Call, repository: &RepositoryName, digest: &Digest) -> Result<HttpResponse, Fault> {
    let store = &call.parts().store;
    if store.blob(repository, digest).await?.is_none() {
        let fetched = match &call.parts().source {
            // Clients that push look for every layer first: what is only looked for is not fetched.
            Some(source) if !call.is_head() => source.fetch_blob(store, repository, digest).await?,
            _ => false,
        };
        if !fetched {
            return Err(Fault::BlobUnknown(digest.clone()));
        }
    }
    let unknown = || Fault::BlobUnknown(digest.clone());
    let mut response = answer::about(HttpResponse::Ok(), digest);
    response.insert_header((header::ACCEPT_RANGES, "bytes"));
    response.insert_header((header::CONTENT_TYPE, "application/octet-stream"));
    response.insert_header((header::ETAG, format!("\"{digest}\"")));
    if call.is_head() {
        let size = store.blob(repository, digest).await?.ok_or_else(unknown)?;
        return Ok(answer::only_head(response, size));
    }
    let blob = store.open_blob(repository, digest).await?.ok_or_else(unknown)?;
    let (first, length) = match wanted(call.header(&header::RANGE), blob.size) {
        Wanted::All => (0, blob.size),
        Wanted::Some { first, length } => {
            response.status(actix_web::http::StatusCode::PARTIAL_CONTENT);
            let range = format!("bytes {first}-{}/{}", first + length - 1, blob.size);
            response.insert_header((header::CONTENT_RANGE, range));
            (first, length)
        }
        Wanted::Impossible => {
            let mut response = answer::headers(HttpResponse::RangeNotSatisfiable());
            response.insert_header((header::CONTENT_RANGE, format!("bytes */{}", blob.size)));
            return Ok(response.finish());
        }
    };
    let downloads = call.shared.downloads.clone();
    Ok(response.body(SizedStream::new(length, download::send(blob.file, first, length, downloads, call.permit))))
}

pub async fn delete(call: &Call, repository: &RepositoryName, digest: &Digest) -> Result<HttpResponse, Fault> {
    call.parts().store.delete_blob(repository, digest).await?;
    Ok(answer::headers(HttpResponse::Accepted()).finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_http_has_it() {
        let some = |first, length| Wanted::Some { first, length };
        for (range, expected) in [
            ("bytes=0-0", some(0, 1)),
            ("bytes=500-1499", some(500, 1000)),
            ("bytes=500-", some(500, 1548)),
            ("bytes=-500", some(1548, 500)),
            ("bytes=-5000", some(0, 2048)),
            ("bytes=2000-5000", some(2000, 48)),
            ("bytes=500-0", Wanted::Impossible),
            ("bytes=2048-", Wanted::Impossible),
            ("bytes=5000-10000", Wanted::Impossible),
            ("bytes=-0", Wanted::Impossible),
            ("bytes=-", Wanted::All),
            ("bytes=0-1,5-6", Wanted::All),
            ("items=0-1", Wanted::All),
            ("bytes=0-18446744073709551615", some(0, 2048)),
        ] {
            assert_eq!(wanted(Some(range), 2048), expected, "{range}");
        }
        assert_eq!(wanted(Some("bytes=0-"), 0), Wanted::Impossible);
        assert_eq!(wanted(None, 0), Wanted::All);
    }
}
