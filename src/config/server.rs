use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::text;

/// Listening addresses and request limits.
#[derive(Debug, Clone, PartialEq, Eq, confique::Config)]
pub struct Server {
    /// Listening address of gRPC: address:port. Port 0 picks a free port.
    #[config(env = "PVZ_GRPC_ADDR", default = "127.0.0.1:50051", deserialize_with = text::address)]
    pub grpc_addr: SocketAddr,

    /// Listening address of REST and Swagger UI: address:port. Port 0 picks a
    /// free port.
    #[config(env = "PVZ_HTTP_ADDR", default = "127.0.0.1:8081", deserialize_with = text::address)]
    pub http_addr: SocketAddr,

    /// Listening address of health checks and metrics: address:port. Port 0
    /// picks a free port.
    #[config(env = "PVZ_ADMIN_ADDR", default = "127.0.0.1:9464", deserialize_with = text::address)]
    pub admin_addr: SocketAddr,

    /// Number of worker threads, not counting threads for blocking I/O. Not set:
    /// one less than the number of cores, at least one, because SQLite's threads
    /// or a database on the same machine need a core too.
    #[config(env = "PVZ_SERVER_THREADS", deserialize_with = text::integer::<_, _, 1, 1_024>)]
    pub threads: Option<usize>,

    /// Deadline of a unary call for which the client sets none.
    #[config(
        env = "PVZ_SERVER_REQUEST_TIMEOUT",
        default = "30s",
        deserialize_with = text::duration::<_, 1, { text::HOUR }>
    )]
    pub request_timeout: Duration,

    /// Maximum size of a message or request body, in bytes, KiB or MiB.
    #[config(
        env = "PVZ_SERVER_MAX_MESSAGE",
        default = "256KiB",
        deserialize_with = text::bytes::<_, 1_024, 1_073_741_824>
    )]
    pub max_message: usize,

    /// Maximum memory of all open streams and of all requests that have not arrived
    /// completely, in bytes, KiB or MiB. Beyond it the request that has been
    /// incomplete for longest is refused with OVERLOADED, and so is a new stream
    /// beyond half of it.
    #[config(
        env = "PVZ_SERVER_REQUEST_MEMORY",
        default = "64MiB",
        deserialize_with = text::bytes::<_, 1_048_576, 1_099_511_627_776>
    )]
    pub request_memory: usize,

    /// gRPC: maximum number of concurrent calls on one connection.
    #[config(
        env = "PVZ_SERVER_MAX_CONCURRENT_STREAMS",
        default = 1024,
        deserialize_with = text::integer::<_, _, 1, 1_000_000>
    )]
    pub max_concurrent_streams: u32,

    /// gRPC: interval of keep-alive pings on an idle connection.
    #[config(
        env = "PVZ_SERVER_KEEP_ALIVE_INTERVAL",
        default = "30s",
        deserialize_with = text::duration::<_, 1_000, { text::HOUR }>
    )]
    pub keep_alive_interval: Duration,

    /// Maximum number of open connections of gRPC and of REST, each. Further
    /// connections are refused with UNAVAILABLE. Not set: as many as the limit of
    /// open files (`ulimit -n`, raised to the hard limit at start) allows beside
    /// the store, at most 10000. A larger number is lowered to what it allows.
    #[config(
        env = "PVZ_SERVER_MAX_CONNECTIONS",
        deserialize_with = text::integer::<_, _, 1, 1_000_000>
    )]
    pub max_connections: Option<usize>,

    /// Timeout for reading the head of a request.
    #[config(
        env = "PVZ_SERVER_HEADER_TIMEOUT",
        default = "30s",
        deserialize_with = text::duration::<_, 100, { text::HOUR }>
    )]
    pub header_timeout: Duration,

    /// Write timeout: how long a client may stop reading before its stream (gRPC,
    /// HTTP/2) or connection is closed.
    #[config(
        env = "PVZ_SERVER_WRITE_TIMEOUT",
        default = "2m",
        deserialize_with = text::duration::<_, 100, { text::HOUR }>
    )]
    pub write_timeout: Duration,

    /// Time after which a connection without a request is closed.
    #[config(
        env = "PVZ_SERVER_IDLE_TIMEOUT",
        default = "75s",
        deserialize_with = text::duration::<_, 100, { text::HOUR }>
    )]
    pub idle_timeout: Duration,

    /// Time for accepted work to finish after SIGTERM. After it, running calls
    /// are aborted and the exit code is 1.
    #[config(
        env = "PVZ_SERVER_DRAIN_DEADLINE",
        default = "30s",
        deserialize_with = text::duration::<_, 0, { text::HOUR }>
    )]
    pub drain_deadline: Duration,

    /// URL of REST as its clients reach it, such as `https://shop.example/pvz`, if a
    /// proxy changes the address or the path. The `type` of problems and the OpenAPI
    /// document then name this URL. Not set: `type` is a path, and the document names
    /// the address that it was read from.
    #[config(env = "PVZ_SERVER_PUBLIC_URL", deserialize_with = public_url)]
    pub public_url: Option<String>,

    /// Web origins that may call REST from a browser (CORS), as a browser sends
    /// them: `https://shop.example`, without a path and without "*" in the host;
    /// "*" alone allows every origin. Empty: CORS is off. In the environment
    /// variable, separate origins with commas.
    #[config(env = "PVZ_SERVER_CORS_ORIGINS", default = [], deserialize_with = origins)]
    pub cors_origins: Vec<String>,
}

