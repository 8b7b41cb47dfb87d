//! Jobs and CronJobs: pods that run to their end, once or by the clock.
