//! `read`: how much it takes, when it waits, and that it loses nothing.

use ringwire::{MessageKind, ReadError, WebSocket};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use support::raw::{BINARY, CONTINUATION, FIN, Raw, TEXT, frame, header};
use support::{LONG, PATIENCE, Server, connect, quick, told};
use tungstenite::Message;

const SHORT: Duration = Duration::from_millis(60);

/// Reads by `len`, and tells each piece and whether its message ended with it.
async fn read_all(ws: &mut WebSocket, len: usize, sender: Sender<(String, bool)>) {
    while let Ok(data) = ws.read(len, LONG).await {
        let text = String::from_utf8(data.to_vec()).expect("no character is cut");
        sender.send((text, ws.at_end())).expect("the test listens");
    }
}

#[test]
fn len_counts_characters_and_at_end_tells_the_last_piece() {
    let (sender, pieces) = channel();
    let server = Server::with(quick(), async move |ws| {
        assert!(ws.at_end());
        read_all(ws, 3, sender.clone()).await;
        Ok(())
    });
    let mut client = connect(server.address, "/");
    for text in ["äöü€😀xy", "abc", "", "😀😀😀😀"] {
        client.send(Message::text(text)).unwrap();
    }
    let expected = [
        ("äöü", false),
        ("€😀x", false),
        ("y", true),
        ("abc", true),
        ("", true),
        ("😀😀😀", false),
        ("😀", true),
    ];
    for (text, at_end) in expected {
        assert_eq!(told(&pieces), (text.to_owned(), at_end));
    }
    server.finish();
}

#[test]
fn a_character_that_arrives_in_halves_is_not_cut() {
    let (sender, pieces) = channel();
    let server = Server::with(quick(), async move |ws| {
        read_all(ws, 2, sender.clone()).await;
        Ok(())
    });
    let mut raw = Raw::open(server.address, "/");
    let text = "a😀é";
    for (index, byte) in text.bytes().enumerate() {
        let fin = if index + 1 == text.len() { FIN } else { 0 };
        let opcode = if index == 0 { TEXT } else { CONTINUATION };
        raw.send(&frame(fin | opcode, &[byte]));
        std::thread::sleep(Duration::from_millis(3));
    }
    assert_eq!(told(&pieces), ("a😀".to_owned(), false));
    assert_eq!(told(&pieces), ("é".to_owned(), true));
    server.finish();
}

#[test]
fn a_message_far_larger_than_the_inbox_is_streamed() {
    const BYTES: usize = 12 << 20;
    let mut settings = quick();
    settings.limits.inbox_bytes_max = 16 * 1024;
    // One batch may bring all of the receive buffers.
    settings.limits.inbox_growth_bytes_max = 2 << 20;
    let (sender, sums) = channel();
    let server = Server::with(settings, async move |ws| {
        let (mut sum, mut bytes) = (0_u64, 0);
        loop {
            let data = ws.read(10_000, LONG).await?;
            assert!(data.len() == 10_000 || ws.at_end());
            for byte in data.iter() {
                sum = sum.wrapping_mul(31).wrapping_add(u64::from(*byte));
            }
            bytes += data.len();
            if ws.at_end() {
                sender.send((sum, bytes)).unwrap();
                return Ok(());
            }
        }
    });
    let payload: Vec<u8> = (0..BYTES).map(|index| (index * 7 / 3) as u8).collect();
    let sum =
        payload.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    let mut client = connect(server.address, "/");
    client.send(Message::binary(payload)).unwrap();
    assert_eq!(told(&sums), (sum, BYTES));
    server.finish();
}

#[test]
fn a_read_longer_than_the_inbox_gets_all_it_asked_for() {
    let mut settings = quick();
    settings.limits.inbox_bytes_max = 4 * 1024;
    let (sender, lengths) = channel();
    let server = Server::with(settings, async move |ws| {
        let data = ws.read(1_000_000, LONG).await?;
        sender.send((data.len(), ws.at_end())).unwrap();
        let data = ws.read(usize::MAX, LONG).await?;
        sender.send((data.len(), ws.at_end())).unwrap();
        Ok(())
    });
    let mut client = connect(server.address, "/");
    client.send(Message::binary(vec![7; 3_000_000])).unwrap();
    assert_eq!(told(&lengths), (1_000_000, false));
    assert_eq!(told(&lengths), (2_000_000, true));
    server.finish();
}

