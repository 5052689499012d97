use super::{fields, page_size};
use crate::cli::client::{Client, Fields, Outcome, client_command};
use crate::cli::output::{Page, print_pages};
use crate::proto::v1::{ListReturnsRequest, ListReturnsResponse, Order};

client_command! {
    /// List the orders that customers brought back and that are at the point, the newest returned
    /// first. One page, unless --all is given.
    #[argh(subcommand, name = "returns", example = "pvz returns\npvz returns --pickup-point=main --all")]
    pub struct Returns {
        /// only orders of this counter
        #[argh(option, arg_name = "id")]
        pickup_point: Option<String>,
        /// how many orders a page has, at most 1000 (default 50)
        #[argh(option, arg_name = "n")]
        page_size: Option<String>,
        /// where to go on: the token that the page before told
        #[argh(option, arg_name = "token")]
        page_token: Option<String>,
        /// all pages
        #[argh(switch)]
        all: bool,
    }
}

impl Returns {
    pub(in crate::cli) async fn run(mut self) -> Outcome {
        let common = self.common();
        let mut fields = Fields::default();
        let given = fields.read("page_size", self.page_size.as_deref(), fields::count);
        fields.finish()?;
        let client = Client::connect(common).await?;
        print_pages(client.format, self.all, self.page_token.unwrap_or_default(), async |page_token| {
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
    const NEXT_OPTION: &'static str = "--page-token";

    fn items(&mut self) -> &mut Vec<Order> {
        &mut self.orders
    }

    fn next(&self) -> Option<String> {
        Some(self.next_page_token.clone()).filter(|token| !token.is_empty())
    }
}
