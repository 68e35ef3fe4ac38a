//! Frames on streams: whole, bounded, in order, and honest about their end.

use std::time::Duration;

use bytes::Bytes;
use futures_check::is_pending;
use millrace_link::{CloseCode, Dialer, ReceiveError, Road, SendError, limits};

use crate::world::{World, frame, stranger_config, stranger_endpoint, stranger_tls};

/// Looks at a future once, without waiting for it.
mod futures_check {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    pub(super) fn is_pending<F: Future>(future: F) -> bool {
        matches!(pin!(future).poll(&mut Context::from_waker(Waker::noop())), Poll::Pending)
    }
}

const FRAME_MAX: usize = 3 << 20;

#[tokio::test]
async fn whoever_makes_an_answer_sees_that_nobody_waits_for_it_any_more() {
    let world = World::new();
    let (listener, dialer) = (world.listen(), world.dialer());
    let (dialed, accepted) = world.session(&dialer, &listener).await;
    let (mut question, answer) = dialed.open_bi(0).await.unwrap();
    question.send(frame(b"how are you")).await.unwrap();
    question.finish().await.unwrap();
    let (outlet, mut inlet) = accepted.accept_bi().await.unwrap();
    inlet.next(100).await.unwrap();
    let mut unwanted = std::pin::pin!(outlet.unwanted());
    assert!(is_pending(unwanted.as_mut()), "it is waited for");
    drop(answer);
    unwanted.await;
}

#[tokio::test]
async fn frames_arrive_whole_and_in_order_both_ways() {
    let world = World::new();
    let (listener, dialer) = (world.listen(), world.dialer());
    let (dialed, accepted) = world.session(&dialer, &listener).await;
    let (mut up, mut down) = dialed.open_bi(3).await.unwrap();
    let bodies = [vec![], vec![1], vec![2; 300], vec![3; 70_000], vec![4; 2_500_000]];
    let sending = async {
        for body in &bodies {
            up.send(frame(body)).await.unwrap();
        }
        up.delivered().await.unwrap();
    };
    let echoing = async {
        let (mut back, mut inlet) = accepted.accept_bi().await.unwrap();
        let mut frames = 0;
        while let Some(frame) = inlet.next(FRAME_MAX).await.unwrap() {
            back.send(frame).await.unwrap();
            frames += 1;
        }
        assert_eq!(inlet.next(FRAME_MAX).await, Ok(None), "the end stays the end");
        back.finish().await.unwrap();
        frames
    };
    let receiving = async {
        for body in &bodies {
            assert_eq!(down.next(FRAME_MAX).await.unwrap().unwrap(), frame(body));
        }
        assert_eq!(down.next(FRAME_MAX).await, Ok(None));
    };
    let ((), frames, ()) = tokio::join!(sending, echoing, receiving);
    assert_eq!(frames, bodies.len());
    assert!(dialed.bytes_sent() > 2_500_000 && dialed.bytes_received() > 2_500_000);
    assert!(dialed.rtt() > Duration::ZERO);
}

#[tokio::test]
async fn a_frame_above_the_limit_is_refused_by_its_length_alone() {
    let world = World::new();
    let (listener, dialer) = (world.listen(), world.dialer());
    let (dialed, accepted) = world.session(&dialer, &listener).await;
    let mut up = dialed.open_uni(0).await.unwrap();
    // The length and not one byte more: whoever allocated first would wait here for ever.
    up.send(Bytes::from_static(&[0xff; 4])).await.unwrap();
    let mut inlet = accepted.accept_uni().await.unwrap();
    let refused = inlet.next(1_000).await;
    assert_eq!(refused, Err(ReceiveError::TooLong { announced: (1 << 32) + 3, limit: 1_000 }));
    let mut up = dialed.open_uni(0).await.unwrap();
    up.send(frame(&[7; 996])).await.unwrap();
    up.send(frame(&[7; 997])).await.unwrap();
    let mut inlet = accepted.accept_uni().await.unwrap();
    assert_eq!(inlet.next(1_000).await.unwrap().unwrap().len(), 1_000);
    assert_eq!(inlet.next(1_000).await, Err(ReceiveError::TooLong { announced: 1_001, limit: 1_000 }));
}

#[tokio::test]
async fn an_end_inside_a_frame_is_not_a_clean_end() {
    let world = World::new();
    let (listener, dialer) = (world.listen(), world.dialer());
    let (dialed, accepted) = world.session(&dialer, &listener).await;
    let ends: [(&[u8], _); 3] = [
        (&[], Ok(None)),
        (&[0, 0], Err(ReceiveError::CutShort { arrived: 2, announced: 4 })),
        (&[0, 0, 0, 9, 1, 2], Err(ReceiveError::CutShort { arrived: 6, announced: 13 })),
    ];
    for (bytes, seen) in ends {
        let mut up = dialed.open_uni(0).await.unwrap();
        up.send(frame(b"whole")).await.unwrap();
        up.send(Bytes::copy_from_slice(bytes)).await.unwrap();
        up.finish().await.unwrap();
        let mut inlet = accepted.accept_uni().await.unwrap();
        assert_eq!(inlet.next(100).await.unwrap().unwrap(), frame(b"whole"));
        assert_eq!(inlet.next(100).await, seen);
    }
}

