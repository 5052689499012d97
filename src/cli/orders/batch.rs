//! The commands that change several orders at once.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{fields, ids, issue_all};
use crate::adapters::status::{Reason, status_codes};
use crate::cli::client::{Client, client_command, request_id};
use crate::cli::escape::plain;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::{Format, print_ids, print_response, table};
use crate::cli::stderr;
use crate::proto::v1::{
    BatchMode, IssueOrdersRequest, IssueOrdersResponse, OrderResult, ReturnToCourierRequest,
    ReturnToCourierResponse, order_result,
};

client_command! {
    /// Issue orders to their customer. Issues all of them or none. With --partial, issues the orders that
    /// can be issued, and exits with 4 if any was refused.
    #[argh(
        subcommand,
        name = "issue",
        example = "pvz issue 1 2 3\n\
                   pvz issue 1,2,3 --customer-id=123 --partial\n\
                   pvz issue --customer-id=123 --all\n\
                   pvz list --customer-id=123 --states=stored --expired=false -q | pvz issue -",
        note = "--all lists the orders that the customer has stored at the pickup point, and issues those\n\
                that are not expired; it names the expired ones. If another operator changes one of them in\n\
                between, nothing is issued, or the others with --partial. It is safe to repeat.\n\
                All or none is limited to 100 orders. With --partial more orders are sent in groups of 100,\n\
                for one --customer-id."
    )]
    pub struct Issue {
        /// the ids of the orders, separated by spaces or commas; - reads them from standard input
        #[argh(positional, arg_name = "order-id")]
        orders: Vec<String>,
        /// the ids of the orders as an option, separated by commas
        #[argh(option, arg_name = "ids")]
        order_ids: Option<String>,
        /// the customer who collects the orders (default: the customer of the first order)
        #[argh(option, arg_name = "id")]
        customer_id: Option<String>,
        /// issue all orders that the customer can collect, instead of order ids
        #[argh(switch)]
        all: bool,
        /// issue the orders that can be issued
        #[argh(switch)]
        partial: bool,
        /// the pickup point (default: the one that the server is configured with)
        #[argh(option, arg_name = "id")]
        pickup_point: Option<String>,
        /// the request id, to repeat the request safely (default: a random one)
        #[argh(option, arg_name = "id")]
        request_id: Option<String>,
        /// print only the ids of the changed orders, one per line
        #[argh(switch, short = 'q')]
        quiet: bool,
    }
}

client_command! {
    /// Hand expired and returned orders to a courier. Hands over all of them or none. With
    /// --partial, hands over the orders that can be handed over, and exits with 4 if any was
    /// refused.
    #[argh(
        subcommand,
        name = "return-to-courier",
        example = "pvz return-to-courier 1 2 3\n\
                   pvz list --expired=true --all -q | pvz return-to-courier - --partial",
        note = "All or none is limited to 100 orders. With --partial more orders are sent in groups of 100."
    )]
    pub struct ReturnToCourier {
        /// the ids of the orders, separated by spaces or commas; - reads them from standard input
        #[argh(positional, arg_name = "order-id")]
        orders: Vec<String>,
        /// the ids of the orders as an option, separated by commas
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
        /// print only the ids of the changed orders, one per line
        #[argh(switch, short = 'q')]
        quiet: bool,
    }
}

/// The maximum number of orders in one request.
const MAX_BATCH: usize = 100;

impl Issue {
    pub(in crate::cli) async fn run(mut self) -> Outcome {
        let common = self.common();
        let quiet = common.quiet(self.quiet)?;
        let given = if self.all {
            self.check_all()?;
            None
        } else {
            Some(order_ids(&self.orders, self.order_ids.take())?)
        };
        let client = Client::connect(common).await?;
        let order_ids = match given {
            Some(ids) => ids,
            None => {
                issue_all::order_ids(&client, self.customer_id.clone(), self.pickup_point.clone()).await?
            }
        };
        if self.all && order_ids.is_empty() {
            let nothing = Sent { results: Vec::new(), total: 0, failure: None };
            return finish(&client, quiet, nothing, |results| IssueOrdersResponse { results });
        }
        if order_ids.len() > MAX_BATCH && self.partial && self.customer_id.is_none() {
            return Err(Failure::usage(format!(
                "{} orders are sent in groups of {MAX_BATCH}; give --customer-id, so that all groups are issued to \
                 the same customer",
                order_ids.len()
            ))
            .into());
        }
        let sent = send(order_ids, self.partial, self.all, self.request_id, async |order_ids, request_id| {
            let request = IssueOrdersRequest {
                order_ids,
                customer_id: self.customer_id.clone(),
                pickup_point_id: self.pickup_point.clone(),
                mode: mode(self.partial),
                request_id: Some(request_id),
            };
            let response =
                client.call(request, async |mut grpc, request| grpc.issue_orders(request).await).await?;
            Ok(response.results)
        })
        .await?;
        finish(&client, quiet, sent, |results| IssueOrdersResponse { results })
    }

    /// Checks the options next to `--all`.
    fn check_all(&self) -> Result<(), Failure> {
        if !self.orders.is_empty() || self.order_ids.is_some() {
            return Err(Failure::usage("--all cannot be combined with order ids"));
        }
        if self.customer_id.as_deref().is_none_or(str::is_empty) {
            return Err(Failure::usage("--all needs --customer-id: it issues the orders of one customer"));
        }
        if self.request_id.is_some() {
            return Err(Failure::usage(
                "--all cannot be combined with --request-id, because the orders may differ each time; it is safe to \
                 repeat without",
            ));
        }
        Ok(())
    }
}

