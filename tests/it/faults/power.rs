//! The power goes, at any moment, under a load of all commands.

use super::load::{Load, assert_remembered};
use super::service::{Service, assert_verified, until};

const ROUNDS: u64 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_outlives_ten_power_cuts() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..ROUNDS {
        let service = Service::start(dir.path(), "");
        let load = Load::start(&service, round).await;
        // Another moment each round, in the middle of whatever is under way.
        let moment = 50 + usize::try_from(round).unwrap() * 83;
        until("the load runs", async || load.answered() >= moment).await;
        service.kill();
        let told = load.end().await;
        assert!(told.iter().any(|(_, heard)| heard.is_err()), "the power went while calls were under way");
        assert_verified(dir.path());
        let service = Service::start(dir.path(), "");
        assert_remembered(&service.client().await, &told).await;
        service.assert_no_panic();
        service.stop();
    }
}
