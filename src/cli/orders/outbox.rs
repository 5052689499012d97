//! `pvz outbox` and `pvz dlq`: how publishing goes, and what it stumbled over.

use argh::{ArgsInfo, FromArgs};

use super::{fields, page_size};
use crate::cli::client::{Client, Failure, Fields, Outcome, client_command};
use crate::cli::output::{Page, outbox_card, print_answer, print_pages, table};
use crate::proto::v1::{
    DeadLetter, DropDeadLetterRequest, GetOutboxRequest, ListDeadLettersRequest, ListDeadLettersResponse,
    Refusal, RetryDeadLetterRequest,
};

/// Show how far events were published.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "outbox", example = "pvz outbox status")]
pub struct Outbox {
    #[argh(subcommand)]
    action: OutboxAction,
}

#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum OutboxAction {
    Status(Status),
}

client_command! {
    /// Show how far events were published, which process does so, and what failed last.
    #[argh(subcommand, name = "status", example = "pvz outbox status --output=json")]
    pub struct Status {}
}

/// See and settle events that the sink refused for their own sake: each holds its order back.
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
    /// List the dead letters, by order. One page, unless --all is given.
    #[argh(subcommand, name = "list", example = "pvz dlq list --all")]
    pub struct ListDeadLetters {
        /// how many letters a page has, at most 1000 (default 50)
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

client_command! {
    /// Show the dead letter of one order.
    #[argh(subcommand, name = "show", example = "pvz dlq show 67012345-0001-1")]
    pub struct Show {
        /// the order
        #[argh(positional, arg_name = "order-id")]
        order_id: String,
    }
}

client_command! {
    /// Have a refused event published again, and then what was held back behind it.
    #[argh(subcommand, name = "retry", example = "pvz dlq retry 67012345-0001-1")]
    pub struct Retry {
        /// the order
        #[argh(positional, arg_name = "order-id")]
        order_id: String,
    }
}

client_command! {
    /// Give a refused event up, and have what was held back behind it published. Whoever reads the
    /// events misses that one.
    #[argh(subcommand, name = "drop", example = "pvz dlq drop 67012345-0001-1")]
    pub struct DropDeadLetter {
        /// the order
        #[argh(positional, arg_name = "order-id")]
        order_id: String,
    }
}

impl Outbox {
    pub(in crate::cli) async fn run(self) -> Outcome {
        let OutboxAction::Status(mut status) = self.action;
        let client = Client::connect(status.common()).await?;
        let answer = client
            .call(GetOutboxRequest {}, async |mut grpc, request| grpc.get_outbox(request).await)
            .await?;
        print_answer(client.format, &answer, std::slice::from_ref(&answer), || outbox_card(&answer))?;
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

async fn letters(
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
        let mut fields = Fields::default();
        let given = fields.read("page_size", self.page_size.as_deref(), fields::count);
        fields.finish()?;
        let client = Client::connect(common).await?;
        let size = page_size(given, self.all);
        print_pages(client.format, self.all, self.page_token.unwrap_or_default(), async |page_token| {
            letters(&client, size, page_token).await
        })
        .await?;
        Ok(0)
    }
}

impl Show {
    async fn run(mut self) -> Outcome {
        let client = Client::connect(self.common()).await?;
        let mut page = letters(&client, super::LARGEST_PAGE, String::new()).await?;
        loop {
            if let Some(letter) = page.letters.iter().find(|letter| letter.order_id == self.order_id) {
                print_answer(client.format, letter, std::slice::from_ref(letter), || {
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
            page = letters(&client, super::LARGEST_PAGE, page.next_page_token).await?;
        }
    }
}

impl Retry {
    async fn run(mut self) -> Outcome {
        let client = Client::connect(self.common()).await?;
        let request = RetryDeadLetterRequest { order_id: self.order_id.clone() };
        let answer =
            client.call(request, async |mut grpc, request| grpc.retry_dead_letter(request).await).await?;
        print_answer(client.format, &answer, std::slice::from_ref(&answer), || {
            format!("the relay publishes the events of order {} again\n", self.order_id)
        })?;
        Ok(0)
    }
}

impl DropDeadLetter {
    async fn run(mut self) -> Outcome {
        let client = Client::connect(self.common()).await?;
        let request = DropDeadLetterRequest { order_id: self.order_id.clone() };
        let answer =
            client.call(request, async |mut grpc, request| grpc.drop_dead_letter(request).await).await?;
        print_answer(client.format, &answer, std::slice::from_ref(&answer), || {
            format!("the relay goes on behind the refused event of order {}\n", self.order_id)
        })?;
        Ok(0)
    }
}

impl Page for ListDeadLettersResponse {
    type Item = DeadLetter;
    const NEXT_OPTION: &'static str = "--page-token";

    fn items(&mut self) -> &mut Vec<DeadLetter> {
        &mut self.letters
    }

    fn next(&self) -> Option<String> {
        Some(self.next_page_token.clone()).filter(|token| !token.is_empty())
    }
}