impl Server {
    /// Returns the listening addresses by key, to find clashes.
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
        "must be origins as browsers send them, such as https://shop.example or http://localhost:3000: in lower \
         case, without user, path, default port or \"*\" in the host; or \"*\" alone",
    ))
}

/// Reads a URL with a scheme, a host and a path or none, and removes slashes at its end.
fn public_url<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    text::read(deserializer, |text| {
        let url = text.trim_end_matches('/');
        let host = url.find("://").map_or(0, |colon| colon + 3);
        let path = url[host..].find('/').map_or(url.len(), |slash| host + slash);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%".contains(&byte);
        if is_origin(&url[..path].to_ascii_lowercase()) && url[path..].bytes().all(plain) {
            return Ok(url.to_owned());
        }
        Err("must be a URL such as https://shop.example/pvz, without a user, a query and a fragment")
    })
}

/// Returns true for a value of the `Origin` header that a browser can send: scheme, host in lower
/// case, and the port if it is not the default. Any other value would never match.
fn is_origin(text: &str) -> bool {
    let (authority, default_port) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(authority), _) => (authority, 443),
        (_, Some(authority)) => (authority, 80),
        _ => return false,
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_port = |port: &str| {
        let number = port.parse::<u16>().is_ok_and(|number| number != 0 && number != default_port);
        number && !port.starts_with(['0', '+'])
    };
    is_host(host) && port.is_none_or(is_port)
}

/// Returns true for an IPv6 address in brackets, an IPv4 address, or a name in lower case.
fn is_host(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok_and(|parsed| parsed.to_string() == address);
    }
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    text.bytes().all(legal) && text.trim_end_matches('.').split('.').all(|label| !label.is_empty())
}

#[cfg(test)]
mod tests {
    use toml::Value;

    #[test]
    fn a_public_url_has_a_host_and_no_query() {
        for (given, kept) in [
            ("https://shop.example/pvz", "https://shop.example/pvz"),
            ("http://localhost:8080/", "http://localhost:8080"),
            ("https://[::1]/a/b//", "https://[::1]/a/b"),
            ("https://Shop.example/A", "https://Shop.example/A"),
        ] {
            assert_eq!(super::public_url(Value::from(given)).unwrap(), kept);
        }
        for wrong in [
            "shop.example",
            "/pvz",
            "ftp://shop.example",
            "https://",
            "https:///pvz",
            "https://anna@shop.example",
            "https://shop.example/pvz?a=b",
            "https://shop.example/#a",
            "https://shop.example/{a}",
            "https://shop.example/a b",
        ] {
            assert!(super::public_url(Value::from(wrong)).is_err(), "{wrong}");
        }
    }
}
