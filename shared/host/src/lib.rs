//! What every daemon owes its host: clock, config, logs, metrics, signals, systemd, schedules.
