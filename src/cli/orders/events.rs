use super::{fields, page_size};
use crate::cli::client::{Client, Failure, Fields, Outcome, client_command};
use crate::cli::output::{Page, print_pages};
use crate::proto::v1::{Event, ListEventsRequest, ListEventsResponse};

client_command! {
    /// Show the events of all orders, in the order of the log. One page, unless --all is given; with
    /// --follow, the events as they happen, until Ctrl-C.
    #[argh(
        subcommand,
        name = "events",
        example = "pvz events --all --output=ndjson\npvz events --follow\npvz events --follow --after=0"
    )]
    pub struct Events {
        /// the cursor to go on from (default: the oldest event there is; with --follow, from now on)
        #[argh(option, arg_name = "cursor")]
        after: Option<String>,
        /// how many events a page has, at most 1000 (default 50)
        #[argh(option, arg_name = "n")]
        page_size: Option<String>,
        /// all pages
        #[argh(switch)]
        all: bool,
        /// the events as they happen; the connection is made again when it breaks (json prints as ndjson
        /// does)
        #[argh(switch)]
        follow: bool,
    }
}

impl Events {
    pub(in crate::cli) async fn run(mut self) -> Outcome {
        let common = self.common();
        let mut fields = Fields::default();
        let given = fields.read("page_size", self.page_size.as_deref(), fields::count);
        fields.finish()?;
        if self.follow && (self.all || given.is_some()) {
            return Err(Failure::usage("--follow goes with neither --all nor --page-size").into());
        }
        let client = Client::connect(common).await?;
        if self.follow {
            return super::follow::follow(&client, self.after).await;
        }
        print_pages(client.format, self.all, self.after.unwrap_or_default(), async |after| {
            let request = ListEventsRequest {
                after: Some(after).filter(|after| !after.is_empty()),
                page_size: page_size(given, self.all),
            };
            client.call(request, async |mut grpc, request| grpc.list_events(request).await).await
        })
        .await?;
        Ok(0)
    }
}

impl Page for ListEventsResponse {
    type Item = Event;
    const NEXT_OPTION: &'static str = "--after";

    fn items(&mut self) -> &mut Vec<Event> {
        &mut self.events
    }

    /// The feed has no end; a page without events is where it is now.
    fn next(&self) -> Option<String> {
        Some(self.next_cursor.clone()).filter(|_| !self.events.is_empty())
    }
}
