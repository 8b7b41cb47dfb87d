//! How busy this machine's processors are, as a router says it in its `cpu-load`.

use std::time::Duration;

use tokio::time::Instant;

/// Shortest span over which a load is told: in a shorter one a single tick of the kernel counts for much.
const SPAN: Duration = Duration::from_secs(1);

/// Ticks of all processors since the machine started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    all: u64,
}

impl Ticks {
    /// Reads the first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal; what guests used is in user and
    /// nice.
    fn parse(text: &str) -> Option<Self> {
        let fields = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8);
        let ticks: Vec<u64> = fields.map(str::parse).collect::<Result<_, _>>().ok()?;
        let (idle, waiting) = (ticks.get(3)?, ticks.get(4).copied().unwrap_or(0));
        let all = ticks.iter().sum();
        Some(Self { busy: all - idle - waiting, all })
    }

    fn now() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    /// In percent of all processors. None where no tick went by.
    fn load_since(self, before: Self) -> Option<u8> {
        let all = self.all.checked_sub(before.all).filter(|all| *all > 0)?;
        let busy = self.busy.saturating_sub(before.busy).min(all);
        u8::try_from(busy.saturating_mul(100) / all).ok()
    }
}

/// Looks from time to time, when it is asked.
#[derive(Debug)]
pub(crate) struct CpuLoad {
    last: Option<Ticks>,
    at: Instant,
    percent: u8,
}

impl CpuLoad {
    /// Nothing is known of the load until a span has gone by.
    pub(crate) fn new() -> Self {
        Self { last: Ticks::now(), at: Instant::now(), percent: 0 }
    }

    /// In percent, between the last two looks.
    pub(crate) fn percent(&mut self) -> u8 {
        if self.at.elapsed() >= SPAN {
            let now = Ticks::now();
            let load = now.zip(self.last).and_then(|(now, last)| now.load_since(last));
            self.percent = load.unwrap_or(self.percent);
            (self.last, self.at) = (now.or(self.last), Instant::now());
        }
        self.percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_what_was_neither_idle_nor_waited_for_a_disk() {
        let before = Ticks::parse("cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 1 1 1\n").expect("ticks");
        assert_eq!(before, Ticks { busy: 200, all: 1000 });
        // 60 of user, 10 of irq, 5 stolen; 20 idle, 5 waited. What guests used is not counted twice.
        let now = Ticks::parse("cpu  160 0 100 720 105 10 0 5 60 0\n").expect("ticks");
        assert_eq!(now.load_since(before), Some(75));
        assert_eq!(now.load_since(now), None, "no tick went by");
        assert_eq!(before.load_since(now), None, "a machine does not get younger");
        for text in ["", "cpu0 1 2 3 4", "cpu  1 2 three 4"] {
            assert_eq!(Ticks::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn this_machine_tells_its_ticks() {
        assert!(Ticks::now().is_some_and(|ticks| ticks.all > 0 && ticks.busy <= ticks.all));
    }
}
