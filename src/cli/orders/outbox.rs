//! `pvz outbox` and `pvz dlq`: the progress of the relay, and its dead letters.

use argh::{ArgsInfo, FromArgs};

use super::{fields, ids, page_size};
use crate::cli::client::{Client, client_command};
use crate::cli::failure::{Failure, Fields, Outcome};
use crate::cli::output::{Page, outbox_card, print_pages, print_response, table};
use crate::proto::v1::{
    AcceptForkRequest, DeadLetter, DropDeadLetterRequest, GetOutboxRequest, ListDeadLettersRequest,
    ListDeadLettersResponse, Refusal, RepublishEventsRequest, RetryDeadLetterRequest,
};

/// Show how far the relay has published events, and decide if it has stopped.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "outbox", example = "pvz outbox status\npvz outbox accept-fork")]
pub struct Outbox {
    #[argh(subcommand)]
    action: OutboxAction,
}

#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum OutboxAction {
    Status(Status),
    AcceptFork(AcceptFork),
    Republish(Republish),
}

client_command! {
    /// Show how far the relay has published events, which process is its leader, and its last error.
    #[argh(subcommand, name = "status", example = "pvz outbox status --output=json")]
    pub struct Status {}
}

client_command! {
    /// Accept events that the journal or topic has and the store has not, or its new number of
    /// partitions. The relay then publishes the events that are not published. Nothing changes if there
    /// is no difference.
    #[argh(subcommand, name = "accept-fork", example = "pvz outbox accept-fork")]
    pub struct AcceptFork {}
}

client_command! {
    /// Publish events again, from a cursor on. Readers drop the events that they have. Accepts the
    /// journal or topic as accept-fork does.
    #[argh(subcommand, name = "republish", example = "pvz outbox republish --from=1200")]
    pub struct Republish {
        /// the cursor of the first event, as in `pvz events`
        #[argh(option, arg_name = "cursor")]
        from: String,
    }
}

/// List and resolve dead letters: events that the sink refused. Later events of the same order wait
/// until the dead letter is resolved.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "dlq", example = "pvz dlq list\npvz dlq retry 67012345-0001-1")]
pub struct Dlq {
    #[argh(subcommand)]
    action: DlqAction,
}

#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum DlqAction {
    List(ListDeadLetters),
    Show(Show),
    Retry(Retry),
    Drop(DropDeadLetter),
}

client_command! {
    /// List the dead letters, sorted by order. Prints one page unless --all is given.
    #[argh(subcommand, name = "list", example = "pvz dlq list --all")]
    pub struct ListDeadLetters {
        /// dead letters per page, at most 1000 (default 50)
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

client_command! {
    /// Show the dead letter of one order.
    #[argh(subcommand, name = "show", example = "pvz dlq show 67012345-0001-1")]
    pub struct Show {
        /// the id of the order
        #[argh(positional, arg_name = "order-id")]
        order_id: String,
    }
}

client_command! {
    /// Publish a refused event again, and then the events of the order that wait for it. With several
    /// orders, stops at the first that fails.
    #[argh(
        subcommand,
        name = "retry",
        example = "pvz dlq retry 67012345-0001-1\npvz dlq list --all -q | pvz dlq retry -"
    )]
    pub struct Retry {
        /// the ids of the orders, separated by spaces or commas; - reads them from standard input
        #[argh(positional, arg_name = "order-id")]
        orders: Vec<String>,
    }
}

client_command! {
    /// Drop a refused event and publish the events of the order that wait for it. Readers of the events
    /// never receive the dropped one. With several orders, stops at the first that fails.
    #[argh(subcommand, name = "drop", example = "pvz dlq drop 67012345-0001-1")]
    pub struct DropDeadLetter {
        /// the ids of the orders, separated by spaces or commas; - reads them from standard input
        #[argh(positional, arg_name = "order-id")]
        orders: Vec<String>,
    }
}

impl Outbox {
    pub(in crate::cli) async fn run(self) -> Outcome {
        match self.action {
            OutboxAction::Status(command) => command.run().await,
            OutboxAction::AcceptFork(command) => command.run().await,
            OutboxAction::Republish(command) => command.run().await,
        }
    }
}

impl Status {
    async fn run(mut self) -> Outcome {
        let client = Client::connect(self.common()).await?;
        let response = client
            .call(GetOutboxRequest {}, async |mut grpc, request| grpc.get_outbox(request).await)
            .await?;
        print_response(client.format, &response, std::slice::from_ref(&response), || outbox_card(&response))?;
        Ok(0)
    }
}

