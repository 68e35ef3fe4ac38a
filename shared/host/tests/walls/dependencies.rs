//! Rules about crates: names, purity, storeys, owners of foreign crates.
//!
//! Promise: each breach is one line with file, rule and fix.
//! Absent: reading; `house.rs` does that.

use super::house::Room;

/// The pure crates, each with the foreign crates that it may ship. None of these touches the world:
/// they hash, encode, hold bytes, draw from a generator that was seeded outside, or decide without a socket and a clock:
/// foca is SWIM as a state machine, rand_core the trait through which it takes our seeded generator.
const PURE: [(&str, &[&str]); 5] = [
    ("millrace-model", &["blake3", "bytes", "serde", "serde_json", "thiserror"]),
    ("millrace-wire", &["bytes", "serde", "serde_bytes", "serde_cbor", "thiserror"]),
    ("millrace-merkle", &["blake3", "bytes", "serde", "thiserror"]),
    ("millrace-agent-engine", &["bytes", "fastrand", "serde", "thiserror"]),
    ("millrace-hub-engine", &["bytes", "fastrand", "foca", "rand_core", "serde", "thiserror"]),
];

/// Foreign crates with owners: nobody else names them, so their owner can replace them.
const OWNED: [(&str, &[&str]); 14] = [
    ("rusqlite", &["shared/journal"]),
    ("libsqlite3-sys", &["shared/journal"]),
    ("quinn", &["shared/link"]),
    ("quinn-proto", &["shared/link"]),
    ("rustls", &["shared/link"]),
    ("tokio-rustls", &["shared/link"]),
    ("rustls-pki-types", &["shared/link"]),
    ("rcgen", &["shared/link"]),
    ("openraft", &["hub/control"]),
    ("rumqttc", &["agent/daemon", "hub/demo"]),
    ("serde_cbor", &["shared/wire"]),
    ("foca", &["hub/engine"]),
    ("tokio-cron-scheduler", &["shared/host"]),
    ("sd-notify", &["shared/host"]),
];

/// The feature of the journal that damages a store on purpose.
const HARM: &str = "sabotage";

/// Crates that any test may use as a tool: certificates of a broker that is not ours.
const TEST_TOOLS: [&str; 1] = ["rcgen"];

/// The crates of hub/* that run agents too: the simulated fleet, the demo, the benchmark.
const BOTH_SIDES: [&str; 3] = ["hub/fleet", "hub/demo", "hub/bench"];

fn is_pure(name: &str) -> bool {
    PURE.iter().any(|(pure, _)| *pure == name)
}

fn is_ours(name: &str) -> bool {
    name.starts_with("millrace-")
}

pub(crate) fn names(rooms: &[Room]) -> Vec<String> {
    let wrong = rooms.iter().filter(|room| expected_name(&room.path) != room.name);
    wrong
        .map(|room| {
            let (path, name, expected) = (&room.path, &room.name, expected_name(&room.path));
            format!("{path}/Cargo.toml: the crate is named {name}; fix: name it {expected}")
        })
        .collect()
}

fn expected_name(path: &str) -> String {
    match path.split_once('/') {
        _ if path == "hub/demo" => "millrace-demo".to_owned(),
        _ if path == "hub/bench" => "millrace-bench".to_owned(),
        Some(("shared", name)) => format!("millrace-{name}"),
        Some((storey, "daemon")) => format!("millrace-{storey}"),
        _ => format!("millrace-{}", path.replace('/', "-")),
    }
}

pub(crate) fn purity(rooms: &[Room]) -> Vec<String> {
    let mut breaches = Vec::new();
    for room in rooms {
        let Some((_, allowed)) = PURE.iter().find(|(pure, _)| *pure == room.name) else { continue };
        for need in room.needs.iter().filter(|need| need.shipped) {
            let fine =
                if is_ours(&need.name) { is_pure(&need.name) } else { allowed.contains(&need.name.as_str()) };
            if !fine {
                breaches.push(format!(
                    "{}/Cargo.toml: the pure crate {} depends on {}; fix: move what needs it into a daemon \
                     or an I/O crate, and hand the result in as an event",
                    room.path, room.name, need.name
                ));
            }
        }
    }
    breaches
}

pub(crate) fn storeys(rooms: &[Room]) -> Vec<String> {
    let storey_of = |name: &str| rooms.iter().find(|room| room.name == name).map(|room| storey(&room.path));
    let mut breaches = Vec::new();
    for room in rooms.iter().filter(|room| !BOTH_SIDES.contains(&room.path.as_str())) {
        let own = storey(&room.path);
        for need in &room.needs {
            let Some(other) = storey_of(&need.name) else { continue };
            if other != "shared" && other != own {
                breaches.push(format!(
                    "{}/Cargo.toml: {own}/* sees {} of {other}/*; fix: move what both need to shared/*",
                    room.path, need.name
                ));
            }
        }
    }
    breaches
}

