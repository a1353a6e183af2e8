//! Two workers that want the same sockets at the same moment.

use super::size;
use super::stand::{ROUTE, Stand, ids_of};
use ringwire::client::{Client, OpenError, OpenOptions, RemoteSocket};
use std::sync::Arc;
use std::time::Duration;
use support::load::Descriptors;
use support::raw::Raw;
use support::{PATIENCE, quick};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Sockets that are raced for at the same time.
const AT_ONCE: usize = 32;

#[tokio::test(flavor = "multi_thread")]
async fn of_two_workers_exactly_one_wins_each_socket() {
    let (sockets, races) = (size("SOCKETS", 100), size("RACES", 3));
    let descriptors = Descriptors::take(sockets + 200);
    let sockets = sockets.min(descriptors.count() - 200);
    let mut settings = quick();
    settings.connections_max = Some(sockets as u32 + 10);
    let stand = Stand::new(settings);
    let peers: Vec<Raw> = (0..sockets).map(|_| Raw::open(stand.address(), ROUTE)).collect();
    let workers = [stand.client().await, stand.client().await];
    let ids = ids_of(&workers[0], sockets).await;
    let mut fences = vec![0; sockets];
    let mut wins = [0_u64; 2];
    for _ in 0..races {
        for (some, fences) in ids.chunks(AT_ONCE).zip(fences.chunks_mut(AT_ONCE)) {
            let mut racing = JoinSet::new();
            for (at, id) in some.iter().enumerate() {
                racing.spawn(race(workers.clone(), id.clone(), at));
            }
            let raced = timeout(PATIENCE, racing.join_all()).await.expect("it ends");
            for (at, winner, fence) in raced {
                assert!(fence > fences[at], "{fence} after {}", fences[at]);
                fences[at] = fence;
                wins[winner] += 1;
            }
        }
    }
    println!("{} races, won {wins:?}", sockets * races);
    assert_eq!(wins[0] + wins[1], (sockets * races) as u64);
    drop((peers, workers));
    stand.server.finish();
}

/// Both open; who has won releases when both know. Which of them that was, and with which fence.
async fn race(workers: [Client; 2], id: String, at: usize) -> (usize, usize, u64) {
    let both_know = Arc::new(Barrier::new(2));
    let open = async |worker: &Client| -> Option<u64> {
        let options = OpenOptions { keep: false, ..OpenOptions::default() };
        let opened = worker.open_server_with(&id, options).await;
        both_know.wait().await;
        match opened {
            Ok(socket) => {
                let fence = socket.fence();
                release(socket).await;
                Some(fence)
            }
            Err(OpenError::Busy) => None,
            Err(error) => panic!("{error}"),
        }
    };
    match tokio::join!(open(&workers[0]), open(&workers[1])) {
        (Some(fence), None) => (at, 0, fence),
        (None, Some(fence)) => (at, 1, fence),
        both => panic!("not exactly one has won: {both:?}"),
    }
}

async fn release(socket: RemoteSocket) {
    let released = timeout(Duration::from_secs(10), socket.release()).await;
    released.expect("in time").expect("ours");
}
