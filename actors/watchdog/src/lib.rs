//! Watchdog: judges how containers are, by their probes and by what the device did. It restarts nothing itself.
