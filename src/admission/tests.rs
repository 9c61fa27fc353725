use std::net::{IpAddr, Ipv4Addr};

use switchyard_forward::{Command, IceCredentials, PeerKey};
use switchyard_worker::Config;

use super::*;

fn workers(count: u8) -> Workers {
    let bind = IpAddr::V4(Ipv4Addr::LOCALHOST);
    switchyard_worker::start(Config { bind, workers: count, ..Config::default() }).expect("the workers start").0
}

/// Nobody watches, but the control plane is in time.
fn punctual(admission: Admission) -> Arc<Admission> {
    admission.next_look.store(u64::MAX, Ordering::Relaxed);
    Arc::new(admission)
}

fn admission(max_load: u8, count: u8) -> (Arc<Admission>, Workers) {
    let rate = Rate { burst: BURST, per_second: 100 };
    (punctual(Admission::with(max_load, count, rate, PATIENCE)), workers(count))
}

fn set_ceilings(admission: &Admission, ceilings: &[u32]) {
    for (ceiling, value) in admission.ceilings.iter().zip(ceilings) {
        ceiling.store(*value, Ordering::Relaxed);
    }
}

async fn add(workers: &Workers, worker: u8, peer: u64) {
    let ice = IceCredentials::generate(WorkerIndex(worker), [peer as u8; 24]);
    workers.command(WorkerIndex(worker), Command::AddPeer { peer: PeerKey(peer), ice }).await.unwrap();
}

/// Has `count` newcomers ask at once: when each came in, or why not, in the order in which they asked.
async fn crowd(admission: &Arc<Admission>, workers: &Workers, count: usize) -> Vec<Result<Duration, ProtocolError>> {
    let start = Instant::now();
    futures_util::future::join_all((0..count).map(|_| async { admission.admit(workers).await.map(|()| start.elapsed()) })).await
}

#[tokio::test]
async fn a_crowd_comes_in_at_a_pace_and_in_its_order() {
    let (admission, workers) = admission(85, 1);
    let admitted: Result<Vec<_>, _> = crowd(&admission, &workers, 108).await.into_iter().collect();
    let admitted = admitted.expect("room and time for everybody");
    assert!(admitted.is_sorted());
    assert!(admitted[BURST as usize - 1] < Duration::from_millis(100), "{admitted:?}");
    // A hundred a second: the last is due after one.
    assert!(admitted[107] > Duration::from_millis(980), "{admitted:?}");
    assert_eq!(admission.queue.available_permits(), 600);
}

#[tokio::test]
async fn who_would_wait_for_too_long_is_refused_at_once() {
    let workers = workers(1);
    let admission = punctual(Admission::with(85, 1, Rate { burst: 2, per_second: 10 }, Duration::from_secs(1)));
    let start = Instant::now();
    let results = crowd(&admission, &workers, 30).await;
    assert!((10..=12).contains(&results.iter().filter(|result| result.is_ok()).count()), "{results:?}");
    for error in results.into_iter().filter_map(Result::err) {
        assert_eq!((error.code, error.retryable), (ErrorCode::Overloaded, true));
    }
    assert!(start.elapsed() >= Duration::from_millis(750));
    assert_eq!(admission.queue.available_permits(), 10);
}

#[tokio::test]
async fn newcomers_come_in_at_half_the_pace_while_the_control_plane_is_behind() {
    let (admission, workers) = admission(85, 1);
    admission.late.store(30_000, Ordering::Relaxed);
    let admitted: Result<Vec<_>, _> = crowd(&admission, &workers, 54).await.into_iter().collect();
    let admitted = admitted.expect("room and time for everybody");
    assert!(admitted[BURST as usize / 2 - 1] < Duration::from_millis(100), "{admitted:?}");
    // Fifty a second: the last is due after one.
    assert!(admitted[53] > Duration::from_millis(980), "{admitted:?}");
    admission.late.store(0, Ordering::Relaxed);
    // Nobody looks any more: the control plane is stuck.
    admission.next_look.store(0, Ordering::Relaxed);
    tokio::time::sleep(2 * BEHIND).await;
    let admitted: Result<Vec<_>, _> = crowd(&admission, &workers, 12).await.into_iter().collect();
    let admitted = admitted.expect("room and time for everybody");
    assert!(admitted[11] > Duration::from_millis(150), "{admitted:?}");
}

