//! Kills of the server under a load of all commands.

use super::load::{Load, assert_replies_are_durable};
use super::test_service::{TestService, assert_verified, wait_until};

const ROUNDS: u64 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn replies_are_durable_across_ten_kills() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..ROUNDS {
        let service = TestService::start(dir.path(), "");
        let load = Load::start(&service, round).await;
        // A different moment in each round, while calls are in progress.
        let calls = 50 + usize::try_from(round).unwrap() * 83;
        wait_until("the load has made its calls", async || load.reply_count() >= calls).await;
        service.kill();
        let exchanges = load.finish().await;
        assert!(exchanges.iter().any(|(_, reply)| reply.is_err()), "no call was in progress at the kill");
        assert_verified(dir.path());
        let service = TestService::start(dir.path(), "");
        assert_replies_are_durable(&service.client().await, &exchanges).await;
        service.assert_no_panic();
        service.stop();
    }
}
