//! Accounts for the memory of gRPC requests that have not arrived completely.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

use super::status::to_status;
use crate::adapters::api::{OPEN_REQUEST, RequestBytes};
use crate::domain::Refusal;

/// The length of the prefix of a message: a flag and a big-endian length.
const PREFIX: usize = 5;

/// A request body that accounts for the bytes of its incomplete message, and for the request itself
/// until its first message is complete. Fails if the request is evicted.
pub struct AccountedBody<B> {
    body: B,
    message: PartialMessage,
    account: RequestBytes,
    /// Set while the body waits for the client.
    evicted: Option<Pin<Box<dyn Future<Output = Refusal> + Send>>>,
}

impl<B> AccountedBody<B> {
    /// Wraps a body.
    pub fn new(body: B, account: RequestBytes) -> Self {
        Self { body, message: PartialMessage::default(), account, evicted: None }
    }

    /// The bytes of the request if it is incomplete, else 0.
    fn incomplete(&self) -> usize {
        let PartialMessage { received, completed, .. } = self.message;
        if received == 0 && completed { 0 } else { OPEN_REQUEST + received }
    }
}

impl<B: Body<Data = Bytes, Error = Status> + Unpin> Body for AccountedBody<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.message.receive(data);
        }
        let incomplete = self.incomplete();
        if let Err(refusal) = self.account.set(incomplete) {
            return Poll::Ready(Some(Err(to_status(refusal))));
        }
        if frame.is_ready() || incomplete == 0 {
            self.evicted = None;
            return frame;
        }
        let this = &mut *self;
        let evicted = this.evicted.get_or_insert_with(|| Box::pin(this.account.evicted()));
        evicted.as_mut().poll(context).map(|refusal| Some(Err(to_status(refusal))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The position within the message that is arriving.
#[derive(Debug, Default)]
struct PartialMessage {
    prefix: [u8; PREFIX],
    /// The bytes of the message received so far, with its prefix.
    received: usize,
    /// True once a message is complete.
    completed: bool,
}

impl PartialMessage {
    /// Receives data. Afterwards `received` is 0 if the data ends at the end of a message.
    fn receive(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let length = match self.received.checked_sub(PREFIX) {
                Some(_) => PREFIX + self.length(),
                None => PREFIX,
            };
            let taken = data.len().min(length - self.received);
            if self.received < PREFIX {
                self.prefix[self.received..self.received + taken].copy_from_slice(&data[..taken]);
            }
            self.received += taken;
            data = &data[taken..];
            if self.received >= PREFIX && self.received == PREFIX + self.length() {
                self.received = 0;
                self.completed = true;
            }
        }
    }

    /// The length in the prefix.
    fn length(&self) -> usize {
        let [_, length @ ..] = self.prefix;
        usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX - PREFIX)
    }
}

#[cfg(test)]
mod tests {
    use super::PartialMessage;

    #[test]
    fn every_split_of_messages_leaves_the_incomplete_one() {
        let messages: Vec<u8> = [0_usize, 1, 7, 300]
            .iter()
            .flat_map(|length| {
                let mut message = vec![0];
                message.extend(u32::try_from(*length).unwrap().to_be_bytes());
                message.resize(5 + length, 9);
                message
            })
            .collect();
        let ends = [5, 11, 23, 328];
        for size in 1..=messages.len() {
            let mut partial = PartialMessage::default();
            let mut at = 0;
            for chunk in messages.chunks(size) {
                at += chunk.len();
                let begin = ends.iter().rev().find(|end| **end <= at).copied().unwrap_or(0);
                partial.receive(chunk);
                assert_eq!(partial.received, at - begin, "chunks of {size}, at {at}");
            }
        }
    }
}
