//! Many at once.

use crate::{Shared, wait};
use ringwire::OpenError;

#[test]
fn a_hundred_thousand_guesses_hit_nothing() {
    let shared = Shared::quick();
    let (client, id) = shared.client();
    let handle = shared.server.handle();
    let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut guess = id.clone().into_bytes();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for round in 0..100_000_usize {
            // Of the part that cannot be known; now and then of all of it.
            let known = if round % 10 == 0 { 0 } else { 15 };
            for letter in &mut guess[known..] {
                bits = bits.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                *letter = alphabet[(bits >> 58) as usize];
            }
            let text = std::str::from_utf8(&guess).unwrap();
            let opened = handle.open_server(text).await;
            assert_eq!(opened.err(), Some(OpenError::Unknown), "{text}");
        }
    });
    assert!(wait(handle.open_server(&id)).is_ok());
    drop(client);
    shared.server.finish();
}
