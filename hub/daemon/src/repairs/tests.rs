//! The reports of this hub and of others, and what of them outlives the process.

use millrace_hub_engine::Findings;
use millrace_model::{DeviceId, Incarnation, JournalId, Lane};

use super::*;

const AT: &str = "2026-01-01T00:00:00.000000Z";

pub(crate) fn mended(number: u64) -> Numbered {
    let device = DeviceId::from_bytes([7; 16]);
    let journal = JournalId { device, incarnation: Incarnation::new(9), lane: Lane::Bulk };
    let sources = vec!["hub n2".to_owned()];
    let at = AT.to_owned();
    let report = Report::Mended(Mended {
        at,
        journal,
        lost: number,
        fetched: number,
        declared: 0,
        bytes: 9,
        took_ms: 5,
        sources,
    });
    Numbered { number, report }
}

pub(crate) fn compared(number: u64, trigger: &str) -> Numbered {
    let report = Report::Compared(Compared {
        at: AT.to_owned(),
        partner: "hub n2".to_owned(),
        trigger: trigger.to_owned(),
        dry_run: false,
        found: Findings { journals: 3, questions: 1, ..Findings::default() },
        took_ms: 5,
        equal: true,
        ended: None,
    });
    Numbered { number, report }
}

fn hub(number: u8) -> HubId {
    HubId::from_bytes([number; 16])
}

struct Scene {
    dir: tempfile::TempDir,
    repairs: Repairs,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let repairs = Repairs::open(&dir.path().join("repairs.json"));
        Self { dir, repairs }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("repairs.json")
    }

    fn reopened(&self) -> Repairs {
        self.repairs.save().unwrap();
        Repairs::open(&self.path())
    }

    fn told(&self, by: u8, numbers: impl IntoIterator<Item = u64>) -> (u64, bool) {
        let told = numbers.into_iter().map(mended).collect();
        self.repairs.take_copies(hub(by), &format!("hub-{by}"), told).unwrap()
    }
}

fn numbers(copies: &Copies) -> Vec<u64> {
    copies.reports.iter().map(|report| report.number).collect()
}

#[test]
fn the_latest_reports_outlive_the_process_and_damage_only_forgets() {
    let scene = Scene::new();
    let many = KEPT_MAX as u64 + 5;
    (1..=many).for_each(|number| scene.repairs.add(mended(number).report, Wall(0)));
    scene.repairs.add(compared(0, "demand").report, Wall(0));
    let again = scene.reopened();
    assert_eq!(again.latest(KEPT_MAX + 9).len(), KEPT_MAX);
    assert_eq!(again.latest(2), [compared(many + 1, "demand"), mended(many)]);
    std::fs::write(scene.path(), b"{").unwrap();
    assert_eq!(Repairs::open(&scene.path()).latest(9), []);
}

#[tokio::test]
async fn reports_that_come_while_the_disk_is_slow_wait_for_one_save_together() {
    let scene = Scene::new();
    let repairs = &scene.repairs;
    let begun: Vec<_> = {
        let _slow = repairs.0.writing.lock().unwrap();
        let report = |number| {
            repairs.add(mended(number).report, Wall(0));
            repairs.save_soon()
        };
        (1..=900).filter_map(report).collect()
    };
    assert_eq!(begun.len(), 1);
    for save in begun {
        save.await.unwrap();
    }
    assert_eq!(Repairs::open(&scene.path()).latest(KEPT_MAX).len(), 900);
    scene.told(2, [3]);
    repairs.save_soon().expect("the one before is over").await.unwrap();
    assert_eq!(Repairs::open(&scene.path()).copies().len(), 1);
}

#[test]
fn numbers_grow_whatever_the_clock_says_and_follow_it_when_the_file_was_lost() {
    let scene = Scene::new();
    for wall in [5_000, 5_000, 4_000, 9_000] {
        scene.repairs.add(mended(1).report, Wall(wall));
    }
    let found: Vec<u64> = scene.repairs.latest(9).iter().map(|report| report.number).collect();
    assert_eq!(found, [9_000, 5_002, 5_001, 5_000]);
    assert_eq!(*scene.repairs.newest().borrow(), 9_000);
    let behind = |number| scene.repairs.behind(number).iter().map(|one| one.number).collect::<Vec<_>>();
    assert_eq!((behind(5_001), behind(9_000)), (vec![5_002, 9_000], vec![]));
    (0..COPIES_MAX).for_each(|_| scene.repairs.add(mended(1).report, Wall(10_000)));
    assert_eq!((behind(0).len(), behind(0)[0]), (COPIES_MAX, 10_000), "the newest of too many");
}

