//! Container rows and the three commands that move them.

use std::sync::Arc;

use mkube_messages::router::DeviceSnapshot;
use mkube_model::neighbours::router::{
    ContainerRow, ContainerState, NewContainer, Outcome, Router, RouterFault, RowId,
};

use super::{Belief, Done, TRIES, worth_a_look};
use crate::picture::Learned;

async fn look(
    router: &dyn Router,
    name: &str,
    learned: &mut Vec<Learned>,
) -> Result<Option<ContainerRow>, RouterFault> {
    let rows = router.containers().await?;
    let row = rows.iter().find(|row| row.name == name).cloned();
    learned.push(Learned::Containers(rows));
    Ok(row)
}

/// A name is looked for before it is added again: no release is known to refuse a second row of the same name.
pub async fn ensure_container(
    router: Arc<dyn Router>,
    seen: Arc<DeviceSnapshot>,
    want: NewContainer,
    doubt: &mut bool,
) -> Done {
    let mut learned = Vec::new();
    let mut belief = Belief { what: seen.containers.contains_key(&want.name), doubt };
    let mut fault: Option<RouterFault> = None;
    for _ in 0..TRIES {
        if *belief.doubt || fault.is_some() {
            match look(&*router, &want.name, &mut learned).await {
                Ok(found) => (belief.what, *belief.doubt) = (found.is_some(), false),
                Err(fault) => return Done { learned, result: Err(fault) },
            }
        }
        if belief.what {
            return Done { learned, result: Ok(()) };
        }
        // A refusal stands: only a lost answer is followed by another try.
        if let Some(fault) = fault.take_if(|fault| fault.outcome() != Outcome::Unknown) {
            return Done { learned, result: Err(fault) };
        }
        match belief.noted(router.add_container(&want).await) {
            Ok(id) => {
                learned.push(Learned::Container(row_of(id, &want)));
                return Done { learned, result: Ok(()) };
            }
            Err(again) if again.outcome() == Outcome::Unknown || matches!(again, RouterFault::AlreadyExists { .. }) => {
                fault = Some(again);
            }
            Err(fault) => return Done { learned, result: Err(fault) },
        }
    }
    Done { learned, result: fault.map_or(Ok(()), Err) }
}

fn row_of(id: RowId, want: &NewContainer) -> ContainerRow {
    ContainerRow {
        id,
        name: want.name.clone(),
        state: ContainerState::Extracting,
        file: want.file.clone(),
        interfaces: vec![want.interface.clone()],
        root_dir: want.root_dir.clone(),
        mount_lists: want.mount_list.iter().cloned().collect(),
        env_lists: want.env_list.iter().cloned().collect(),
        cmd: want.cmd.clone(),
        entrypoint: want.entrypoint.clone(),
        workdir: want.workdir.clone(),
        user: want.user.clone(),
        hostname: want.hostname.clone(),
        dns: want.dns.clone(),
        logging: want.logging,
        start_on_boot: want.start_on_boot,
        comment: want.comment.clone(),
        about: String::new(),
        memory_current: None,
        cpu_percent: None,
    }
}

/// One of the three commands that move a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// To running.
    Start,
    /// To stopped.
    Stop,
    /// To gone.
    Remove,
}

impl Move {
    /// Whether a container in `state` (`None`: no row) is there already, or on its way.
    fn achieved(self, state: Option<ContainerState>) -> bool {
        match self {
            Self::Start => matches!(state, Some(ContainerState::Running | ContainerState::Starting)),
            Self::Stop => matches!(
                state,
                None | Some(ContainerState::Stopped | ContainerState::Stopping | ContainerState::Deleting)
            ),
            Self::Remove => matches!(state, None | Some(ContainerState::Deleting)),
        }
    }

    fn accepted_state(self) -> ContainerState {
        match self {
            Self::Start => ContainerState::Starting,
            Self::Stop => ContainerState::Stopping,
            Self::Remove => ContainerState::Deleting,
        }
    }
}

pub async fn move_container(
    router: Arc<dyn Router>,
    seen: Arc<DeviceSnapshot>,
    name: String,
    to: Move,
    doubt: &mut bool,
) -> Done {
    let mut learned = Vec::new();
    let what = seen.containers.get(&name).map(|row| (**row).clone());
    let mut belief = Belief { what, doubt };
    let mut fault: Option<RouterFault> = None;
    for _ in 0..TRIES {
        if *belief.doubt || fault.is_some() {
            match look(&*router, &name, &mut learned).await {
                Ok(found) => {
                    let key = |row: &Option<ContainerRow>| row.as_ref().map(|row| (row.id.clone(), row.state));
                    let moved = key(&found) != key(&belief.what);
                    (belief.what, *belief.doubt) = (found, false);
                    // Nothing moved: repeating at once would get the same answer.
                    if let Some(fault) = fault.take_if(|fault| !moved && fault.outcome() != Outcome::Unknown) {
                        return Done { learned, result: Err(fault) };
                    }
                }
                Err(fault) => return Done { learned, result: Err(fault) },
            }
        }
        if to.achieved(belief.what.as_ref().map(|row| row.state)) {
            return Done { learned, result: Ok(()) };
        }
        let Some(id) = belief.what.as_ref().map(|row| row.id.clone()) else {
            let operation = format!("{to:?} {name}");
            return Done { learned, result: Err(RouterFault::NotFound { operation }) };
        };
        let result = match to {
            Move::Start => router.start_container(&id).await,
            Move::Stop => router.stop_container(&id).await,
            Move::Remove => router.remove_container(&id).await,
        };
        match belief.noted(result) {
            Ok(()) => {
                learned.push(Learned::State(name, to.accepted_state()));
                return Done { learned, result: Ok(()) };
            }
            Err(again) if worth_a_look(&again) => fault = Some(again),
            Err(fault) => return Done { learned, result: Err(fault) },
        }
    }
    Done { learned, result: fault.map_or(Ok(()), Err) }
}

pub async fn mark_container(router: Arc<dyn Router>, seen: Arc<DeviceSnapshot>, name: String, comment: String) -> Done {
    let Some(row) = seen.containers.get(&name) else {
        return Done { learned: vec![], result: Err(RouterFault::NotFound { operation: format!("mark {name}") }) };
    };
    match router.set_container_comment(&row.id, &comment).await {
        Ok(()) => Done { learned: vec![Learned::Comment(name, comment)], result: Ok(()) },
        Err(fault) => Done { learned: vec![], result: Err(fault) },
    }
}

pub async fn set_start_on_boot(router: Arc<dyn Router>, seen: Arc<DeviceSnapshot>, name: String, on: bool) -> Done {
    let Some(row) = seen.containers.get(&name) else {
        let operation = format!("set start-on-boot of {name}");
        return Done { learned: vec![], result: Err(RouterFault::NotFound { operation }) };
    };
    match router.set_start_on_boot(&row.id, on).await {
        Ok(()) => Done { learned: vec![Learned::StartOnBoot(name, on)], result: Ok(()) },
        Err(fault) => Done { learned: vec![], result: Err(fault) },
    }
}