#[tokio::test]
async fn a_cut_stream_and_a_refused_stream_carry_their_code() {
    let world = World::new();
    let (listener, dialer) = (world.listen(), world.dialer());
    let (dialed, accepted) = world.session(&dialer, &listener).await;
    let mut up = dialed.open_uni(0).await.unwrap();
    up.send(frame(b"first")).await.unwrap();
    let mut inlet = accepted.accept_uni().await.unwrap();
    assert!(inlet.next(100).await.unwrap().is_some());
    up.cut(CloseCode::Moved);
    assert_eq!(inlet.next(100).await, Err(ReceiveError::Cut(CloseCode::Moved)));
    let mut up = dialed.open_uni(0).await.unwrap();
    up.send(frame(b"first")).await.unwrap();
    accepted.accept_uni().await.unwrap().stop(CloseCode::Quota);
    assert_eq!(up.delivered().await, Err(SendError::Stopped(CloseCode::Quota)));
}

#[tokio::test]
async fn a_send_that_was_dropped_half_way_is_completed_by_the_next() {
    let world = World::new();
    let listener = world.listen();
    let dialer = world.dialer();
    let (dialed, accepted) = world.session(&dialer, &listener).await;
    let mut up = dialed.open_uni(0).await.unwrap();
    // Larger than the stream's window, so that it cannot leave while nobody reads.
    let large = frame(&vec![5; 6 << 20]);
    assert!(is_pending(up.send(large.clone())));
    let sending = async {
        up.send(frame(b"after")).await.unwrap();
        up.delivered().await.unwrap();
    };
    let receiving = async {
        let mut inlet = accepted.accept_uni().await.unwrap();
        assert_eq!(inlet.next(8 << 20).await.unwrap().unwrap(), large);
        assert_eq!(inlet.next(8 << 20).await.unwrap().unwrap(), frame(b"after"));
        assert_eq!(inlet.next(8 << 20).await, Ok(None));
    };
    tokio::join!(sending, receiving);
}

#[tokio::test]
async fn dropping_an_outlet_inside_a_frame_cuts_the_stream() {
    let world = World::new();
    let (listener, dialer) = (world.listen(), world.dialer());
    let (dialed, accepted) = world.session(&dialer, &listener).await;
    let mut up = dialed.open_uni(0).await.unwrap();
    assert!(is_pending(up.send(frame(&vec![5; 6 << 20]))));
    let mut inlet = accepted.accept_uni().await.unwrap();
    drop(up);
    assert!(matches!(inlet.next(8 << 20).await, Err(ReceiveError::Cut(CloseCode::Internal))));
}

#[tokio::test]
async fn no_more_streams_than_the_limit_are_open_at_once() {
    let world = World::new();
    let (listener, dialer) = (world.listen(), world.dialer());
    let (dialed, accepted) = world.session(&dialer, &listener).await;
    let mut open = Vec::new();
    for _ in 0..limits::STREAMS_MAX {
        open.push(dialed.open_uni(0).await.unwrap());
    }
    assert!(is_pending(dialed.open_uni(0)), "one more waits");
    // Room is announced in steps of an eighth, so that it does not cost a packet per stream.
    for mut outlet in open.drain(..8) {
        outlet.send(frame(b"bye")).await.unwrap();
        outlet.finish().await.unwrap();
        let mut inlet = accepted.accept_uni().await.unwrap();
        assert!(inlet.next(100).await.unwrap().is_some());
        assert_eq!(inlet.next(100).await, Ok(None));
    }
    assert!(dialed.open_uni(0).await.is_ok(), "a finished streams make room");
}

#[tokio::test]
async fn a_reader_that_does_not_read_keeps_no_more_than_its_window() {
    let world = World::new();
    let listener = world.listen();
    let mut options = millrace_link::ClientOptions::new(world.clock());
    options.road = Road { send_window_bytes: 64 << 20, ..Road::FIBRE };
    let dialer = Dialer::new(options);
    let (dialed, accepted) = world.session(&dialer, &listener).await;
    let mut flood = dialed.open_uni(0).await.unwrap();
    assert!(is_pending(flood.send(Bytes::from(vec![0; 16 << 20]))));
    // Sent at a lower priority, so it leaves when the flood has run into its window.
    let mut small = dialed.open_uni(-1).await.unwrap();
    small.send(frame(b"small")).await.unwrap();
    let _unread = accepted.accept_uni().await.unwrap();
    let mut inlet = accepted.accept_uni().await.unwrap();
    assert_eq!(inlet.next(100).await.unwrap().unwrap(), frame(b"small"));
    let received = accepted.bytes_received();
    let window = u64::from(limits::STREAM_WINDOW_BYTES);
    assert!(received > window / 2 && received < window * 5 / 4, "{received} bytes were received");
}

#[tokio::test]
async fn a_peer_that_floods_announced_frames_meets_a_hub_that_takes_memory_as_bytes_come() {
    let world = World::new();
    let listener = world.listen();
    let endpoint = stranger_endpoint();
    let config = stranger_config(stranger_tls(b"millrace-enroll/1"));
    let to = listener.local_addr().unwrap();
    let stranger = endpoint.connect_with(config, to, "hub.millrace").unwrap().await.unwrap();
    let (mut send, _receive) = stranger.open_bi().await.unwrap();
    // An enrolment message one byte above its limit.
    let announced = u32::try_from(limits::ENROLMENT_MESSAGE_BYTES_MAX - 3).unwrap();
    send.write_all(&announced.to_be_bytes()).await.unwrap();
    let quinn::ConnectionError::ApplicationClosed(close) = stranger.closed().await else { panic!() };
    assert_eq!(close.error_code.into_inner(), u64::from(CloseCode::ProtocolError.number()));
    let text = String::from_utf8_lossy(&close.reason).into_owned();
    assert!(text.contains("16385") && text.contains("16384"), "{text}");
}
