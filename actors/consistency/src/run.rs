//! One run: looks at everything that is published, judges it, and makes the report. No call to anybody.

use mkube_messages::consistency::{ActionReport, ConsistencyReport, RepairOutcome};

use crate::actor::ConsistencyParts;
use crate::checks;
use crate::decide::{Decision, Verdict, decide};
use crate::facts::Facts;
use crate::memory::Memory;
use crate::orphans;
use crate::sights::Sights;

/// What a run came to.
pub struct Run {
    pub report: ConsistencyReport,
    pub decision: Decision,
}

/// Nothing before store and device were read: until then absence means nothing.
pub fn run(parts: &ConsistencyParts, sights: &mut Sights, memory: &mut Memory) -> Option<Run> {
    let (view, device) = (parts.objects.view(), parts.device.borrow().clone());
    if !view.loaded || !device.complete {
        return None;
    }
    let kinds = parts.objects.kinds();
    sights.read(kinds, &view);
    let now = tokio::time::Instant::now();
    let changed = memory.changed(sights, now);
    memory.witness(&device);
    let (witnessed, emptied) = (std::mem::take(&mut memory.witnessed), std::mem::take(&mut memory.emptied));
    let (leases, images, volumes, rollouts) = (
        parts.leases.borrow().clone(),
        parts.images.borrow().clone(),
        parts.volumes.borrow().clone(),
        parts.rollouts.borrow().clone(),
    );
    let names = parts.names.borrow().clone();
    let facts = Facts {
        now,
        time: parts.clock.now(),
        view: &view,
        kinds,
        sights,
        device: &device,
        leases: &leases,
        names: &names,
        images: &images,
        volumes: &volumes,
        rollouts: &rollouts,
        volumes_base: &parts.volumes_base,
        changed: &changed,
        witnessed: &witnessed,
        emptied: &emptied,
    };
    let found = orphans::find(&facts);
    memory.sight(&found, now);
    let decision = decide(&facts, found, &orphans::totals(&facts), memory, &parts.rules);
    let findings = checks::all(&facts, &decision);
    let time = facts.time;
    (memory.witnessed, memory.emptied) = (witnessed, emptied);
    let report = ConsistencyReport {
        timestamp: time,
        checks: memory.date(findings, time),
        planned: planned(&decision),
        automatic: parts.rules.automatic,
        stopped: decision.alarm.clone(),
    };
    Some(Run { report, decision })
}

/// What a repair would do now, and what it would not.
pub fn planned(decision: &Decision) -> Vec<ActionReport> {
    let report = |(orphan, verdict): &(orphans::Orphan, Verdict)| {
        let (outcome, why) = match verdict {
            Verdict::Due => (RepairOutcome::Planned, String::new()),
            Verdict::Later(why, _) => (RepairOutcome::Planned, why.clone()),
            Verdict::Refused(why) => (RepairOutcome::Refused, why.clone()),
        };
        action(orphan, outcome, why)
    };
    decision.verdicts.iter().map(report).collect()
}

/// One line of a repair.
pub fn action(orphan: &orphans::Orphan, outcome: RepairOutcome, why: String) -> ActionReport {
    let check = orphan.check().1;
    ActionReport { check, action: orphan.action, object: orphan.object.clone(), outcome, why }
}
