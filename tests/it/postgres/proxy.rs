//! A TCP proxy in front of the database that cuts the connection at the next
//! commit.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The fault at the next message that commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Cut {
    /// None: the message passes.
    None = 0,
    /// The message is lost and the connection closed.
    Before = 1,
    /// The message arrives, its answer is lost, and the connection is closed.
    After = 2,
}

pub struct Proxy {
    pub port: u16,
    cut: Arc<AtomicU8>,
}

impl Proxy {
    /// Starts a proxy to the server on a port of the loopback.
    pub async fn start(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cut = Arc::new(AtomicU8::new(Cut::None as u8));
        let armed = Arc::clone(&cut);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(forward(client, server, Arc::clone(&armed)));
            }
        });
        Self { port, cut }
    }

    /// Sets the fault of the next commit.
    pub fn cut_next(&self, cut: Cut) {
        self.cut.store(cut as u8, Ordering::SeqCst);
    }

    /// Returns true if the fault has happened.
    pub fn has_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst) == Cut::None as u8
    }
}

/// The transaction state of a client session, as its messages show it.
#[derive(Default)]
struct Session {
    in_transaction: bool,
    /// The names of the prepared statements that write a batch.
    writes: HashSet<Vec<u8>>,
}

impl Session {
    /// Returns true if one of these complete messages commits: a COMMIT, or a write
    /// outside a transaction block.
    fn commits(&mut self, bytes: &[u8]) -> bool {
        let mut commits = false;
        let mut rest = bytes;
        while let [kind, a, b, c, d, ..] = *rest {
            // The startup message has no type byte; its length is below 2^24.
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

async fn forward(client: TcpStream, server: u16, cut: Arc<AtomicU8>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let mut bytes = vec![0; 1 << 16];
    let mut session = Session::default();
    while let Ok(length @ 1..) = from_client.read(&mut bytes).await {
        let commits = session.commits(&bytes[..length]);
        if commits && cut.load(Ordering::SeqCst) != Cut::None as u8 {
            // Close the client's side first, so that no answer can pass.
            answers.abort();
            let _ = answers.await;
            if cut.swap(Cut::None as u8, Ordering::SeqCst) == Cut::After as u8 {
                let _ = to_server.write_all(&bytes[..length]).await;
                drop(from_client);
                // Keep the server's side open, as when only the path to the client
                // is broken: the server then finishes the commit.
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