#[test]
fn a_timeout_in_the_middle_of_a_message_loses_nothing() {
    let (sender, events) = channel();
    let server = Server::with(quick(), async move |ws| {
        loop {
            match ws.read(1_000, SHORT).await {
                Err(ReadError::Timeout) => sender.send(None).unwrap(),
                Ok(data) => {
                    sender.send(data.as_text().map(str::to_owned)).unwrap();
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    });
    let mut raw = Raw::open(server.address, "/");
    assert_eq!(told(&events), None);
    raw.send(&frame(TEXT, b"half "));
    assert_eq!(told(&events), None);
    raw.send(&header(FIN | CONTINUATION, 3)[..4]);
    assert_eq!(told(&events), None);
    assert_eq!(told(&events), None);
    raw.send(&frame(FIN | CONTINUATION, b"and")[4..]);
    let message = std::iter::from_fn(|| Some(told(&events))).find_map(|event| event);
    assert_eq!(message.as_deref(), Some("half and"));
    server.finish();
}

#[test]
fn a_read_with_no_time_takes_only_what_is_there() {
    let (sender, events) = channel();
    let server = Server::with(quick(), async move |ws| {
        sender.send(ws.read(9, Duration::ZERO).await.is_err()).unwrap();
        // The second message has come with the first, so it is there.
        ws.read(9, LONG).await?;
        sender.send(ws.read(9, Duration::ZERO).await.is_ok()).unwrap();
        sender.send(ws.read(9, Duration::ZERO).await.err() == Some(ReadError::Timeout)).unwrap();
        Ok(())
    });
    let mut raw = Raw::open(server.address, "/");
    assert!(told(&events));
    raw.send(&[frame(FIN | TEXT, b"1"), frame(FIN | TEXT, b"2")].concat());
    assert!(told(&events) && told(&events));
    server.finish();
}

#[test]
fn a_read_that_loses_a_select_loses_no_message() {
    const MESSAGES: u32 = 2_000;
    let (sender, ticks) = channel();
    let server = Server::with(quick(), async move |ws| {
        let (mut next, mut dropped, mut lost_at) = (0, 0, None);
        while next < MESSAGES {
            tokio::select! {
                // Whichever is ready: the branches are tried in a random order.
                data = ws.read(100, LONG) => {
                    assert_eq!(data?.as_text(), Some(next.to_string().as_str()));
                    next += 1;
                }
                () = tokio::time::sleep(Duration::from_micros(50)) => dropped += 1,
                () = std::future::ready(()), if next % 3 == 0 && lost_at != Some(next) => {
                    lost_at = Some(next);
                    dropped += 1;
                }
            }
        }
        sender.send(dropped).unwrap();
        Ok(())
    });
    let mut client = connect(server.address, "/");
    for number in 0..MESSAGES {
        client.write(Message::text(number.to_string())).unwrap();
        if number % 50 == 0 {
            client.flush().unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    client.flush().unwrap();
    assert!(told(&ticks) > 20);
    server.finish();
}

/// Polls a future under a waker of its own, as the combinators of futures do.
async fn under_own_waker<F: Future>(future: F, wakes: &Arc<AtomicUsize>) -> F::Output {
    struct Own {
        task: Mutex<Option<Waker>>,
        woken: Mutex<bool>,
        wakes: Arc<AtomicUsize>,
    }
    impl Wake for Own {
        fn wake(self: Arc<Self>) {
            *self.woken.lock().unwrap() = true;
            self.wakes.fetch_add(1, Ordering::Relaxed);
            if let Some(task) = self.task.lock().unwrap().take() {
                task.wake();
            }
        }
    }
    let own =
        Arc::new(Own { task: Mutex::new(None), woken: Mutex::new(true), wakes: Arc::clone(wakes) });
    let waker = Waker::from(Arc::clone(&own));
    let mut future = pin!(future);
    poll_fn(|context| {
        *own.task.lock().unwrap() = Some(context.waker().clone());
        // Only who was woken is polled.
        if std::mem::take(&mut *own.woken.lock().unwrap()) {
            return future.as_mut().poll(&mut Context::from_waker(&waker));
        }
        Poll::Pending
    })
    .await
}

#[test]
fn verbs_wake_a_combinator_through_its_own_waker() {
    let (sender, done) = channel();
    let server = Server::with(quick(), async move |ws| {
        let wakes = Arc::new(AtomicUsize::new(0));
        for _ in 0..20 {
            let data = under_own_waker(ws.read(100, LONG), &wakes).await?;
            under_own_waker(ws.write(data), &wakes).await?;
        }
        // So large that it waits for the peer, and so does the next.
        ws.write(vec![1; 8 << 20]).await?;
        under_own_waker(ws.write("after"), &wakes).await?;
        let timeout = under_own_waker(ws.read(1, SHORT), &wakes).await;
        sender.send((timeout.is_err(), wakes.load(Ordering::Relaxed))).unwrap();
        under_own_waker(ws.end_server(), &wakes).await
    });
    let mut client = connect(server.address, "/");
    for number in 0..20 {
        std::thread::sleep(Duration::from_millis(2));
        client.send(Message::text(number.to_string())).unwrap();
        assert_eq!(client.read().unwrap(), Message::text(number.to_string()));
    }
    std::thread::sleep(SHORT);
    assert_eq!(client.read().unwrap().len(), 8 << 20);
    assert_eq!(client.read().unwrap(), Message::text("after"));
    let (timed_out, wakes) = told(&done);
    assert!(timed_out && wakes >= 22, "{wakes}");
    assert_eq!(support::close_of(&mut client).0, 1000);
    server.finish();
}

#[test]
fn binary_stays_binary_and_text_stays_text() {
    let (sender, kinds) = channel();
    let server = Server::with(quick(), async move |ws| {
        let text = ws.read(100, LONG).await?;
        let binary = ws.read(100, LONG).await?;
        assert_eq!((text.as_text(), binary.as_text()), (Some("text"), None));
        assert!(text == "text" && binary != "text");
        sender.send((text.kind(), binary.kind())).unwrap();
        let late = ws.read(100, PATIENCE).await.err();
        assert!(matches!(late, Some(ReadError::Closed { code, .. }) if code.0 == 1001));
        // And so it stays.
        assert_eq!(ws.read(100, LONG).await.err(), late);
        sender.send((MessageKind::Text, MessageKind::Text)).unwrap();
        Ok(())
    });
    let mut raw = Raw::open(server.address, "/");
    raw.send(&[frame(FIN | TEXT, b"text"), frame(FIN | BINARY, b"text")].concat());
    assert_eq!(told(&kinds), (MessageKind::Text, MessageKind::Binary));
    raw.send(&frame(FIN | 8, &1001_u16.to_be_bytes()));
    told(&kinds);
    assert_eq!(raw.close_code(), Some(1001));
    drop(raw);
    server.finish();
}
