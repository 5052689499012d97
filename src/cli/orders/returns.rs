use super::{fields, order_id, page_size};
use crate::cli::client::{Client, client_command};
use crate::cli::failure::{Fields, Outcome};
use crate::cli::output::{Page, print_pages};
use crate::proto::v1::{ListReturnsRequest, ListReturnsResponse, Order};

client_command! {
    /// List returned orders that are still at the pickup point, the most recently returned first. Prints
    /// one page unless --all is given.
    #[argh(subcommand, name = "returns", example = "pvz returns\npvz returns --pickup-point=main --all")]
    pub struct Returns {
        /// only orders at this pickup point
        #[argh(option, arg_name = "id")]
        pickup_point: Option<String>,
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

impl Returns {
    pub(in crate::cli) async fn run(mut self) -> Outcome {
        let common = self.common();
        let ids = common.quiet(self.quiet)?.then_some(order_id as fn(&Order) -> &str);
        let mut fields = Fields::default();
        let given = fields.read("page_size", self.page_size.as_deref(), fields::count);
        fields.finish()?;
        let client = Client::connect(common).await?;
        print_pages(client.format, ids, self.all, self.page_token.unwrap_or_default(), async |page_token| {
            let request = ListReturnsRequest {
                pickup_point_id: self.pickup_point.clone(),
                page_size: page_size(given, self.all),
                page_token,
            };
            client.call(request, async |mut grpc, request| grpc.list_returns(request).await).await
        })
        .await?;
        Ok(0)
    }
}

impl Page for ListReturnsResponse {
    type Item = Order;
    const EMPTY: &'static str = "no returned orders match";
    const NEXT_OPTION: &'static str = "--page-token";

    fn items(&mut self) -> &mut Vec<Order> {
        &mut self.orders
    }

    fn next(&self) -> Option<String> {
        Some(self.next_page_token.clone()).filter(|token| !token.is_empty())
    }
}
