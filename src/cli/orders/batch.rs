//! The commands that change several orders at once.

use serde::Serialize;

use super::fields;
use crate::adapters::status::{Reason, status_codes};
use crate::cli::client::{Client, client_command, request_id};
use crate::cli::failure::Outcome;
use crate::cli::output::{print_response, table};
use crate::proto::v1::{BatchMode, IssueOrdersRequest, OrderResult, ReturnToCourierRequest, order_result};

client_command! {
    /// Issue orders to their customer. Issues all of them or none. With --partial, issues the orders that
    /// can be issued, and exits with 4 if any was refused.
    #[argh(
        subcommand,
        name = "issue",
        example = "pvz issue --order-ids=1,2,3\npvz issue --order-ids=1,2,3 --customer-id=123 --partial"
    )]
    pub struct Issue {
        /// the ids of 1 to 100 orders, separated by commas
        #[argh(option, arg_name = "ids")]
        order_ids: Option<String>,
        /// the customer who collects the orders (default: the customer of the first order)
        #[argh(option, arg_name = "id")]
        customer_id: Option<String>,
        /// issue the orders that can be issued
        #[argh(switch)]
        partial: bool,
        /// the pickup point (default: the one that the server is configured with)
        #[argh(option, arg_name = "id")]
        pickup_point: Option<String>,
        /// the request id, to repeat the request safely (default: a random one)
        #[argh(option, arg_name = "id")]
        request_id: Option<String>,
    }
}

client_command! {
    /// Hand expired and returned orders to a courier. Hands over all of them or none. With
    /// --partial, hands over the orders that can be handed over, and exits with 4 if any was
    /// refused.
    #[argh(
        subcommand,
        name = "return-to-courier",
        example = "pvz return-to-courier --order-ids=1,2,3\npvz return-to-courier --order-ids=1,2,3 --partial"
    )]
    pub struct ReturnToCourier {
        /// the ids of 1 to 100 orders, separated by commas
        #[argh(option, arg_name = "ids")]
        order_ids: Option<String>,
        /// hand over the orders that can be handed over
        #[argh(switch)]
        partial: bool,
        /// the pickup point (default: the one that the server is configured with)
        #[argh(option, arg_name = "id")]
        pickup_point: Option<String>,
        /// the request id, to repeat the request safely (default: a random one)
        #[argh(option, arg_name = "id")]
        request_id: Option<String>,
    }
}

impl Issue {
    pub(in crate::cli) async fn run(mut self) -> Outcome {
        let client = Client::connect(self.common()).await?;
        let request_id = request_id(self.request_id);
        let request = IssueOrdersRequest {
            order_ids: fields::ids(self.order_ids),
            customer_id: self.customer_id,
            pickup_point_id: self.pickup_point,
            mode: mode(self.partial),
            request_id: Some(request_id.clone()),
        };
        let response = client
            .mutate(&request_id, request, async |mut grpc, request| grpc.issue_orders(request).await)
            .await?;
        finish(&client, &response, &response.results)
    }
}

impl ReturnToCourier {
    pub(in crate::cli) async fn run(mut self) -> Outcome {
        let client = Client::connect(self.common()).await?;
        let request_id = request_id(self.request_id);
        let request = ReturnToCourierRequest {
            order_ids: fields::ids(self.order_ids),
            pickup_point_id: self.pickup_point,
            mode: mode(self.partial),
            request_id: Some(request_id.clone()),
        };
        let response = client
            .mutate(&request_id, request, async |mut grpc, request| grpc.return_to_courier(request).await)
            .await?;
        finish(&client, &response, &response.results)
    }
}

fn mode(partial: bool) -> i32 {
    if partial { BatchMode::Partial.into() } else { BatchMode::Atomic.into() }
}

/// Prints the results. If an order was refused, the exit code is that of a
/// broken business rule.
fn finish(client: &Client, response: &impl Serialize, results: &[OrderResult]) -> Outcome {
    print_response(client.format, response, results, || table(results))?;
    let is_refusal = |result: &OrderResult| matches!(result.outcome, Some(order_result::Outcome::Refusal(_)));
    Ok(if results.iter().any(is_refusal) { status_codes(Reason::WrongCustomer).exit } else { 0 })
}
