//! The clients of the servers under measurement.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pvz::adapters::system::SystemClock;
use pvz::ports::Clock as _;
use pvz::proto::Timestamp;
use pvz::proto::v1::AcceptOrderRequest;
use pvz::proto::v1::order_service_client::OrderServiceClient;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::{BoxError, ServerKind};

fn storage_deadline() -> Timestamp {
    let in_a_week = SystemClock.now().plus(Duration::from_hours(7 * 24));
    Timestamp { seconds: in_a_week.parts().0, nanos: 0 }
}

fn request(n: u64) -> AcceptOrderRequest {
    AcceptOrderRequest {
        order_id: format!("bench-{n:08}"),
        customer_id: "100200".to_owned(),
        storage_until: Some(storage_deadline()),
        weight_grams: Some(1_500),
        price_minor: Some(19_990),
        packaging: vec!["box".to_owned(), "film".to_owned()],
        ..AcceptOrderRequest::default()
    }
}

/// Sends accepts one after another on one connection.
pub fn accept(kind: ServerKind, address: &str, requests: u64) -> Result<(), BoxError> {
    if kind == ServerKind::Grpc {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(async {
            let mut client = OrderServiceClient::connect(format!("http://{address}")).await?;
            for n in 0..requests {
                client.accept_order(request(n)).await?;
            }
            Ok(())
        });
    }
    let mut connection = TcpStream::connect(address)?;
    connection.set_nodelay(true)?;
    let mut responses = BufReader::new(connection.try_clone()?);
    for n in 0..requests {
        let body = serde_json::to_string(&request(n))?;
        let head = format!(
            "POST /v1/orders HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        connection.write_all((head + &body).as_bytes())?;
        read_response(&mut responses)?;
    }
    Ok(())
}

fn read_response(responses: &mut BufReader<TcpStream>) -> Result<(), BoxError> {
    let mut line = String::new();
    responses.read_line(&mut line)?;
    if !line.starts_with("HTTP/1.1 200") {
        return Err(format!("not accepted: {line}").into());
    }
    let mut length = 0;
    while line.trim() != "" {
        line.clear();
        responses.read_line(&mut line)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    responses.read_exact(&mut vec![0; length])?;
    Ok(())
}

/// Sends accepts for the given time with a fixed number in flight. Returns the
/// number of accepted orders.
pub fn load(kind: ServerKind, address: &str, time: Duration, in_flight: usize) -> Result<u64, BoxError> {
    match kind {
        ServerKind::Grpc => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(grpc_load(address, time, in_flight))
        }
        ServerKind::Gateway | ServerKind::ByHand => wrk(address, time, in_flight),
    }
}

async fn grpc_load(address: &str, time: Duration, in_flight: usize) -> Result<u64, BoxError> {
    let channel = Channel::from_shared(format!("http://{address}"))?.tcp_nodelay(true).connect().await?;
    let (next, end) = (Arc::new(AtomicU64::new(0)), Instant::now() + time);
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..in_flight {
        let (mut client, next) = (OrderServiceClient::new(channel.clone()), Arc::clone(&next));
        callers.spawn(async move {
            let mut done = 0;
            while Instant::now() < end {
                client.accept_order(request(next.fetch_add(1, Ordering::Relaxed))).await?;
                done += 1;
            }
            Ok::<u64, tonic::Status>(done)
        });
    }
    let mut done = 0;
    while let Some(caller) = callers.join_next().await {
        done += caller??;
    }
    Ok(done)
}

/// Runs `wrk` with a different body for each request.
fn wrk(address: &str, time: Duration, in_flight: usize) -> Result<u64, BoxError> {
    let script = std::env::temp_dir().join(format!("pvz-bench-{}.lua", std::process::id()));
    let until = serde_json::to_string(&storage_deadline())?;
    let lua = format!(
        r#"
local n = 0
wrk.headers["content-type"] = "application/json"
request = function()
  n = n + 1
  return wrk.format("POST", "/v1/orders", nil, string.format(
    '{{"orderId":"bench-%08d","customerId":"100200","storageUntil":{until},"weightGrams":"1500","priceMinor":"19990","packaging":["box","film"]}}', n))
end
done = function(summary)
  local e = summary.errors
  io.write(string.format("RESULT %d %d\n", summary.requests, e.status + e.connect + e.read + e.write + e.timeout))
end
"#
    );
    std::fs::write(&script, lua)?;
    let output = Command::new("wrk")
        .args(["-t1", &format!("-c{in_flight}"), &format!("-d{}s", time.as_secs()), "-s"])
        .arg(&script)
        .arg(format!("http://{address}"))
        .output()
        .map_err(|error| format!("cannot run wrk (Debian package wrk): {error}"))?;
    std::fs::remove_file(&script)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let result = text.lines().find_map(|line| line.strip_prefix("RESULT ")).ok_or("wrk printed no result")?;
    let (done, failed) = result.split_once(' ').ok_or("wrk printed an incomplete result")?;
    if failed != "0" {
        return Err(format!("{failed} of {done} requests failed:\n{text}").into());
    }
    Ok(done.parse()?)
}
