//! An answer on its way to its client: in pieces, with its share of the memory for answers, and
//! with the turn of its request until the last byte has left. Made by `serving` for every request,
//! and polled as fast as the client takes it.

use super::budget::{Budget, Share};
use super::error::ApiError;
use super::limits::{ANSWERS_BYTES_MAX, PIECE_BYTES, READ_ONLY_ANSWERS_BYTES_MAX};
use super::line::Turn;
use super::tokens::Access;
use crate::MemoryClass;
use axum::body::{Body, Bytes, HttpBody};
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Marks an answer whose bytes are there once, for everybody.
#[derive(Clone, Copy)]
pub(super) struct SameForAll;

/// The memory for answers.
pub(super) struct Answers {
    all: Arc<Budget>,
    read_only: Arc<Budget>,
}

/// What an answer has of it.
#[derive(Default)]
struct Shares {
    _all: Option<Share>,
    _read_only: Option<Share>,
}

impl Answers {
    pub(super) fn new() -> Self {
        Self {
            all: Budget::new(ANSWERS_BYTES_MAX),
            read_only: Budget::new(READ_ONLY_ANSWERS_BYTES_MAX),
        }
    }

    /// Bytes of answers that wait to be taken.
    pub(super) fn used_bytes(&self) -> usize {
        self.all.used_bytes()
    }

    /// The memory of those.
    pub(super) fn memory(&self) -> MemoryClass {
        self.all.memory()
    }

    fn shares(&self, access: Option<Access>, bytes: u64) -> Option<Shares> {
        let bytes = usize::try_from(bytes).ok()?;
        match access {
            // What strangers are told is as short as an error.
            None => Some(Shares::default()),
            // What was done for an operator is told, such as the fence of a lease; a longer answer can
            // be asked for again.
            Some(Access::Operator) if bytes <= PIECE_BYTES => Some(Shares::default()),
            Some(Access::Operator) => {
                Some(Shares { _all: Some(self.all.take(bytes)?), _read_only: None })
            }
            Some(Access::ReadOnly) => {
                let read_only = Some(self.read_only.take(bytes)?);
                Some(Shares { _all: Some(self.all.take(bytes)?), _read_only: read_only })
            }
        }
    }

    /// The answer as it leaves; another one if there is no memory for it.
    pub(super) fn send(
        &self,
        response: Response,
        access: Option<Access>,
        turn: Turn,
    ) -> Response<Answer> {
        let is_same_for_all = response.extensions().get::<SameForAll>().is_some();
        let bytes = match is_same_for_all {
            true => 0,
            // One that is made piece by piece has one at a time.
            false => response.body().size_hint().exact().unwrap_or(PIECE_BYTES as u64),
        };
        let (response, shares) = match self.shares(access, bytes) {
            Some(shares) => (response, shares),
            None => (full().into_response(), Shares::default()),
        };
        turn.is_up_to_client();
        let ticket = Arc::new(Ticket { turn, _shares: shares });
        response.map(|body| Answer { body, rest: Bytes::new(), ticket })
    }
}

fn full() -> ApiError {
    let message = "the answers under way take all the memory there is for them";
    ApiError::new(503, "busy", message, "take the answers to earlier requests, or ask for less")
        .retry_after_s(1)
}

/// Lives for as long as any byte of an answer is in this process.
struct Ticket {
    turn: Turn,
    _shares: Shares,
}

/// The body of an answer.
pub(super) struct Answer {
    body: Body,
    /// Of a frame that is longer than a piece.
    rest: Bytes,
    ticket: Arc<Ticket>,
}

/// Bytes that were handed out, and the ticket.
struct Piece {
    bytes: Bytes,
    _ticket: Arc<Ticket>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
                self.ticket.turn.is_up_to_us();
                return Poll::Pending;
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(bytes))) => self.rest = bytes,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        self.ticket.turn.is_up_to_client();
        let length = self.rest.len().min(PIECE_BYTES);
        let bytes = self.rest.split_to(length);
        let piece = Piece { bytes, _ticket: Arc::clone(&self.ticket) };
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut whole = SizeHint::new();
        whole.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            whole.set_upper(upper + rest);
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::limits::Times;
    use crate::control::line::Line;
    use http_body_util::BodyExt;

    fn turn(line: &Arc<Line>) -> Turn {
        line.begin(usize::MAX).expect("there is room")
    }

    #[tokio::test]
    async fn an_answer_comes_in_pieces_and_its_share_lasts_to_the_last_byte() {
        let (answers, line) = (Answers::new(), Line::new(Times::default()));
        let text = vec![7; 2 * PIECE_BYTES + 1];
        let response = Response::new(Body::from(text.clone()));
        let mut answer = answers.send(response, Some(Access::Operator), turn(&line)).into_body();
        assert_eq!(answers.used_bytes(), text.len());
        let mut pieces = Vec::new();
        while let Some(frame) = answer.frame().await {
            let left = text.len() - pieces.iter().map(Bytes::len).sum::<usize>();
            pieces.push(frame.expect("no error").into_data().expect("data"));
            let size = answer.size_hint().exact().expect("known");
            assert_eq!(size as usize + pieces.last().expect("one").len(), left);
        }
        assert!(answer.is_end_stream());
        assert_eq!(
            pieces.iter().map(Bytes::len).collect::<Vec<_>>(),
            [PIECE_BYTES, PIECE_BYTES, 1]
        );
        drop(answer);
        // A connection still has a piece of it.
        pieces.truncate(1);
        assert_eq!(answers.used_bytes(), text.len());
        assert!(line.begin(1).is_none());
        drop(pieces);
        assert_eq!(answers.used_bytes(), 0);
        assert!(line.begin(1).is_some());
    }

    #[test]
    fn readers_cannot_take_the_memory_of_operators() {
        let (answers, line) = (Answers::new(), Line::new(Times::default()));
        let send = |access, bytes: usize| {
            answers.send(Response::new(Body::from(vec![0; bytes])), Some(access), turn(&line))
        };
        let _most = send(Access::ReadOnly, READ_ONLY_ANSWERS_BYTES_MAX);
        assert_eq!(send(Access::ReadOnly, 1).status(), 503);
        assert_eq!(send(Access::Operator, 1).status(), 200);
        let rest = ANSWERS_BYTES_MAX - READ_ONLY_ANSWERS_BYTES_MAX;
        let _rest = send(Access::Operator, rest);
        assert_eq!(send(Access::Operator, PIECE_BYTES + 1).status(), 503);
        assert_eq!(send(Access::Operator, PIECE_BYTES).status(), 200);
        let mut same = Response::new(Body::from("x"));
        same.extensions_mut().insert(SameForAll);
        assert_eq!(answers.send(same, Some(Access::ReadOnly), turn(&line)).status(), 200);
    }
}
