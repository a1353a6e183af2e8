//! The handshake where a route asks for a session: admitted, decided by the handler, rotated if
//! wanted, answered with the cookie. Called by the task of such a route only.

use super::handler::WebSocketServer;
use super::opening::Opening;
use super::session::Session;
use crate::engine::{Port, SharedBy};
use crate::proto::Refusal;
use crate::sessions::{Admission, NotAdmitted, SessionKeeper};
use std::sync::Arc;

/// Lets the handler decide about the request, and answers it. `false`: that was all.
pub(super) async fn open<H: WebSocketServer>(
    handler: &mut H,
    port: &Port,
    mut opening: Box<Opening>,
    keeper: Arc<SessionKeeper>,
) -> bool {
    let cookie = opening.cookie(&keeper.cookie_name());
    let admitted = keeper.admit(cookie, port.socket_key()).await;
    let mut admission = match admitted {
        Ok(admission) => admission,
        Err(reason) => {
            port.refuse(&refusal(reason, &keeper));
            return false;
        }
    };
    port.set_visit(Arc::clone(&admission.visit));
    opening.set_session(Session::new(Arc::clone(&admission.visit)));
    match decide(handler, &mut opening, &mut admission, &keeper).await {
        Ok(()) => {
            let session_id = Some(admission.visit.id().to_string().into());
            let shared = opening.shared_connection().then_some(SharedBy { session_id });
            port.accept(opening.answer(), shared)
        }
        Err(refusal) => {
            keeper.discard(&admission);
            port.refuse(&refusal);
            false
        }
    }
}

async fn decide<H: WebSocketServer>(
    handler: &mut H,
    opening: &mut Opening,
    admission: &mut Admission,
    keeper: &SessionKeeper,
) -> Result<(), Refusal> {
    handler.on_pre_server(opening).await?;
    let concluded = keeper.conclude(admission, opening.rotation_wanted()).await;
    let cookie = concluded.map_err(|reason| refusal(reason, keeper))?;
    if let Some(cookie) = cookie
        && opening.add_header("Set-Cookie", &cookie).is_err()
    {
        return Err(Refusal::new(500, "the session has no cookie that can be sent"));
    }
    Ok(())
}

fn refusal(reason: NotAdmitted, keeper: &SessionKeeper) -> Refusal {
    match reason {
        NotAdmitted::Store(error) => {
            keeper.report(&error);
            Refusal::new(503, "sessions are not available; try again later")
                .with_own_header("Retry-After", "5")
        }
        NotAdmitted::Crowded => Refusal::new(429, "this session has too many WebSockets open")
            .with_own_header("Retry-After", "5"),
        NotAdmitted::Revoked => Refusal::new(403, "the session has ended; connect again"),
    }
}
