//! The opening handshake: which answer a request gets, before any handler is asked.
//!
//! Called by the shard with each request that is complete. It answers, or has the route make its
//! task, which is application code: called while nothing is borrowed.

use crate::engine::connection::state::Flag;
use crate::engine::core::Core;
use crate::engine::handlers::port::Port;
use crate::engine::handlers::routes::{Arrival, Routes, Target};
use crate::engine::model::foreign;
use crate::engine::model::slot_id::SlotId;
use crate::proto::{self, HandshakeRules, Intent, Refusal, Request};
use std::rc::Rc;

/// Answers the request, or starts the handler that will.
pub(in crate::engine) fn handle_request(
    request: Box<Request>,
    id: SlotId,
    core: &Rc<Core>,
    routes: &Routes,
) {
    let mut slots = core.slots.borrow_mut();
    let Some(state) = slots.find(id).map(|slot| &mut slot.connection) else { return };
    if state.flags.has(Flag::OverCapacity) {
        let refusal = state.no_room();
        state.refuse(&refusal, core);
        return;
    }
    if core.is_memory_scarce() {
        let text = "this server is near the end of its memory; try again later";
        state.refuse(&later(id.slot ^ id.generation, text), core);
        return;
    }
    let paths = routes.paths();
    let route = paths.find(request.path());
    state.route = route.unwrap_or(u16::MAX);
    let origins = &core.settings.origins;
    let own = route.and_then(|route| paths.options(route)).map(|options| &options.origins_allowed);
    let rules = HandshakeRules {
        legacy_drafts: core.settings.legacy_drafts,
        origins_allowed: own.filter(|own| !own.is_empty()).unwrap_or(&origins.allowed),
        origin_required: origins.required,
        loopback_ports: &core.loopback_ports,
    };
    let intent = proto::handshake::classify(&request, &rules);
    match (route.and_then(|route| routes.get(route)), intent) {
        (_, Err(refusal)) => state.refuse(&refusal, core),
        (_, Ok(Intent::Plain)) if request.target() == "*" => {
            state.answer(200, proto::handshake::options_response(PAGE_METHODS), core);
        }
        (Some(Target::Handler { make, .. }), Ok(Intent::Upgrade(upgrade))) => {
            // The application's code may look at its connection.
            drop(slots);
            let port = Port::new(id, Rc::clone(core));
            // The task's first poll comes after this batch, so the id is in place by then.
            let arrival = Arrival { port, request, upgrade: Box::new(upgrade) };
            let Ok(task) = foreign::call(|| make(arrival)) else { return core.handle_panic(id) };
            if let Some(slot) = core.slots.borrow_mut().find(id) {
                core.executor.spawn(&mut slot.connection, task, core);
            }
        }
        (Some(Target::Page { content_type, body }), Ok(Intent::Plain)) => match request.method() {
            method @ ("GET" | "HEAD") => {
                let head_only = method == "HEAD";
                let page = proto::handshake::page_response(200, content_type, body, head_only);
                state.answer(200, page, core);
            }
            "OPTIONS" => {
                state.answer(200, proto::handshake::options_response(PAGE_METHODS), core);
            }
            _ => state.refuse(&method_not_allowed(), core),
        },
        (Some(Target::Handler { .. }), Ok(Intent::Plain)) => match request.method() {
            "OPTIONS" => {
                state.answer(200, proto::handshake::options_response("GET, OPTIONS"), core);
            }
            _ => state.refuse(&upgrade_required(), core),
        },
        (Some(Target::Page { .. }), Ok(Intent::Upgrade(_))) | (None, Ok(_)) => {
            state.refuse(&Refusal::new(404, "nothing is served at this path"), core);
        }
    }
}

/// What a page answers. OPTIONS is what HAProxy asks to see whether a server is there.
const PAGE_METHODS: &str = "GET, HEAD, OPTIONS";

fn method_not_allowed() -> Refusal {
    Refusal::new(405, "this page answers GET, HEAD and OPTIONS")
        .with_own_header("Allow", PAGE_METHODS)
}

fn upgrade_required() -> Refusal {
    Refusal::new(426, "this path speaks WebSocket: connect with ws:// instead")
        .with_own_header("Upgrade", "websocket")
        .with_own_header("Sec-WebSocket-Version", "13")
}

/// Spread, so that those who are told so do not all come back in the same second.
fn later(spread: u32, text: &'static str) -> Refusal {
    let seconds = 5 + (spread.wrapping_mul(0x9e37_79b9) >> 16) % 26;
    Refusal::new(503, text).with_own_header("Retry-After", &seconds.to_string())
}
