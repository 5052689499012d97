use std::net::SocketAddr;
use std::time::Duration;

use super::text;

/// The sockets, and the limits of what comes in through them.
#[derive(Debug, Clone, PartialEq, Eq, confique::Config)]
pub struct Server {
    /// Where gRPC listens: address:port. Port 0 picks a free one.
    #[config(env = "PVZ_GRPC_ADDR", default = "127.0.0.1:50051", deserialize_with = text::address)]
    pub grpc_addr: SocketAddr,

    /// Where REST and Swagger UI listen: address:port. Port 0 picks a free one.
    #[config(env = "PVZ_HTTP_ADDR", default = "127.0.0.1:8081", deserialize_with = text::address)]
    pub http_addr: SocketAddr,

    /// Where liveness, readiness and metrics listen: address:port. Port 0 picks
    /// a free one.
    #[config(env = "PVZ_ADMIN_ADDR", default = "127.0.0.1:9464", deserialize_with = text::address)]
    pub admin_addr: SocketAddr,

    /// How many threads serve, besides those that wait for files. Not set: one
    /// fewer than there are cores, but at least one, since the store has its work
    /// too, in threads of its own or in the database beside.
    #[config(env = "PVZ_SERVER_THREADS", deserialize_with = text::integer::<_, _, 1, 1_024>)]
    pub threads: Option<usize>,

    /// How long a unary call may take that names no deadline of its own.
    #[config(
        env = "PVZ_SERVER_REQUEST_TIMEOUT",
        default = "30s",
        deserialize_with = text::duration::<_, 1, { text::HOUR }>
    )]
    pub request_timeout: Duration,

    /// The largest message or body, in bytes; KiB and MiB are understood.
    #[config(
        env = "PVZ_SERVER_MAX_MESSAGE",
        default = "4MiB",
        deserialize_with = text::bytes::<_, 1_024, 1_073_741_824>
    )]
    pub max_message: usize,

    /// How many calls one connection may have in flight.
    #[config(
        env = "PVZ_SERVER_MAX_CONCURRENT_STREAMS",
        default = 1024,
        deserialize_with = text::integer::<_, _, 1, 1_000_000>
    )]
    pub max_concurrent_streams: u32,

    /// How long a connection may be silent before the other side is asked
    /// whether it is still there.
    #[config(
        env = "PVZ_SERVER_KEEP_ALIVE_INTERVAL",
        default = "30s",
        deserialize_with = text::duration::<_, 1_000, { text::HOUR }>
    )]
    pub keep_alive_interval: Duration,

    /// REST: how many connections are open at once; others wait to be accepted.
    #[config(
        env = "PVZ_SERVER_HTTP_MAX_CONNECTIONS",
        default = 10000,
        deserialize_with = text::integer::<_, _, 1, 1_000_000>
    )]
    pub http_max_connections: usize,

    /// REST: how long the head of a request may take to arrive, and a kept
    /// connection to send the next one.
    #[config(
        env = "PVZ_SERVER_HTTP_HEADER_TIMEOUT",
        default = "30s",
        deserialize_with = text::duration::<_, 100, { text::HOUR }>
    )]
    pub http_header_timeout: Duration,

    /// REST: how long a client may take nothing of an answer that waits for it.
    #[config(
        env = "PVZ_SERVER_HTTP_WRITE_TIMEOUT",
        default = "2m",
        deserialize_with = text::duration::<_, 100, { text::HOUR }>
    )]
    pub http_write_timeout: Duration,

    /// REST: how long a connection may stay without a request.
    #[config(
        env = "PVZ_SERVER_HTTP_IDLE_TIMEOUT",
        default = "75s",
        deserialize_with = text::duration::<_, 100, { text::HOUR }>
    )]
    pub http_idle_timeout: Duration,

    /// How long accepted work may take to finish after SIGTERM; what is still
    /// running then is cut, and the exit code says so.
    #[config(
        env = "PVZ_SERVER_DRAIN_DEADLINE",
        default = "30s",
        deserialize_with = text::duration::<_, 0, { text::HOUR }>
    )]
    pub drain_deadline: Duration,

    /// The web origins whose pages may call REST, such as
    /// `https://shop.example`; "*" alone allows all. Empty: none (CORS is off).
    /// In the environment: separated by commas.
    #[config(env = "PVZ_SERVER_CORS_ORIGINS", default = [], deserialize_with = origins)]
    pub cors_origins: Vec<String>,
}

impl Server {
    /// The addresses by key, to see whether two would clash.
    pub(super) fn addresses(&self) -> [(&'static str, SocketAddr); 3] {
        [
            ("server.grpc_addr", self.grpc_addr),
            ("server.http_addr", self.http_addr),
            ("server.admin_addr", self.admin_addr),
        ]
    }
}

fn origins<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let origins = text::list(deserializer)?;
    let everyone = origins.len() == 1 && origins[0] == "*";
    if everyone || origins.iter().all(|origin| is_origin(origin)) {
        return Ok(origins);
    }
    Err(serde::de::Error::custom(
        "must be origins such as https://shop.example, without a path, or \"*\" alone",
    ))
}

/// Whether a browser could send this as its `Origin`: scheme and authority,
/// nothing after them.
fn is_origin(text: &str) -> bool {
    let authority = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    authority.is_some_and(|authority| {
        !authority.contains('@') && authority.parse::<http::uri::Authority>().is_ok()
    })
}
