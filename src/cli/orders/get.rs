use super::ids;
use crate::adapters::status::Reason;
use crate::cli::client::{Client, client_command};
use crate::cli::failure::{Failure, Outcome, Stop};
use crate::cli::output::{Format, Out, card, print_orders};
use crate::proto::v1::{GetOrderRequest, ListOrdersResponse, Order};

client_command! {
    /// Show orders.
    #[argh(
        subcommand,
        name = "get",
        example = "pvz get 1\npvz get 1 2 3 -o json\npvz list --expired=true --all -q | pvz get -",
        note = "Orders that do not exist are reported after the others, with exit code 3.\n\
                -o json prints the order if one id is given as an argument, and otherwise an object with the\n\
                member orders, like 'pvz list'."
    )]
    pub struct Get {
        /// the ids of the orders, separated by spaces or commas; - reads them from standard input
        #[argh(positional, arg_name = "order-id")]
        orders: Vec<String>,
        /// the id of the order, as an option
        #[argh(option, arg_name = "id")]
        order_id: Option<String>,
        /// print only the order ids, one per line
        #[argh(switch, short = 'q')]
        quiet: bool,
    }
}

impl Get {
    pub(in crate::cli) async fn run(mut self) -> Outcome {
        let common = self.common();
        let quiet = common.quiet(self.quiet)?;
        let ids = match self.order_id {
            Some(_) if !self.orders.is_empty() => {
                return Err(ids::given_twice("--order-id").into());
            }
            Some(id) => vec![id],
            None => ids::of_arguments(&self.orders)?,
        };
        let client = Client::connect(common).await?;
        if let ([id], false) = (&ids[..], self.orders.iter().any(|argument| argument == ids::STDIN)) {
            let order = get(&client, id.clone()).await?;
            print_orders(client.format, quiet, &order, std::slice::from_ref(&order), || card(&order))?;
            return Ok(0);
        }
        print_each(&client, ids, quiet).await
    }
}

async fn get(client: &Client, order_id: String) -> Result<Order, Failure> {
    client.call(GetOrderRequest { order_id }, async |mut grpc, request| grpc.get_order(request).await).await
}

/// Prints the orders that exist, then reports the others.
async fn print_each(client: &Client, ids: Vec<String>, quiet: bool) -> Outcome {
    let mut out = Out::new();
    let mut orders = Vec::new();
    let mut missing = Vec::new();
    let mut is_first = true;
    for id in ids {
        let order = match get(client, id).await {
            Ok(order) => order,
            Err(failure) if failure.refusal.reason == Reason::OrderNotFound.name() => {
                missing.push(failure);
                continue;
            }
            Err(failure) => {
                out.flush()?;
                return Err(failure.into());
            }
        };
        match client.format {
            _ if quiet => out.text(&format!("{}\n", order.order_id))?,
            Format::Table => {
                let gap = if is_first { "" } else { "\n" };
                out.text(&format!("{gap}{}", card(&order)))?;
            }
            Format::Json => orders.push(order),
            Format::Ndjson => out.line(&order)?,
        }
        is_first = false;
    }
    if client.format == Format::Json && !quiet {
        out.json(&ListOrdersResponse { orders, next_page_token: String::new() })?;
    }
    out.flush()?;
    if missing.is_empty() { Ok(0) } else { Err(Stop::Several(missing)) }
}
