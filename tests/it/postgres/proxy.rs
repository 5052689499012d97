//! A TCP proxy before the database that does as a bad network does, at the one
//! moment that matters.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What happens to the next message that commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Cut {
    /// It passes.
    Never = 0,
    /// It is lost, and the connection with it.
    Before = 1,
    /// It arrives; its answer is lost, and the connection with it.
    After = 2,
}

pub struct Proxy {
    pub port: u16,
    cut: Arc<AtomicU8>,
}

impl Proxy {
    pub async fn start(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cut = Arc::new(AtomicU8::new(Cut::Never as u8));
        let armed = Arc::clone(&cut);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(relay(client, server, Arc::clone(&armed)));
            }
        });
        Self { port, cut }
    }

    pub fn cut_next(&self, cut: Cut) {
        self.cut.store(cut as u8, Ordering::SeqCst);
    }

    /// Whether the cut was made.
    pub fn has_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst) == Cut::Never as u8
    }
}

/// What a client has said so far, message by message.
#[derive(Default)]
struct Session {
    in_transaction: bool,
    /// The names of the prepared writes of a batch.
    writes: HashSet<Vec<u8>>,
}

impl Session {
    /// Whether these messages, whole ones, commit: a COMMIT, or a write that is
    /// its own transaction.
    fn commits(&mut self, bytes: &[u8]) -> bool {
        let mut commits = false;
        let mut rest = bytes;
        while let [kind, a, b, c, d, ..] = *rest {
            // What a session begins with has no type, but a length below 2^24.
            if kind == 0 {
                break;
            }
            let end = 1 + u32::from_be_bytes([a, b, c, d]) as usize;
            let mut fields = rest[5..end].split(|byte| *byte == 0);
            let (first, second) = (fields.next().unwrap(), fields.next().unwrap_or_default());
            match kind {
                b'P' if second.starts_with(b"WITH new_orders") => {
                    self.writes.insert(first.to_vec());
                }
                b'Q' if first == b"BEGIN" => self.in_transaction = true,
                b'Q' if first == b"COMMIT" => {
                    self.in_transaction = false;
                    commits = true;
                }
                b'B' => commits |= !self.in_transaction && self.writes.contains(second),
                _ => {}
            }
            rest = &rest[end..];
        }
        commits
    }
}

async fn relay(client: TcpStream, server: u16, cut: Arc<AtomicU8>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let mut bytes = vec![0; 1 << 16];
    let mut session = Session::default();
    while let Ok(length @ 1..) = from_client.read(&mut bytes).await {
        let commits = session.commits(&bytes[..length]);
        if commits && cut.load(Ordering::SeqCst) != Cut::Never as u8 {
            // The client's side is closed first, so no answer can pass.
            answers.abort();
            let _ = answers.await;
            if cut.swap(Cut::Never as u8, Ordering::SeqCst) == Cut::After as u8 {
                let _ = to_server.write_all(&bytes[..length]).await;
                drop(from_client);
                // The server goes on, as it does when only the way back broke:
                // its side stays open for as long as it has something to do.
                let _ = to_server.writable().await;
                std::future::pending::<()>().await;
            }
            return;
        }
        if to_server.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
    answers.abort();
}
