//! What every ring has to keep: the same checks over each of them.
//!
//! A check is a function over a [`World`]: a ring and the peers that reach it. It pushes, lets the
//! peers act, and compares what was told with what has to be, as lines of text: which completions,
//! in which order, and whether the operation stays armed (`…`). What it does not compare is not
//! promised. Another ring joins with a [`World`] of its own and one line at the end of this file.

mod accepts;
mod cancels;
mod closes;
mod doorbells;
mod hangups;
mod questions;
mod queues;
mod real;
mod receives;
mod sends;
mod simulated;
mod stage;
mod teardown;

use super::{ReceiveMode, Ring};
use std::net::SocketAddr;

/// A ring and its peers.
trait World: Sized {
    /// The ring.
    type Ring: Ring;
    /// The far end of a connection.
    type Peer;

    /// Whether the ring has queues that can be full.
    const QUEUES: bool;

    /// By what peers can come; listener `link as u32` of the ring is theirs.
    fn links() -> Vec<Link>;

    /// A ring of these sizes, and nobody connected.
    fn new(sizes: &Sizes) -> Self;

    /// How it can provide receive buffers.
    fn receive_modes() -> Vec<ReceiveMode>;

    fn ring(&mut self) -> &mut Self::Ring;

    /// Connects a peer, which waits to be accepted. It takes nothing until it looks.
    fn connect(&mut self, link: Link) -> Self::Peer;

    /// The address a ring has to know it by.
    fn address(&self, peer: &Self::Peer) -> Option<SocketAddr>;

    /// The peer writes as much of this as it can now.
    fn write(&mut self, peer: &mut Self::Peer, bytes: &[u8]) -> usize;

    /// The peer takes what is there.
    fn look(&mut self, peer: &mut Self::Peer) -> Seen;

    /// The peer says that it is done, behind what it wrote.
    fn shut_down(&mut self, peer: &mut Self::Peer);

    /// The peer breaks the connection.
    fn reset(&mut self, peer: Self::Peer);

    /// Somebody rings the bell while the next wait lasts.
    fn ring_during_the_wait(&mut self);
}

/// Over what a peer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    V4,
    V6,
    Unix,
}

/// Sizes of a ring, small enough to be met.
#[derive(Clone, Copy)]
struct Sizes {
    submission_entries: u32,
    completion_entries: u32,
    slots: u32,
    buffer_count: u16,
    buffer_bytes: u32,
    receive: ReceiveMode,
    send_waitall: bool,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            submission_entries: 16,
            completion_entries: 64,
            slots: 8,
            buffer_count: 8,
            buffer_bytes: 4_096,
            receive: ReceiveMode::Classic,
            send_waitall: true,
        }
    }
}

/// What a peer has seen.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    bytes: Vec<u8>,
    end: Option<End>,
}

/// How a connection ended, as its peer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// After everything that was sent.
    Finished,
    /// Cut.
    Reset,
}

/// The tests of a ring in `$world`, named after it.
macro_rules! tests_of {
    ($name:ident, $world:ty, $($area:ident { $($check:ident,)+ })+) => {
        mod $name {
            $(mod $area {
                $(#[test]
                fn $check() {
                    crate::ring::conformance::$area::$check::<$world>();
                })+
            })+
        }
    };
}

/// All checks, over the ring in `$world`. One that is not in this list is dead code.
macro_rules! conformance {
    ($name:ident: $world:ty) => {
        tests_of! {
            $name, $world,
            accepts {
                an_accept_takes_everyone_until_it_is_cancelled,
                an_accept_of_one_takes_one,
                every_accept_names_its_listener_and_gives_another_slot,
                without_a_slot_an_accept_ends,
                a_slot_that_was_given_back_has_another_owner,
            }
            receives {
                a_receive_stays_armed_until_the_end,
                what_came_before_the_end_is_told_before_it,
                a_reset_is_told_to_the_receive_and_after_it_there_is_nothing,
                a_stream_comes_whole_through_few_buffers,
                a_receive_of_one_shot_takes_no_more_than_it_may_and_ends,
                a_receive_of_one_shot_takes_no_more_than_its_buffer_holds,
                without_a_buffer_a_receive_ends_and_nothing_is_lost,
                what_is_leased_stays_as_it_is_while_more_comes,
                of_the_receives_that_find_something_the_one_pushed_now_is_first,
                a_receive_that_is_pushed_while_no_buffer_is_free_ends_at_once,
                what_came_before_a_reset_may_be_told_before_it,
                an_armed_receive_outlasts_a_time_without_buffers,
            }
            sends {
                a_send_is_told_when_all_is_sent_and_its_data_comes_back,
                the_pieces_of_a_send_arrive_in_order,
                of_more_pieces_than_one_send_takes_the_rest_is_sent_next,
                a_send_waits_for_a_peer_that_reads_late,
                a_short_send_gives_back_what_goes_on_where_it_stopped,
                a_cancelled_send_tells_what_was_sent_and_nothing_is_sent_twice,
                a_reset_ends_a_send_and_fails_the_next,
                a_send_to_a_peer_that_has_reset_fails,
                behind_a_half_close_nothing_is_sent,
                sends_of_several_slots_do_not_wait_for_each_other,
            }
            cancels {
                what_is_armed_ends_as_cancelled,
                what_is_cancelled_in_the_batch_of_its_push_ends_as_well,
                what_was_never_there_or_is_done_is_not_found,
                a_cancel_ends_one_kind_of_one_owner,
                a_cancel_that_meets_what_comes_loses_nothing,
                what_is_cancelled_twice_ends_once,
            }
            closes {
                after_a_half_close_the_peer_can_still_speak,
                a_half_close_of_what_is_broken_fails,
                a_close_says_goodbye_behind_what_was_sent,
                a_close_delivers_what_the_peer_has_not_taken_yet,
                a_close_before_everything_was_read_is_a_reset,
                a_close_is_a_reset_where_that_was_asked_for,
                what_a_peer_says_to_a_closed_slot_reaches_nobody,
                a_reset_on_close_drops_what_the_peer_has_not_taken,
                a_half_close_twice_is_one,
            }
            hangups {
                the_end_of_the_peer_is_told_though_nothing_was_read,
                an_end_that_has_come_is_told_at_once_and_again,
                a_reset_is_told_as_one,
                an_end_of_both_sides_is_no_reset,
                a_wait_for_the_end_does_not_hinder_the_others,
                a_reset_is_told_to_the_receive_and_the_hangup,
            }
            questions {
                who_the_peer_is,
                of_several_peers_each_has_its_own_address,
                how_much_the_peer_has_not_acknowledged,
                of_a_unix_socket_it_is_not_known,
            }
            queues {
                more_pushes_than_entries_are_all_told_once,
                more_completions_than_entries_lose_nothing,
            }
            doorbells {
                a_bell_rung_before_the_wait_ends_it,
                a_bell_rung_during_the_wait_ends_it,
                a_bell_rung_often_is_told_at_least_once_and_then_no_more,
                a_wait_lasts_until_its_deadline_and_no_longer_than_there_is_something,
                a_bell_may_be_rung_when_its_ring_is_gone,
            }
            teardown {
                a_ring_may_end_with_everything_in_flight,
                what_was_received_outlives_its_ring,
            }
        }
    };
}

conformance!(simulator: crate::ring::conformance::simulated::Simulated);
conformance!(uring: crate::ring::conformance::real::Real<crate::ring::KernelRing>);
