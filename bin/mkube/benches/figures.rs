//! `make bench`: the figures of docs/performance.md, taken from the real binary over real HTTP.
//!
//! Each section starts its own processes, prints one table and stops them again. Name sections to run only those:
//! `cargo bench --bench figures -- scale ready`.
#![allow(clippy::disallowed_methods, reason = "what is measured is the time of real processes")]

#[path = "figures/api.rs"]
mod api;
#[path = "figures/dns.rs"]
mod dns;
#[path = "figures/failover.rs"]
mod failover;
#[path = "figures/floor.rs"]
mod floor;
#[path = "figures/images.rs"]
mod images;
#[path = "figures/kubernetes.rs"]
mod kubernetes;
#[path = "figures/limits.rs"]
mod limits;
#[path = "figures/machine.rs"]
mod machine;
#[path = "figures/names.rs"]
mod names;
#[path = "figures/pod_start.rs"]
mod pod_start;
#[path = "figures/pull.rs"]
mod pull;
#[path = "figures/ready.rs"]
mod ready;
#[path = "figures/registry.rs"]
mod registry;
#[path = "figures/registry_client.rs"]
mod registry_client;
#[path = "figures/registry_peers.rs"]
mod registry_peers;
#[path = "figures/rollout.rs"]
mod rollout;
#[path = "figures/scale.rs"]
mod scale;
#[path = "figures/watch.rs"]
mod watch;
#[path = "figures/workloads.rs"]
mod workloads;

fn main() -> anyhow::Result<()> {
    // cargo passes flags of its own; names are what does not begin with a dash.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if let Some(listen) = std::env::args().skip_while(|word| word != floor::WORD).nth(1) {
        return floor::serve(&listen);
    }
    let asked = |name: &str| wanted.is_empty() || wanted.iter().any(|one| one == name);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _ = rustls::crypto::ring::default_provider().install_default();
    machine::describe();
    runtime.block_on(async {
        if asked("ready") {
            ready::run().await?;
        }
        if asked("pod-start") {
            pod_start::run().await?;
        }
        if asked("scale") {
            scale::run().await?;
        }
        if asked("watch") {
            watch::run().await?;
        }
        if asked("api") {
            api::run().await?;
        }
        if asked("kubernetes") {
            kubernetes::run().await?;
        }
        if asked("failover") {
            failover::run().await?;
        }
        if asked("workloads") {
            workloads::run().await?;
        }
        if asked("registry") {
            registry::run().await?;
        }
        if asked("dns") {
            dns::run().await?;
        }
        if asked("names") {
            names::run().await?;
        }
        if asked("pull") {
            pull::run().await?;
        }
        if asked("rollout") {
            rollout::run().await?;
        }
        Ok(())
    })
}