#[tokio::test]
async fn who_would_wait_for_too_long_at_half_the_pace_is_refused_at_once() {
    let workers = workers(1);
    let admission = punctual(Admission::with(85, 1, Rate { burst: BURST, per_second: 100 }, Duration::from_secs(1)));
    admission.late.store(30_000, Ordering::Relaxed);
    let mut early = Vec::new();
    // The first come in at once; the others wait, the last of them for a second.
    for _ in 0..BURST / 2 + 50 {
        early.push(Box::pin(admission.admit(&workers)));
        // It asks for its place.
        let _ = futures_util::poll!(early.last_mut().expect("it was put there"));
    }
    let start = Instant::now();
    let error = admission.admit(&workers).await.expect_err("no place");
    assert!(start.elapsed() < Duration::from_millis(500), "they waited for {:?}", start.elapsed());
    assert_eq!((error.code, error.retryable), (ErrorCode::Overloaded, true));
    drop(early);
    assert_eq!(admission.queue.available_permits(), 100);
}

#[tokio::test]
async fn a_full_worker_is_spared_and_when_all_are_full_the_newcomer_is_refused() {
    let (admission, workers) = admission(85, 3);
    add(&workers, 1, 1).await;
    add(&workers, 2, 2).await;
    add(&workers, 2, 3).await;
    assert_eq!(admission.place(&workers), Ok(WorkerIndex(0)));
    set_ceilings(&admission, &[0, 2, 9]);
    assert_eq!(admission.place(&workers), Ok(WorkerIndex(1)));
    assert!(!admission.has_room(&workers, WorkerIndex(0)));
    set_ceilings(&admission, &[0, 1, 9]);
    assert_eq!(admission.place(&workers), Ok(WorkerIndex(2)));
    assert_eq!(admission.admit(&workers).await, Ok(()));
    set_ceilings(&admission, &[0, 1, 2]);
    let error = admission.place(&workers).expect_err("full");
    assert_eq!((error.code, error.retryable), (ErrorCode::Overloaded, true));
    assert_eq!(admission.admit(&workers).await, Err(error));
    workers.command(WorkerIndex(2), Command::RemovePeer { peer: PeerKey(2) }).await.unwrap();
    assert_eq!(admission.place(&workers), Ok(WorkerIndex(2)));
}

#[tokio::test]
async fn a_worker_with_little_to_do_is_calm() {
    let (admission, _workers) = admission(85, 2);
    admission.busy[1].store(CALM, Ordering::Relaxed);
    assert_eq!([0, 1].map(|worker| admission.is_calm(WorkerIndex(worker))), [true, false]);
}

#[tokio::test]
async fn a_late_control_plane_refuses_newcomers() {
    let (admission, workers) = admission(85, 1);
    admission.lagging.store(true, Ordering::Relaxed);
    assert_eq!(admission.admit(&workers).await.map_err(|error| error.code), Err(ErrorCode::Overloaded));
    admission.lagging.store(false, Ordering::Relaxed);
    assert_eq!(admission.admit(&workers).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_always_awake_gets_full_and_recovers() {
    let workers = workers(1);
    let admission = Admission::new(5, 1, 2, None);
    let (stopping, stop) = watch::channel(false);
    let watching = tokio::spawn(Arc::clone(&admission).watch(workers.clone(), stop));
    let has_room = || admission.has_room(&workers, WorkerIndex(0));
    let percent = || admission.busy[0].load(Ordering::Relaxed);
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut peer = 0;
    while has_room() {
        add(&workers, 0, peer).await;
        workers.command(WorkerIndex(0), Command::RemovePeer { peer: PeerKey(peer) }).await.unwrap();
        peer += 1;
        assert!(Instant::now() < deadline, "{peer} commands fill nobody");
    }
    assert_eq!(admission.admit(&workers).await.map_err(|error| error.code), Err(ErrorCode::Overloaded));
    assert!((5..100).contains(&percent()), "{}", percent());
    while !has_room() || percent() > 5 {
        tokio::time::sleep(PERIOD).await;
        assert!(Instant::now() < deadline, "room in time");
    }
    admission.admit(&workers).await.expect("room again");
    stopping.send(true).unwrap();
    watching.await.unwrap();
}
