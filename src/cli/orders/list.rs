use super::{fields, order_id, page_size};
use crate::cli::client::{Client, client_command};
use crate::cli::failure::{Failure, Fields, Outcome};
use crate::cli::output::{Page, print_pages};
use crate::proto::v1::{ListOrdersRequest, ListOrdersResponse, Order};

client_command! {
    /// List orders, the most recently accepted first. Prints one page unless --all or --last-n is given.
    #[argh(
        subcommand,
        name = "list",
        example = "pvz list --customer-id=123 --last-n=5\n\
                   pvz list --states=stored,issued --all -o ndjson\n\
                   pvz list --expired=true --all -q | pvz return-to-courier -",
        note = "On a terminal that is too narrow, the table omits PACKAGING, then WEIGHT, POINT, TOTAL and\n\
                CUSTOMER. Output to a file or a pipe has all columns."
    )]
    pub struct List {
        /// only orders of this customer
        #[argh(option, arg_name = "id")]
        customer_id: Option<String>,
        /// only orders at this pickup point
        #[argh(option, arg_name = "id")]
        pickup_point: Option<String>,
        /// only orders in these states, separated by commas
        #[argh(option, arg_name = "stored|issued|returned|handed_to_courier,…")]
        states: Option<String>,
        /// true: only expired orders; false: only orders that are not expired
        #[argh(option, arg_name = "true|false")]
        expired: Option<String>,
        /// the n most recently accepted orders, 1 to 1000, in one page
        #[argh(option, arg_name = "n")]
        last_n: Option<String>,
        /// orders per page, at most 1000 (default 50)
        #[argh(option, arg_name = "n")]
        page_size: Option<String>,
        /// the page to show: the token that the previous page printed
        #[argh(option, arg_name = "token")]
        page_token: Option<String>,
        /// show all pages
        #[argh(switch)]
        all: bool,
        /// print only the order ids, one per line
        #[argh(switch, short = 'q')]
        quiet: bool,
    }
}

impl List {
    pub(in crate::cli) async fn run(mut self) -> Outcome {
        let common = self.common();
        let ids = common.quiet(self.quiet)?.then_some(order_id as fn(&Order) -> &str);
        let (all, first) = (self.all, self.page_token.take().unwrap_or_default());
        let request = self.into_request()?;
        let client = Client::connect(common).await?;
        print_pages(client.format, ids, all, first, async |page_token| {
            let request = ListOrdersRequest { page_token, ..request.clone() };
            client.call(request, async |mut grpc, request| grpc.list_orders(request).await).await
        })
        .await?;
        Ok(0)
    }

    fn into_request(self) -> Result<ListOrdersRequest, Failure> {
        let mut fields = Fields::default();
        let mut states = Vec::new();
        for (index, name) in fields::ids(self.states).iter().enumerate() {
            match fields::state(name) {
                Ok(state) => states.push(state),
                Err(description) => fields.violation(format!("states[{index}]"), description),
            }
        }
        let expired = fields.read("expired", self.expired.as_deref(), fields::boolean);
        let last_n = fields.read("last_n", self.last_n.as_deref(), fields::count);
        let given = fields.read("page_size", self.page_size.as_deref(), fields::count);
        fields.finish()?;
        Ok(ListOrdersRequest {
            customer_id: self.customer_id,
            pickup_point_id: self.pickup_point,
            states,
            expired,
            last_n,
            // --last-n requests a single page, which has no size of its own.
            page_size: page_size(given, self.all && last_n.is_none()),
            page_token: String::new(),
        })
    }
}

impl Page for ListOrdersResponse {
    type Item = Order;
    const EMPTY: &'static str = "no orders match";
    const NEXT_OPTION: &'static str = "--page-token";

    fn items(&mut self) -> &mut Vec<Order> {
        &mut self.orders
    }

    fn next(&self) -> Option<String> {
        Some(self.next_page_token.clone()).filter(|token| !token.is_empty())
    }
}
