//! Files of the device. They are in no picture: each order looks for itself.

use std::sync::Arc;

use mkube_model::neighbours::router::{Outcome, Router, RouterFault, SMALL_FILE};
use mkube_model::secret::Secret;

use super::{TRIES, worth_a_look};

pub async fn fetch_file(
    router: Arc<dyn Router>,
    url: Secret,
    path: String,
    in_background: bool,
) -> Result<(), RouterFault> {
    match in_background {
        false => router.fetch_file(&url, &path).await,
        true => router.fetch_file_as_job(&url, &path).await,
    }
}

/// Which of two names there are decides what is left to do, also after an answer that got lost.
pub async fn rename_file(router: Arc<dyn Router>, from: String, to: String) -> Result<(), RouterFault> {
    let mut fault = None;
    for _ in 0..TRIES {
        if router.file_size(&from).await?.is_none() {
            let operation = format!("rename {from}");
            return match router.file_size(&to).await? {
                Some(_) => Ok(()),
                None => Err(fault.unwrap_or(RouterFault::NotFound { operation })),
            };
        }
        match router.rename_file(&from, &to).await {
            Ok(()) => return Ok(()),
            Err(again @ RouterFault::AlreadyExists { .. }) => {
                fault = Some(again);
                remove_file(router.clone(), to.clone()).await?;
            }
            Err(again) if worth_a_look(&again) => fault = Some(again),
            Err(fault) => return Err(fault),
        }
    }
    fault.map_or(Ok(()), Err)
}

pub async fn remove_file(router: Arc<dyn Router>, path: String) -> Result<(), RouterFault> {
    let mut fault = None;
    for _ in 0..TRIES {
        match router.remove_file(&path).await {
            Ok(()) | Err(RouterFault::NotFound { .. }) => return Ok(()),
            // Removing it once more shows whether it is gone.
            Err(again) if again.outcome() == Outcome::Unknown => fault = Some(again),
            Err(fault) => return Err(fault),
        }
    }
    fault.map_or(Ok(()), Err)
}

pub async fn place_file(router: Arc<dyn Router>, path: String, contents: String) -> Result<(), RouterFault> {
    if contents.len() > SMALL_FILE {
        let detail = format!("{} bytes are more than the {SMALL_FILE} that fit", contents.len());
        return Err(RouterFault::Refused { operation: format!("place {path}"), detail });
    }
    let mut fault = None;
    for _ in 0..TRIES {
        // To write the same once more changes nothing.
        let there = router.file_size(&path).await?.is_some();
        let done = match there {
            true => router.set_file(&path, &contents).await,
            false => router.add_file(&path, &contents).await,
        };
        match done {
            Ok(()) => return Ok(()),
            Err(again) if worth_a_look(&again) => fault = Some(again),
            Err(fault) => return Err(fault),
        }
    }
    fault.map_or(Ok(()), Err)
}
