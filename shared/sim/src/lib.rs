//! The worlds to test in: virtual clock, seeded network, roads that can be cut.
