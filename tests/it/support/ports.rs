//! Ports for servers that cannot pick a free port themselves.

use std::net::TcpListener;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Ports below the range from which Linux assigns ports to `:0` and to outgoing
/// connections (32768 to 60999). Another test could take a port of that range
/// before a server that starts slowly listens on it.
const PORTS: std::ops::Range<u32> = 10_000..32_000;

/// Returns a port on which nothing listens. A process never gets a port twice, and
/// processes start at different offsets of the range.
pub fn free_port() -> u16 {
    static NEXT: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(std::process::id().wrapping_mul(97)));
    loop {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed) % (PORTS.end - PORTS.start);
        let port = u16::try_from(PORTS.start + offset).expect("a port of the range");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
