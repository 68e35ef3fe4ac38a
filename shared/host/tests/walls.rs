//! The walls of the house, checked: who may depend on whom, what pure code may name, how files look.
//!
//! Promise: each failure names the file, the rule and the fix; all breaches of a rule are shown at once.
//! Absent: taste. What a person must judge is judged in review, not here.
//!
//! `walls/house.rs` reads the workspace, `walls/code.rs` tells code from comments and tests,
//! `walls/dependencies.rs` and `walls/sources.rs` hold the rules; each rule is also tested on small
//! made-up inputs, so that a rule which silently stopped to see anything would be noticed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "walls/code.rs"]
mod code;
#[path = "walls/dependencies.rs"]
mod dependencies;
#[path = "walls/house.rs"]
mod house;
#[path = "walls/sources.rs"]
mod sources;

use house::House;

/// Prints what was found and fails when there is anything.
fn none(rule: &str, breaches: &[String]) {
    assert!(breaches.is_empty(), "{rule}\n\n{}\n", breaches.join("\n"));
}

#[test]
fn the_house_is_found() {
    let house = House::read();
    for name in ["millrace-model", "millrace-host", "millrace-journal"] {
        assert!(house.rooms.iter().any(|room| room.name == name), "{name} is missing from {:?}", house.rooms);
    }
    assert!(house.files.iter().any(|file| file.path == "shared/host/tests/walls.rs"));
}

#[test]
fn crates_are_named_by_their_path() {
    none("A crate's name follows from its path.", &dependencies::names(&House::read().rooms));
}

#[test]
fn pure_crates_depend_on_pure_crates_and_a_short_list() {
    none("Pure crates know no disk, network, clock or runtime.", &dependencies::purity(&House::read().rooms));
}

#[test]
fn agent_hub_and_shared_do_not_look_up_or_across() {
    none(
        "agent/* and hub/* never see each other; shared/* sees neither.",
        &dependencies::storeys(&House::read().rooms),
    );
}

#[test]
fn each_foreign_crate_is_named_by_its_one_owner() {
    let house = House::read();
    none("Some foreign crates have one owner, who can replace them.", &dependencies::owners(&house.rooms));
    none("rumqttc stays inside the MQTT module.", &sources::mqtt_stays_home(&house.files));
}

#[test]
fn no_shipped_program_can_damage_a_store_on_purpose() {
    none("Only the simulated fleet harms.", &dependencies::harm(&House::read().rooms));
}

#[test]
fn every_file_opens_with_its_header() {
    none("Every .rs file starts with `//!`.", &sources::headers(&House::read().files));
}

#[test]
fn no_file_is_longer_than_600_lines() {
    let house = House::read();
    for note in sources::long_files(&house.files) {
        println!("note: {note}");
    }
    none("Files end before line 600.", &sources::sizes(&house.files));
}

#[test]
fn pure_sources_name_no_clock_disk_network_or_thread() {
    none("Pure crates decide; they do not touch the world.", &sources::purity(&House::read().files));
}

#[test]
fn nothing_is_left_for_later_in_the_code() {
    none("No stubs and no switched-off tests.", &sources::leftovers(&House::read().files));
}

#[test]
fn modules_are_named_after_what_they_hold() {
    none("No drawers.", &sources::drawers(&House::read().files));
}

#[test]
fn names_of_tests_are_sentences() {
    none("Test names do not begin with `test_`.", &sources::test_names(&House::read().files));
}

#[test]
fn only_the_journal_attests_that_something_is_durable() {
    none("The proof of a flush is made where the flush is.", &sources::attestation(&House::read().files));
}