impl AcceptFork {
    async fn run(mut self) -> Outcome {
        let client = Client::connect(self.common()).await?;
        let response = client
            .call(AcceptForkRequest {}, async |mut grpc, request| grpc.accept_fork(request).await)
            .await?;
        print_response(client.format, &response, std::slice::from_ref(&response), || {
            match response.accepted {
                0 => "the sink and the store do not differ\n".to_owned(),
                accepted => {
                    format!("differences accepted: {accepted}; the relay publishes the events that wait\n")
                }
            }
        })?;
        Ok(0)
    }
}

impl Republish {
    async fn run(mut self) -> Outcome {
        let client = Client::connect(self.common()).await?;
        let request = RepublishEventsRequest { from: self.from.clone() };
        let response =
            client.call(request, async |mut grpc, request| grpc.republish_events(request).await).await?;
        print_response(client.format, &response, std::slice::from_ref(&response), || {
            format!("the relay will publish the events from {} on again\n", self.from)
        })?;
        Ok(0)
    }
}

impl Dlq {
    pub(in crate::cli) async fn run(self) -> Outcome {
        match self.action {
            DlqAction::List(command) => command.run().await,
            DlqAction::Show(command) => command.run().await,
            DlqAction::Retry(command) => command.run().await,
            DlqAction::Drop(command) => command.run().await,
        }
    }
}

async fn list_dead_letters(
    client: &Client,
    page_size: i32,
    page_token: String,
) -> Result<ListDeadLettersResponse, Failure> {
    let request = ListDeadLettersRequest { page_size, page_token };
    client.call(request, async |mut grpc, request| grpc.list_dead_letters(request).await).await
}

impl ListDeadLetters {
    async fn run(mut self) -> Outcome {
        let common = self.common();
        let quiet = common.quiet(self.quiet)?;
        let mut fields = Fields::default();
        let given = fields.read("page_size", self.page_size.as_deref(), fields::count);
        fields.finish()?;
        let client = Client::connect(common).await?;
        let size = page_size(given, self.all);
        let id = quiet.then_some((|letter| &letter.order_id) as fn(&DeadLetter) -> &str);
        print_pages(client.format, id, self.all, self.page_token.unwrap_or_default(), async |page_token| {
            list_dead_letters(&client, size, page_token).await
        })
        .await?;
        Ok(0)
    }
}

impl Show {
    async fn run(mut self) -> Outcome {
        let client = Client::connect(self.common()).await?;
        let mut page = list_dead_letters(&client, super::MAX_PAGE_SIZE, String::new()).await?;
        loop {
            if let Some(letter) = page.letters.iter().find(|letter| letter.order_id == self.order_id) {
                print_response(client.format, letter, std::slice::from_ref(letter), || {
                    table(std::slice::from_ref(letter))
                })?;
                return Ok(0);
            }
            if page.next_page_token.is_empty() {
                let refusal = Refusal {
                    reason: "ORDER_NOT_FOUND".to_owned(),
                    message: format!("order {} has no dead letter", self.order_id),
                    metadata: [("order_id".to_owned(), self.order_id)].into(),
                    field_violations: Vec::new(),
                };
                return Err(Failure::of(refusal).into());
            }
            page = list_dead_letters(&client, super::MAX_PAGE_SIZE, page.next_page_token).await?;
        }
    }
}

impl Retry {
    async fn run(mut self) -> Outcome {
        let common = self.common();
        let order_ids = ids::of_arguments(&self.orders)?;
        let client = Client::connect(common).await?;
        for order_id in order_ids {
            let request = RetryDeadLetterRequest { order_id: order_id.clone() };
            let response =
                client.call(request, async |mut grpc, request| grpc.retry_dead_letter(request).await).await?;
            print_response(client.format, &response, std::slice::from_ref(&response), || {
                format!("the relay will publish the event of order {order_id} again\n")
            })?;
        }
        Ok(0)
    }
}

impl DropDeadLetter {
    async fn run(mut self) -> Outcome {
        let common = self.common();
        let order_ids = ids::of_arguments(&self.orders)?;
        let client = Client::connect(common).await?;
        for order_id in order_ids {
            let request = DropDeadLetterRequest { order_id: order_id.clone() };
            let response =
                client.call(request, async |mut grpc, request| grpc.drop_dead_letter(request).await).await?;
            print_response(client.format, &response, std::slice::from_ref(&response), || {
                format!(
                    "the refused event of order {order_id} is dropped; the relay continues with the next one\n"
                )
            })?;
        }
        Ok(0)
    }
}

impl Page for ListDeadLettersResponse {
    type Item = DeadLetter;
    const EMPTY: &'static str = "no dead letters";
    const NEXT_OPTION: &'static str = "--page-token";

    fn items(&mut self) -> &mut Vec<DeadLetter> {
        &mut self.letters
    }

    fn next(&self) -> Option<String> {
        Some(self.next_page_token.clone()).filter(|token| !token.is_empty())
    }
}
