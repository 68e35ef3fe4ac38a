//! Schedules against the real scheduler: cron jobs ring on the machine's clock, windows follow a clock moved by hand.

use tokio::sync::mpsc;

use super::*;

/// 2026-05-01T00:00:00Z.
const MIDNIGHT: i64 = 1_777_593_600;

fn at_hour(hour: i64) -> Wall {
    Wall((MIDNIGHT + hour * 3_600) * 1_000_000)
}

type Ring = Box<dyn Fn() + Send + Sync>;

fn bell() -> (impl Fn(&'static str) -> Ring, mpsc::Receiver<&'static str>) {
    let (sender, receiver) = mpsc::channel(16);
    let ring = move |word| -> Ring {
        let sender = sender.clone();
        Box::new(move || {
            let _ = sender.try_send(word);
        })
    };
    (ring, receiver)
}

#[tokio::test]
async fn a_schedule_rings_at_its_second() {
    let schedules = Schedules::new(Clock::system(), Zone::Local).await.unwrap();
    let (ring, mut rung) = bell();
    schedules.add("each-second", "* * * * * *", ring("now")).await.unwrap();
    assert_eq!(rung.recv().await, Some("now"));
    let listed = schedules.list();
    assert_eq!((listed.len(), listed[0].expression.as_str(), listed[0].open), (1, "* * * * * *", None));
    assert!(schedules.remove("each-second").await);
    assert!(!schedules.remove("each-second").await);
    schedules.shutdown().await;
}

#[tokio::test]
async fn a_window_is_open_at_once_when_the_process_starts_inside_it() {
    let (clock, hand) = Clock::manual(at_hour(1));
    let schedules = Schedules::new(clock, Zone::Utc).await.unwrap();
    let (ring, mut rung) = bell();
    let six_hours = Duration::from_secs(6 * 3_600);
    schedules.window("nights", "0 22 * * *", six_hours, ring("open"), ring("close")).await.unwrap();
    schedules.window("noon", "0 12 * * *", six_hours, ring("noon"), ring("evening")).await.unwrap();
    assert_eq!(rung.try_recv(), Ok("open"));
    assert!(rung.try_recv().is_err());
    let listed = schedules.list();
    assert_eq!(
        (listed[0].name.as_str(), listed[0].open, listed[0].next),
        ("nights", Some(true), Some(at_hour(22)))
    );
    assert_eq!(
        (listed[1].name.as_str(), listed[1].open, listed[1].next),
        ("noon", Some(false), Some(at_hour(12)))
    );

    hand.set_wall(at_hour(4));
    assert_eq!(rung.recv().await, Some("close"));
    hand.set_wall(at_hour(13));
    assert_eq!(rung.recv().await, Some("noon"));
    schedules.shutdown().await;
}

#[tokio::test]
async fn schedules_survive_a_clock_that_is_set_back() {
    let (clock, hand) = Clock::manual(at_hour(10));
    let schedules = Schedules::new(clock, Zone::Utc).await.unwrap();
    let (ring, mut rung) = bell();
    schedules.add("each-second", "* * * * * *", ring("now")).await.unwrap();
    let before = schedules.0.board().get("each-second").unwrap().job;
    hand.set_wall(at_hour(2));
    schedules.find_footing().await;
    let after = schedules.0.board().get("each-second").unwrap().job;
    assert_ne!(before, after);
    while rung.try_recv().is_ok() {}
    assert_eq!(rung.recv().await, Some("now"));
    schedules.shutdown().await;
}

#[tokio::test]
async fn mistakes_name_the_schedule() {
    let schedules = Schedules::new(Clock::manual(at_hour(0)).0, Zone::Utc).await.unwrap();
    let wrong = schedules.add("repair", "nightly", || {}).await.unwrap_err().to_string();
    assert!(
        wrong.contains("`repair`") && wrong.contains("`nightly`") && wrong.contains("\"0 2 * * *\""),
        "{wrong}"
    );
    let empty = schedules.window("cheap", "0 2 * * *", Duration::ZERO, || {}, || {}).await;
    assert!(matches!(empty, Err(ScheduleError::NoLength { .. })));
    schedules.add("repair", "0 2 * * *", || {}).await.unwrap();
    let twice = schedules.add("repair", "0 3 * * *", || {}).await;
    assert!(matches!(twice, Err(ScheduleError::NameTaken { .. })));
    schedules.shutdown().await;
}

#[tokio::test]
async fn there_is_room_for_so_many_schedules_and_no_more() {
    let schedules = Schedules::new(Clock::manual(at_hour(0)).0, Zone::Utc).await.unwrap();
    for n in 0..SCHEDULES_MAX {
        schedules.add(&format!("job-{n}"), "0 2 * * *", || {}).await.unwrap();
    }
    assert!(matches!(schedules.add("one-more", "0 2 * * *", || {}).await, Err(ScheduleError::Full)));
    schedules.shutdown().await;
}