fn storey(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

pub(crate) fn owners(rooms: &[Room]) -> Vec<String> {
    let mut breaches = Vec::new();
    for room in rooms {
        for need in &room.needs {
            if !need.shipped && TEST_TOOLS.contains(&need.name.as_str()) {
                continue;
            }
            let Some((_, owners)) = OWNED.iter().find(|(name, _)| *name == need.name) else { continue };
            if !owners.contains(&room.path.as_str()) {
                breaches.push(format!(
                    "{}/Cargo.toml: names {}, which belongs to {}; fix: ask its owner for what you need",
                    room.path,
                    need.name,
                    owners.join(" and ")
                ));
            }
        }
    }
    breaches
}

/// Damaging a store on purpose is for the simulated fleet and for tests.
pub(crate) fn harm(rooms: &[Room]) -> Vec<String> {
    let others = rooms.iter().filter(|room| room.path != "hub/fleet");
    let needs = others.flat_map(|room| room.needs.iter().map(move |need| (room, need)));
    let harmful = needs.filter(|(_, need)| need.shipped && need.features.iter().any(|name| name == HARM));
    let told = harmful.map(|(room, need)| {
        format!(
            "{}/Cargo.toml: {} with the feature `{HARM}` in a program that is shipped; fix: ask for it under \
             [dev-dependencies]",
            room.path, need.name
        )
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::super::house::Need;
    use super::*;

    fn room(path: &str, name: &str, needs: &[(&str, bool)]) -> Room {
        let need = |(name, shipped): &(&str, bool)| {
            let (name, feature) =
                name.split_once('/').map_or((*name, None), |(name, feature)| (name, Some(feature)));
            let features = feature.into_iter().map(str::to_owned).collect();
            Need { name: name.to_owned(), shipped: *shipped, features }
        };
        let needs = needs.iter().map(need);
        Room { path: path.to_owned(), name: name.to_owned(), needs: needs.collect() }
    }

    #[test]
    fn names_follow_paths() {
        for (path, name) in [
            ("shared/model", "millrace-model"),
            ("agent/engine", "millrace-agent-engine"),
            ("agent/daemon", "millrace-agent"),
            ("hub/demo", "millrace-demo"),
            ("hub/fleet", "millrace-hub-fleet"),
        ] {
            assert_eq!(names(&[room(path, name, &[])]), [""; 0], "{path}");
        }
        assert_eq!(names(&[room("hub/engine", "millrace-engine", &[])]).len(), 1);
    }

    #[test]
    fn an_impure_dependency_is_found_unless_it_is_for_tests() {
        let rooms = [room(
            "agent/engine",
            "millrace-agent-engine",
            &[
                ("serde", true),
                ("millrace-model", true),
                ("tokio", true),
                ("millrace-host", true),
                ("proptest", false),
            ],
        )];
        let found = purity(&rooms);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("tokio") && found[1].contains("millrace-host"), "{found:?}");
    }

    #[test]
    fn looking_up_or_across_is_found_also_in_tests() {
        let rooms = [
            room("shared/host", "millrace-host", &[("millrace-agent", false)]),
            room("agent/daemon", "millrace-agent", &[("millrace-hub-engine", true), ("millrace-host", true)]),
            room("hub/engine", "millrace-hub-engine", &[]),
            room("hub/fleet", "millrace-hub-fleet", &[("millrace-agent", true)]),
        ];
        let found = storeys(&rooms);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("shared/host") && found[1].contains("agent/daemon"), "{found:?}");
    }

    #[test]
    fn whoever_ships_a_way_to_damage_a_store_is_found() {
        let rooms = [
            room("hub/fleet", "millrace-hub-fleet", &[("millrace-journal/sabotage", true)]),
            room("hub/engine", "millrace-hub-engine", &[("millrace-journal/sabotage", false)]),
            room("hub/daemon", "millrace-hub", &[("millrace-journal/sabotage", true), ("tokio/rt", true)]),
        ];
        let found = harm(&rooms);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("hub/daemon"), "{found:?}");
    }

    #[test]
    fn a_foreign_crate_outside_its_owner_is_found() {
        let rooms = [
            room("shared/journal", "millrace-journal", &[("rusqlite", true)]),
            room("hub/daemon", "millrace-hub", &[("rusqlite", true), ("quinn", false)]),
        ];
        let found = owners(&rooms);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().all(|line| line.starts_with("hub/daemon")), "{found:?}");
    }
}
