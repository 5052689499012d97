//! A TCP proxy before a broker, which understands just enough of the protocol to
//! do harm to it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

const PRODUCE: i16 = 0;

/// What becomes of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// They pass.
    Clear,
    /// They are taken, and that is all.
    Silent,
    /// They pass; whoever wrote records hears of it that much later.
    Late(Duration),
    /// Whoever writes records is told that error, and nothing is written.
    Failing(i16),
}

pub struct Proxy {
    pub port: u16,
    sky: Arc<Sky>,
}

struct Sky {
    broker: u16,
    weather: Mutex<Weather>,
    harmed: AtomicUsize,
}

impl Sky {
    fn weather(&self) -> Weather {
        *self.weather.lock().unwrap()
    }
}

impl Proxy {
    /// Before the broker at that port, which need not be there yet.
    pub async fn start(broker: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let sky =
            Arc::new(Sky { broker, weather: Mutex::new(Weather::Clear), harmed: AtomicUsize::default() });
        let over = Arc::clone(&sky);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(carry(client, Arc::clone(&over)));
            }
        });
        Self { port, sky }
    }

    pub fn turn(&self, weather: Weather) {
        *self.sky.weather.lock().unwrap() = weather;
    }

    /// How many requests were harmed so far.
    pub fn harmed(&self) -> usize {
        self.sky.harmed.load(Ordering::SeqCst)
    }
}

/// A message with its length before it.
async fn frame(stream: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let length = stream.read_u32().await.ok()?;
    let mut message = vec![0; length as usize + 4];
    message[..4].copy_from_slice(&length.to_be_bytes());
    stream.read_exact(&mut message[4..]).await.ok()?;
    Some(message)
}

async fn carry(client: TcpStream, sky: Arc<Sky>) {
    let Ok(broker) = TcpStream::connect(("127.0.0.1", sky.broker)).await else { return };
    let (mut from_client, to_client) = client.into_split();
    let (mut from_broker, mut to_broker) = broker.into_split();
    let to_client = Arc::new(tokio::sync::Mutex::new(to_client));
    let (answers, above) = (Arc::clone(&to_client), Arc::clone(&sky));
    // The correlation ids of answers to hold back.
    let late: Arc<Mutex<Vec<[u8; 4]>>> = Arc::default();
    let held = Arc::clone(&late);
    let back = tokio::spawn(async move {
        while let Some(answer) = frame(&mut from_broker).await {
            let is_held = held.lock().unwrap().iter().any(|id| answer[4..8] == *id);
            if let (true, Weather::Late(time)) = (is_held, above.weather()) {
                tokio::time::sleep(time).await;
            }
            if answers.lock().await.write_all(&answer).await.is_err() {
                return;
            }
        }
    });
    while let Some(request) = frame(&mut from_client).await {
        let produces = i16::from_be_bytes([request[4], request[5]]) == PRODUCE;
        let weather = sky.weather();
        if weather == Weather::Silent || produces && weather != Weather::Clear {
            sky.harmed.fetch_add(1, Ordering::SeqCst);
        }
        match weather {
            Weather::Silent => continue,
            Weather::Failing(code) if produces => {
                refuse(&request, code, &to_client).await;
                continue;
            }
            Weather::Late(_) if produces => late.lock().unwrap().push(request[8..12].try_into().unwrap()),
            _ => {}
        }
        if to_broker.write_all(&request).await.is_err() {
            break;
        }
    }
    back.abort();
}

/// Answers a produce request of one topic and partition with an error.
async fn refuse(request: &[u8], code: i16, client: &tokio::sync::Mutex<OwnedWriteHalf>) {
    let short = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
    // Length, key, version, correlation id; then the client's name, the
    // transaction, acks, timeout, and the number of topics.
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
    // The offset of the first record, the broker's time, and the first offset.
    answer.extend((-1_i64).to_be_bytes());
    answer.extend((-1_i64).to_be_bytes());
    if version >= 5 {
        answer.extend((-1_i64).to_be_bytes());
    }
    // Throttled for no time.
    answer.extend(0_i32.to_be_bytes());
    let length = u32::try_from(answer.len()).unwrap().to_be_bytes();
    _ = client.lock().await.write_all(&[&length[..], &answer].concat()).await;
}
