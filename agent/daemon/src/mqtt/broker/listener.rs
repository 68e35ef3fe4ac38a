//! The listener: takes connections, counts them, lets them end in order.
//!
//! Promise: a failed accept never ends the broker; at the end every connection has had its time to drain.
//! Absent: what is said on a connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::House;
use super::{connection, handshake};
use crate::mqtt::status::count;
use crate::mqtt::stop::stopped;

/// The wait after a failed accept: out of file descriptors, usually, which passes when clients leave.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn serve(listener: TcpListener, house: Arc<House>, mut stop: watch::Receiver<bool>) {
    let seats = Arc::new(Semaphore::new(house.options.connections_max));
    let mut guests = JoinSet::new();
    let arrivals = house.arrivals.clone();
    house.status.connected();
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            () = arrivals.closed() => break,
            Some(_) = guests.join_next(), if !guests.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    house.status.troubled(format!("a connection could not be accepted: {error}"));
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                Ok((tcp, from)) => match Arc::clone(&seats).try_acquire_owned() {
                    Err(_full) => {
                        count(&house.status.counters().refused, 1);
                        tracing::warn!(%from, "refused: as many clients as allowed are connected");
                    }
                    Ok(seat) => {
                        let house = Arc::clone(&house);
                        let stop = stop.clone();
                        guests.spawn(async move {
                            count(&house.status.counters().clients, 1);
                            receive(tcp, &house, stop).await;
                            house.status.counters().clients.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
                            drop(seat);
                        });
                    }
                },
            }
        }
    }
    drop(listener);
    while guests.join_next().await.is_some() {}
    house.status.disconnected(None);
}

/// One connection from its first byte to its last.
async fn receive(tcp: TcpStream, house: &Arc<House>, mut stop: watch::Receiver<bool>) {
    let from = tcp.peer_addr().map(|from| from.to_string()).unwrap_or_default();
    let greeted = tokio::select! {
        biased;
        () = stopped(&mut stop) => return,
        greeted = handshake::greet(tcp, house) => greeted,
    };
    match greeted {
        Ok(guest) => connection::serve(guest, house, stop, &from).await,
        Err(error) => {
            count(&house.status.counters().refused, 1);
            tracing::info!(%from, %error, "a client was not let in");
        }
    }
}
