//! A TCP proxy in front of a broker that injects faults into produce requests.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

const PRODUCE: i16 = 0;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Requests are read and not answered.
    Silence,
    /// Answers to produce requests are delayed.
    LateAnswers(Duration),
    /// Produce requests are answered with an error code, and not forwarded.
    Failing(i16),
}

pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    broker: u16,
    fault: Mutex<Option<Fault>>,
    disturbed: AtomicUsize,
}

impl Shared {
    fn fault(&self) -> Option<Fault> {
        *self.fault.lock().unwrap()
    }
}

impl Proxy {
    /// Starts a proxy of the broker at a port, which need not run yet.
    pub async fn start(broker: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared { broker, fault: Mutex::default(), disturbed: AtomicUsize::default() });
        let forwarding = Arc::clone(&shared);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(forward(client, Arc::clone(&forwarding)));
            }
        });
        Self { port, shared }
    }

    /// Sets the fault; `None` forwards everything.
    pub fn set(&self, fault: Option<Fault>) {
        *self.shared.fault.lock().unwrap() = fault;
    }

    /// Returns the number of requests that had a fault.
    pub fn disturbed(&self) -> usize {
        self.shared.disturbed.load(Ordering::SeqCst)
    }
}

/// Reads a message, including its length.
async fn read_frame(stream: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let length = stream.read_u32().await.ok()?;
    let mut message = vec![0; length as usize + 4];
    message[..4].copy_from_slice(&length.to_be_bytes());
    stream.read_exact(&mut message[4..]).await.ok()?;
    Some(message)
}

/// Forwards requests and answers of a connection.
async fn forward(client: TcpStream, shared: Arc<Shared>) {
    let Ok(broker) = TcpStream::connect(("127.0.0.1", shared.broker)).await else { return };
    let (mut from_client, to_client) = client.into_split();
    let (mut from_broker, mut to_broker) = broker.into_split();
    let to_client = Arc::new(tokio::sync::Mutex::new(to_client));
    let (answers, answering) = (Arc::clone(&to_client), Arc::clone(&shared));
    // The correlation ids of answers to delay.
    let late: Arc<Mutex<Vec<[u8; 4]>>> = Arc::default();
    let delayed = Arc::clone(&late);
    let answer_task = tokio::spawn(async move {
        while let Some(answer) = read_frame(&mut from_broker).await {
            let is_delayed = delayed.lock().unwrap().iter().any(|id| answer[4..8] == *id);
            if let (true, Some(Fault::LateAnswers(time))) = (is_delayed, answering.fault()) {
                tokio::time::sleep(time).await;
            }
            if answers.lock().await.write_all(&answer).await.is_err() {
                return;
            }
        }
    });
    while let Some(request) = read_frame(&mut from_client).await {
        let is_produce = i16::from_be_bytes([request[4], request[5]]) == PRODUCE;
        let fault = shared.fault();
        if fault == Some(Fault::Silence) || is_produce && fault.is_some() {
            shared.disturbed.fetch_add(1, Ordering::SeqCst);
        }
        match fault {
            Some(Fault::Silence) => continue,
            Some(Fault::Failing(code)) if is_produce => {
                refuse(&request, code, &to_client).await;
                continue;
            }
            Some(Fault::LateAnswers(_)) if is_produce => {
                late.lock().unwrap().push(request[8..12].try_into().unwrap());
            }
            _ => {}
        }
        if to_broker.write_all(&request).await.is_err() {
            break;
        }
    }
    answer_task.abort();
}

/// Answers a produce request of one topic and partition with an error.
async fn refuse(request: &[u8], code: i16, client: &tokio::sync::Mutex<OwnedWriteHalf>) {
    let short = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
    // Length, key, version, correlation id; then client id, transactional id, acks,
    // timeout, and the number of topics.
    let version = short(6);
    let text = |at: usize| at + 2 + usize::try_from(short(at)).unwrap_or(0);
    let topic = text(text(12)) + 2 + 4 + 4;
    let partitions = text(topic);
    let mut answer = Vec::new();
    answer.extend(&request[8..12]);
    answer.extend(1_i32.to_be_bytes());
    answer.extend(&request[topic..partitions]);
    answer.extend(1_i32.to_be_bytes());
    answer.extend(&request[partitions + 4..partitions + 8]);
    answer.extend(code.to_be_bytes());
    // Base offset, append time, and log start offset.
    answer.extend((-1_i64).to_be_bytes());
    answer.extend((-1_i64).to_be_bytes());
    if version >= 5 {
        answer.extend((-1_i64).to_be_bytes());
    }
    // Throttle time.
    answer.extend(0_i32.to_be_bytes());
    let length = u32::try_from(answer.len()).unwrap().to_be_bytes();
    _ = client.lock().await.write_all(&[&length[..], &answer].concat()).await;
}