impl ReturnToCourier {
    pub(in crate::cli) async fn run(mut self) -> Outcome {
        let common = self.common();
        let quiet = common.quiet(self.quiet)?;
        let order_ids = order_ids(&self.orders, self.order_ids.take())?;
        let client = Client::connect(common).await?;
        let sent = send(order_ids, self.partial, false, self.request_id, async |order_ids, request_id| {
            let request = ReturnToCourierRequest {
                order_ids,
                pickup_point_id: self.pickup_point.clone(),
                mode: mode(self.partial),
                request_id: Some(request_id),
            };
            let response =
                client.call(request, async |mut grpc, request| grpc.return_to_courier(request).await).await?;
            Ok(response.results)
        })
        .await?;
        finish(&client, quiet, sent, |results| ReturnToCourierResponse { results })
    }
}

fn order_ids(arguments: &[String], option: Option<String>) -> Result<Vec<String>, Failure> {
    match option {
        Some(_) if !arguments.is_empty() => Err(ids::given_twice("--order-ids")),
        Some(option) => Ok(fields::ids(Some(option))),
        None => ids::of_arguments(arguments),
    }
}

fn mode(partial: bool) -> i32 {
    if partial { BatchMode::Partial.into() } else { BatchMode::Atomic.into() }
}

/// The results of the groups that were sent, and the failure that ended the command before the last one.
struct Sent {
    results: Vec<OrderResult>,
    /// Number of orders in all groups.
    total: usize,
    failure: Option<Failure>,
}

/// Sends the orders: in one request, or in groups if each order stands for itself. The groups after the
/// first have request ids of their own, the same ones when the command is repeated. Orders that the command
/// has listed itself are listed again when it is repeated.
///
/// # Errors
/// There are more orders than all or none is possible for, an id is repeated across groups, or the first
/// group fails.
async fn send(
    order_ids: Vec<String>,
    partial: bool,
    listed: bool,
    given: Option<String>,
    call: impl AsyncFn(Vec<String>, String) -> Result<Vec<OrderResult>, Failure>,
) -> Result<Sent, Failure> {
    let total = order_ids.len();
    let first_id = request_id(given);
    let call = async |order_ids, request_id| {
        // A repeated command has the same groups and derives the other ids from the first one.
        call(order_ids, request_id).await.map_err(|failure| {
            let failure = if listed { failure.repeatable() } else { failure.of_request(&first_id) };
            failure.of_batch(total)
        })
    };
    if total <= MAX_BATCH {
        return Ok(Sent { results: call(order_ids, first_id.clone()).await?, total, failure: None });
    }
    if !partial {
        return Err(Failure::usage(format!(
            "{total} orders are more than the {MAX_BATCH} that can be changed all or none; give fewer, or --partial to \
             send them in groups of {MAX_BATCH}"
        )));
    }
    let mut seen = BTreeSet::new();
    if let Some(repeated) = order_ids.iter().find(|id| !seen.insert(*id)) {
        return Err(Failure::usage(format!("the order id {repeated:?} was given twice")));
    }
    let mut results = Vec::new();
    for (index, group) in order_ids.chunks(MAX_BATCH).enumerate() {
        let request_id = if index == 0 { first_id.clone() } else { format!("{first_id}-{}", index + 1) };
        match call(group.to_vec(), request_id).await {
            Ok(group) => results.extend(group),
            Err(failure) if index == 0 => return Err(failure),
            Err(failure) => return Ok(Sent { results, total, failure: Some(failure) }),
        }
    }
    Ok(Sent { results, total, failure: None })
}

/// Prints the results. If an order was refused, the exit code is that of a
/// broken business rule.
fn finish<R: Serialize>(
    client: &Client,
    quiet: bool,
    sent: Sent,
    response: impl FnOnce(Vec<OrderResult>) -> R,
) -> Outcome {
    let Sent { results, total, failure } = sent;
    let done = results.len();
    let refusals = || {
        results.iter().filter_map(|result| match &result.outcome {
            Some(order_result::Outcome::Refusal(refusal)) => Some((&result.order_id, refusal)),
            _ => None,
        })
    };
    let exit = if refusals().next().is_some() { status_codes(Reason::WrongCustomer).exit } else { 0 };
    if quiet {
        for (order_id, refusal) in refusals() {
            stderr::line(plain(&format!("order {order_id}: {}: {}", refusal.reason, refusal.message)));
        }
        let is_changed =
            |result: &&OrderResult| matches!(result.outcome, Some(order_result::Outcome::Order(_)));
        print_ids(results.iter().filter(is_changed).map(|result| result.order_id.as_str()))?;
    } else if client.format != Format::Table || !results.is_empty() {
        let text = table(&results);
        let items = results.clone();
        print_response(client.format, &response(results), &items, || text)?;
    }
    match failure {
        None => Ok(exit),
        Some(failure) => {
            stderr::line(format_args!(
                "the command failed after {done} of {total} orders; repeat it to complete it"
            ));
            Err(failure.into())
        }
    }
}
