use super::{fields, ids, page_size};
use crate::cli::client::{Client, client_command};
use crate::cli::failure::{Fields, Outcome};
use crate::cli::output::{Page, print_pages};
use crate::proto::v1::{Event, GetOrderHistoryRequest, GetOrderHistoryResponse};

client_command! {
    /// Show the events of one order, the oldest first. Prints one page unless --all is given.
    #[argh(subcommand, name = "history", example = "pvz history 1\npvz history 1 -o ndjson")]
    pub struct History {
        /// the id of the order (required, here or as --order-id)
        #[argh(positional, arg_name = "order-id")]
        order: Option<String>,
        /// the id of the order, as an option
        #[argh(option, arg_name = "id")]
        order_id: Option<String>,
        /// events per page, at most 1000 (default 50)
        #[argh(option, arg_name = "n")]
        page_size: Option<String>,
        /// the page to show: the token that the previous page printed
        #[argh(option, arg_name = "token")]
        page_token: Option<String>,
        /// show all pages
        #[argh(switch)]
        all: bool,
    }
}

impl History {
    pub(in crate::cli) async fn run(mut self) -> Outcome {
        let common = self.common();
        let order_id = ids::one(self.order, self.order_id)?;
        let mut fields = Fields::default();
        let given = fields.read("page_size", self.page_size.as_deref(), fields::count);
        fields.finish()?;
        let client = Client::connect(common).await?;
        print_pages(client.format, None, self.all, self.page_token.unwrap_or_default(), async |page_token| {
            let request = GetOrderHistoryRequest {
                order_id: order_id.clone(),
                page_size: page_size(given, self.all),
                page_token,
            };
            client.call(request, async |mut grpc, request| grpc.get_order_history(request).await).await
        })
        .await?;
        Ok(0)
    }
}

impl Page for GetOrderHistoryResponse {
    type Item = Event;
    const EMPTY: &'static str = "no events on this page";
    const NEXT_OPTION: &'static str = "--page-token";
    // Events of a history have no cursor: it is a position in the feed.
    const SKIPPED_COLUMNS: usize = 1;

    fn items(&mut self) -> &mut Vec<Event> {
        &mut self.events
    }

    fn next(&self) -> Option<String> {
        Some(self.next_page_token.clone()).filter(|token| !token.is_empty())
    }
}
