//! Mount and environment lists.

use std::sync::Arc;

use mkube_model::neighbours::router::{EnvRow, MountRow, NewMount, Router, RouterFault};

use super::{TRIES, worth_a_look};

/// Makes the list hold exactly `want`. `known` is what we last knew of it, `None` when unknown; so it is left.
pub async fn ensure_mounts(
    router: Arc<dyn Router>,
    known: &mut Option<Vec<MountRow>>,
    list: String,
    want: Vec<NewMount>,
) -> Result<(), RouterFault> {
    let mut fault = None;
    for _ in 0..TRIES {
        let mut rows = match known.take() {
            Some(rows) => rows,
            None => mounts_of(&*router, &list).await?,
        };
        match ensure_mounts_once(&*router, &mut rows, &want).await {
            Ok(()) => {
                *known = Some(rows);
                return Ok(());
            }
            Err(again) if worth_a_look(&again) && fault.as_ref() != Some(&again) => fault = Some(again),
            Err(fault) => return Err(fault),
        }
    }
    fault.map_or(Ok(()), Err)
}

/// That a list holds nothing is believed when it is said twice: whoever writes beside rows that are there leaves two for one name.
async fn mounts_of(router: &dyn Router, list: &str) -> Result<Vec<MountRow>, RouterFault> {
    let rows = router.mounts(list).await?;
    if rows.is_empty() { router.mounts(list).await } else { Ok(rows) }
}

/// As [`mounts_of`].
async fn envs_of(router: &dyn Router, list: &str) -> Result<Vec<EnvRow>, RouterFault> {
    let rows = router.envs(list).await?;
    if rows.is_empty() { router.envs(list).await } else { Ok(rows) }
}

async fn ensure_mounts_once(
    router: &dyn Router,
    rows: &mut Vec<MountRow>,
    want: &[NewMount],
) -> Result<(), RouterFault> {
    let fits = |row: &MountRow, new: &NewMount| {
        row.dst == new.dst && row.src.trim_matches('/') == new.src.trim_matches('/') && row.read_only == new.read_only
    };
    let mut kept: Vec<&NewMount> = Vec::new();
    let mut index = 0;
    while index < rows.len() {
        let match_ = want.iter().find(|new| fits(&rows[index], new) && !kept.contains(new));
        if let Some(new) = match_ {
            kept.push(new);
            index += 1;
        } else {
            router.remove_mount(&rows[index].id).await?;
            rows.remove(index);
        }
    }
    for new in want.iter().filter(|new| !kept.contains(new)) {
        let id = router.add_mount(new).await?;
        rows.push(MountRow {
            id,
            list: new.list.clone(),
            src: new.src.clone(),
            dst: new.dst.clone(),
            read_only: new.read_only,
        });
    }
    Ok(())
}

/// Makes the list hold exactly `want`. As [`ensure_mounts`].
pub async fn ensure_envs(
    router: Arc<dyn Router>,
    known: &mut Option<Vec<EnvRow>>,
    list: String,
    want: Vec<(String, String)>,
) -> Result<(), RouterFault> {
    let mut fault = None;
    for _ in 0..TRIES {
        let mut rows = match known.take() {
            Some(rows) => rows,
            None => envs_of(&*router, &list).await?,
        };
        match ensure_envs_once(&*router, &mut rows, &list, &want).await {
            Ok(()) => {
                *known = Some(rows);
                return Ok(());
            }
            Err(again) if worth_a_look(&again) && fault.as_ref() != Some(&again) => fault = Some(again),
            Err(fault) => return Err(fault),
        }
    }
    fault.map_or(Ok(()), Err)
}

async fn ensure_envs_once(
    router: &dyn Router,
    rows: &mut Vec<EnvRow>,
    list: &str,
    want: &[(String, String)],
) -> Result<(), RouterFault> {
    let mut index = 0;
    let mut kept: Vec<&str> = Vec::new();
    while index < rows.len() {
        let row = &rows[index];
        let fits = want.iter().find(|(key, value)| *key == row.key && *value == row.value);
        match fits {
            Some((key, _)) if !kept.contains(&key.as_str()) => {
                kept.push(key);
                index += 1;
            }
            _ => {
                router.remove_env(&row.id).await?;
                rows.remove(index);
            }
        }
    }
    for (key, value) in want.iter().filter(|(key, _)| !kept.contains(&key.as_str())) {
        let id = router.add_env(list, key, value).await?;
        rows.push(EnvRow { id, list: list.to_owned(), key: key.clone(), value: value.clone() });
    }
    Ok(())
}
