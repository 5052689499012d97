//! The commands that change many orders at once.

use serde::Serialize;

use super::fields;
use crate::adapters::status::{Reason, status_codes};
use crate::cli::client::{Client, Outcome, client_command, request_id};
use crate::cli::output::{print_answer, table};
use crate::proto::v1::{BatchMode, IssueOrdersRequest, OrderResult, ReturnToCourierRequest, order_result};

client_command! {
    /// Issue orders to their customer. All of them, or none; with --partial, what can be issued is, and
    /// the exit code is 4 if anything was refused.
    #[argh(
        subcommand,
        name = "issue",
        example = "pvz issue --order-ids=1,2,3\npvz issue --order-ids=1,2,3 --customer-id=123 --partial"
    )]
    pub struct Issue {
        /// the orders' keys, joined by commas: 1 to 100
        #[argh(option, arg_name = "ids")]
        order_ids: Option<String>,
        /// the customer at the counter (default: the customer of the first order)
        #[argh(option, arg_name = "id")]
        customer_id: Option<String>,
        /// issue what can be issued
        #[argh(switch)]
        partial: bool,
        /// the counter (default: the one configured at the server)
        #[argh(option, arg_name = "id")]
        pickup_point: Option<String>,
        /// a key of your own for this request (default: a fresh one)
        #[argh(option, arg_name = "key")]
        request_id: Option<String>,
    }
}

client_command! {
    /// Give expired and returned orders to a courier. All of them, or none; with --partial, what can go
    /// does, and the exit code is 4 if anything was refused.
    #[argh(
        subcommand,
        name = "return-to-courier",
        example = "pvz return-to-courier --order-ids=1,2,3\npvz return-to-courier --order-ids=1,2,3 --partial"
    )]
    pub struct ReturnToCourier {
        /// the orders' keys, joined by commas: 1 to 100
        #[argh(option, arg_name = "ids")]
        order_ids: Option<String>,
        /// give what can be given
        #[argh(switch)]
        partial: bool,
        /// the counter (default: the one configured at the server)
        #[argh(option, arg_name = "id")]
        pickup_point: Option<String>,
        /// a key of your own for this request (default: a fresh one)
        #[argh(option, arg_name = "key")]
        request_id: Option<String>,
    }
}

impl Issue {
    pub(in crate::cli) async fn run(mut self) -> Outcome {
        let client = Client::connect(self.common()).await?;
        let key = request_id(self.request_id);
        let request = IssueOrdersRequest {
            order_ids: fields::ids(self.order_ids),
            customer_id: self.customer_id,
            pickup_point_id: self.pickup_point,
            mode: mode(self.partial),
            request_id: Some(key.clone()),
        };
        let answer =
            client.mutate(&key, request, async |mut grpc, request| grpc.issue_orders(request).await).await?;
        finish(&client, &answer, &answer.results)
    }
}

impl ReturnToCourier {
    pub(in crate::cli) async fn run(mut self) -> Outcome {
        let client = Client::connect(self.common()).await?;
        let key = request_id(self.request_id);
        let request = ReturnToCourierRequest {
            order_ids: fields::ids(self.order_ids),
            pickup_point_id: self.pickup_point,
            mode: mode(self.partial),
            request_id: Some(key.clone()),
        };
        let answer = client
            .mutate(&key, request, async |mut grpc, request| grpc.return_to_courier(request).await)
            .await?;
        finish(&client, &answer, &answer.results)
    }
}

fn mode(partial: bool) -> i32 {
    if partial { BatchMode::Partial.into() } else { BatchMode::Atomic.into() }
}

/// Prints the results; a refused part makes the exit code that of a rule that
/// said no.
fn finish(client: &Client, answer: &impl Serialize, results: &[OrderResult]) -> Outcome {
    print_answer(client.format, answer, results, || table(results))?;
    let is_refusal = |result: &OrderResult| matches!(result.outcome, Some(order_result::Outcome::Refusal(_)));
    Ok(if results.iter().any(is_refusal) { status_codes(Reason::WrongCustomer).exit } else { 0 })
}
