//! Reads buckets as they are, without making any and without a file.

use std::path::PathBuf;

use mkube_model::neighbours::desired_store::{StoreContents, StoreFault, StoredValue};
use mkube_model::settings::NatsSettings;

use super::{JetStreamOptions, session};

/// Everything these buckets of a store in NATS hold, and which of them there are.
pub async fn read_buckets(
    nats: &NatsSettings,
    buckets: &[String],
    name: &str,
) -> Result<(StoreContents, Vec<String>), StoreFault> {
    let options = JetStreamOptions {
        nats: nats.clone(),
        buckets: buckets.to_vec(),
        path: PathBuf::new(),
        write_behind: false,
        name: name.to_owned(),
        copy: |_, _, _| Ok(()),
    };
    let session = session::open(&options).await.map_err(StoreFault::Absent)?;
    let streams = session::look(&session, buckets).await.map_err(StoreFault::Absent)?;
    let there: Vec<String> =
        streams.iter().filter(|(_, stream)| stream.is_some()).map(|(bucket, _)| bucket.clone()).collect();
    let (_, found) = session::read_all(&session, &there).await.map_err(StoreFault::Absent)?;
    let revisions = streams.into_iter().filter_map(|(bucket, stream)| Some((bucket, stream?.last)));
    let live = found.into_values().flatten().filter(|(_, (known, _))| known.live);
    let values = live.map(|(at, (known, value))| StoredValue { at, revision: known.revision, value });
    let contents = StoreContents { values: values.collect(), buckets: revisions.collect(), ..StoreContents::default() };
    Ok((contents, there))
}
