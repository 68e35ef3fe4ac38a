//! What connections between hubs may carry beyond those of devices.

use std::time::Duration;

use bytes::Bytes;
use millrace_link::{ClientOptions, Dialer, Road, limits};
use tokio::time::timeout;

use crate::world::{World, frame, hub_role, session_of};

const MOMENT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_hub_may_hold_more_streams_open_than_a_device() {
    let world = World::new();
    let (listener, dialer) = (world.listen(), world.dialer());
    let (device, at_hub) = world.session(&dialer, &listener).await;
    let (hub, _) = world.certified(hub_role(2));
    let other = dialer.connect(listener.local_addr().unwrap(), &hub).await.unwrap();
    let at_other = session_of(&listener).await;
    [&at_hub, &at_other].into_iter().for_each(millrace_link::Connection::widen);
    for (dialed, most) in [(&device, limits::STREAMS_MAX), (&other, limits::HUB_STREAMS_MAX)] {
        let mut open = Vec::new();
        for _ in 0..most {
            open.push(dialed.open_bi(0).await.unwrap());
        }
        assert!(timeout(MOMENT, dialed.open_bi(0)).await.is_err(), "more than {most}");
    }
}

#[tokio::test]
async fn the_kind_of_a_frame_is_seen_before_the_frame_is_taken() {
    let world = World::new();
    let (listener, dialer) = (world.listen(), world.dialer());
    let (dialed, accepted) = world.session(&dialer, &listener).await;
    let (mut outlet, _back) = dialed.open_bi(0).await.unwrap();
    let large = frame(&vec![9; 3 << 20]);
    let (sent, taken) = tokio::join!(
        async {
            outlet.send(large.clone()).await.unwrap();
            outlet.send(frame(&[1])).await.unwrap();
            outlet.send(frame(&[2, 3])).await.unwrap();
            outlet.finish().await
        },
        async {
            let (_, mut inlet) = accepted.accept_bi().await.unwrap();
            assert_eq!(inlet.peek::<6>().await.unwrap(), Some([0, 48, 0, 0, 9, 9]));
            let first = inlet.next(4 << 20).await.unwrap().unwrap();
            // A frame that is shorter than what is looked at leaves the rest to the one behind it.
            assert_eq!(inlet.peek::<6>().await.unwrap(), Some([0, 0, 0, 1, 1, 0]));
            assert_eq!(inlet.next(100).await.unwrap().unwrap(), frame(&[1]));
            assert_eq!(inlet.next(100).await.unwrap().unwrap(), frame(&[2, 3]));
            assert_eq!(inlet.peek::<6>().await, Ok(None));
            first
        }
    );
    sent.unwrap();
    assert_eq!(taken, large);
}

#[tokio::test]
async fn silence_and_signs_of_life_are_seen_in_the_datagrams() {
    let world = World::new();
    let listener = world.listen();
    let mut options = ClientOptions::new(world.clock());
    options.road = Road { keep_alive: MOMENT, ..Road::HUBS_NEAR };
    let dialer = Dialer::new(options);
    let (dialed, accepted) = world.session(&dialer, &listener).await;
    dialed.send_datagram(Bytes::from_static(b"hello")).unwrap();
    accepted.read_datagram().await.unwrap();
    let before = accepted.datagrams_received();
    assert!(before > 0);
    timeout(Duration::from_secs(10), async {
        while accepted.datagrams_received() < before + 3 {
            tokio::time::sleep(MOMENT / 10).await;
        }
    })
    .await
    .unwrap();
}