#[test]
fn a_file_of_version_1_is_read_and_written_as_version_2() {
    let scene = Scene::new();
    let old = |lost: u64| {
        let mut report = serde_json::to_value(mended(lost)).unwrap();
        report.as_object_mut().unwrap().remove("number");
        report
    };
    let file = serde_json::json!({ "version": 1, "reports": [old(4), old(7)] });
    std::fs::write(scene.path(), file.to_string()).unwrap();
    let repairs = Repairs::open(&scene.path());
    let found = repairs.latest(9);
    assert_eq!(found.iter().map(|one| one.number).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(found[0].report, mended(7).report);
    repairs.save().unwrap();
    let file: serde_json::Value = serde_json::from_slice(&std::fs::read(scene.path()).unwrap()).unwrap();
    assert_eq!((&file["version"], &file["reports"][1]["number"]), (&2.into(), &2.into()));
    std::fs::write(scene.path(), r#"{"version": 3, "reports": []}"#).unwrap();
    assert_eq!(Repairs::open(&scene.path()).latest(9), []);
}

#[test]
fn what_other_hubs_told_is_kept_once_under_who_told_it_and_outlives_the_process() {
    let scene = Scene::new();
    assert_eq!(scene.told(2, []), (0, false));
    assert_eq!(scene.repairs.copies().len(), 0);
    assert_eq!(scene.told(2, [3, 5]), (5, true));
    assert_eq!(scene.told(2, [5, 4, 4]), (5, true), "what was lacking, whenever it comes");
    assert_eq!(scene.told(2, [3, 4, 5]), (5, false));
    assert_eq!(scene.told(3, [5]), (5, true));
    let copies = scene.reopened().copies();
    assert_eq!(copies, scene.repairs.copies());
    assert_eq!((numbers(&copies[&hub(2)]), numbers(&copies[&hub(3)])), (vec![3, 4, 5], vec![5]));
    assert_eq!(copies[&hub(2)].name, "hub-2");
    let behind = scene.repairs.behind(0);
    assert_eq!(behind, [], "nobody passes on what others told");
}

#[test]
fn of_too_many_reports_and_hubs_the_newest_stay() {
    let scene = Scene::new();
    let many = COPIES_MAX as u64;
    assert_eq!(scene.told(2, 11..=10 + many), (10 + many, true));
    assert_eq!(scene.told(2, [1]), (10 + many, false), "it is older than all that is kept");
    assert_eq!(scene.told(2, [11 + many]), (11 + many, true));
    let kept = scene.repairs.copies();
    assert_eq!((numbers(&kept[&hub(2)]).len(), numbers(&kept[&hub(2)])[0]), (COPIES_MAX, 12));
    for by in 3..=u8::try_from(HUBS_MAX).unwrap() + 2 {
        scene.told(by, [u64::from(by)]);
    }
    let kept = scene.repairs.copies();
    assert_eq!((kept.len(), kept.contains_key(&hub(3))), (HUBS_MAX, false), "it has been silent for longest");
}

#[test]
fn what_is_no_report_is_refused_and_nothing_that_came_with_it_is_kept() {
    let scene = Scene::new();
    let refused = |told: Vec<Numbered>| scene.repairs.take_copies(hub(2), "hub-2", told).unwrap_err();
    let with = |change: fn(&mut Mended)| {
        let mut bad = mended(2);
        if let Report::Mended(mended) = &mut bad.report {
            change(mended);
        }
        vec![mended(1), bad]
    };
    assert!(refused(with(|bad| bad.sources = vec!["x".repeat(3_000)])).contains("bytes"));
    assert!(refused(with(|bad| bad.sources = vec![String::new(); 900])).contains("bytes"));
    assert!(refused(with(|bad| bad.at = "now".into())).contains("time"));
    assert!(refused(with(|bad| bad.at = "9999999999999999".into())).contains("time"));
    assert!(refused(vec![mended(0)]).contains("number"));
    assert!(refused(vec![mended(NUMBER_MAX + 1)]).contains("number"));
    assert!(refused((1..=COPIES_MAX as u64 + 1).map(mended).collect()).contains("at once"));
    assert_eq!(scene.repairs.copies().len(), 0);
}

#[test]
fn the_largest_file_that_may_be_written_is_read() {
    let scene = Scene::new();
    let report = |number: u64| {
        let mut report = mended(number);
        if let Report::Mended(mended) = &mut report.report {
            mended.sources = vec!["hub n18446744073709551615".to_owned(); HUBS_MAX];
        }
        assert!(report.check().is_ok(), "64 sources fit");
        report
    };
    (0..KEPT_MAX as u64).for_each(|number| scene.repairs.add(report(number + 1).report, Wall(0)));
    for by in 1..=u8::try_from(HUBS_MAX).unwrap() {
        let told = (1..=COPIES_MAX as u64).map(report).collect();
        scene.repairs.take_copies(hub(by), "hub", told).unwrap();
    }
    assert_eq!(scene.reopened().copies().len(), HUBS_MAX);
}
