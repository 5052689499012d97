use super::{fields, page_size};
use crate::cli::client::{Client, client_command};
use crate::cli::failure::{Failure, Fields, Outcome};
use crate::cli::output::{Page, print_pages};
use crate::proto::v1::{Event, ListEventsRequest, ListEventsResponse};

client_command! {
    /// Show the events of all orders, the oldest first. Prints one page unless --all is given. With
    /// --follow, prints events as they happen, until Ctrl-C.
    #[argh(
        subcommand,
        name = "events",
        example = "pvz events --all --output=ndjson\npvz events --follow\npvz events --follow --after=0"
    )]
    pub struct Events {
        /// the cursor after which to begin (default: the oldest event; with --follow, from now on)
        #[argh(option, arg_name = "cursor")]
        after: Option<String>,
        /// events per page, at most 1000 (default 50)
        #[argh(option, arg_name = "n")]
        page_size: Option<String>,
        /// show all pages
        #[argh(switch)]
        all: bool,
        /// print events as they happen, and reconnect when the connection breaks (json prints like
        /// ndjson)
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
            return Err(Failure::usage("--follow cannot be combined with --all or --page-size").into());
        }
        let client = Client::connect(common).await?;
        if self.follow {
            return super::follow::follow(&client, self.after).await;
        }
        print_pages(client.format, None, self.all, self.after.unwrap_or_default(), async |after| {
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
    const EMPTY: &'static str = "no events found";
    const NEXT_OPTION: &'static str = "--after";

    fn items(&mut self) -> &mut Vec<Event> {
        &mut self.events
    }

    /// The feed has no last page; an empty page means that there are no newer
    /// events.
    fn next(&self) -> Option<String> {
        Some(self.next_cursor.clone()).filter(|_| !self.events.is_empty())
    }
}
