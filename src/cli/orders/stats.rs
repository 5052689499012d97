use std::cell::{Cell, RefCell};

use super::{fields, page_size};
use crate::cli::client::{Client, client_command};
use crate::cli::failure::{Fields, Outcome};
use crate::cli::output::{Format, Page, counted, print_pages, print_text};
use crate::cli::stderr;
use crate::proto::v1::{DayStatistics, GetStatisticsRequest, GetStatisticsResponse};

client_command! {
    /// Show daily statistics of each pickup point, as far as `pvz consume` has read the events. Prints one
    /// page unless --all is given.
    #[argh(
        subcommand,
        name = "stats",
        example = "pvz stats\npvz stats --pickup-point=main --first-day=2026-12-01 --last-day=2026-12-31 --all"
    )]
    pub struct Stats {
        /// only this pickup point
        #[argh(option, arg_name = "id")]
        pickup_point: Option<String>,
        /// the first day to show, in UTC
        #[argh(option, arg_name = "day")]
        first_day: Option<String>,
        /// the last day to show, in UTC
        #[argh(option, arg_name = "day")]
        last_day: Option<String>,
        /// lines per page, at most 1000 (default 50)
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

impl Stats {
    pub(in crate::cli) async fn run(mut self) -> Outcome {
        let common = self.common();
        let mut fields = Fields::default();
        let given = fields.read("page_size", self.page_size.as_deref(), fields::count);
        fields.finish()?;
        let client = Client::connect(common).await?;
        let conflicts = Cell::new(0);
        let how_far = RefCell::<Option<String>>::default();
        print_pages(client.format, None, self.all, self.page_token.unwrap_or_default(), async |page_token| {
            let request = GetStatisticsRequest {
                pickup_point_id: self.pickup_point.clone(),
                first_day: self.first_day.clone(),
                last_day: self.last_day.clone(),
                page_size: page_size(given, self.all),
                page_token,
            };
            let response =
                client.call(request, async |mut grpc, request| grpc.get_statistics(request).await).await?;
            conflicts.set(response.conflicts);
            // That of the first page holds for all pages.
            how_far.borrow_mut().get_or_insert_with(|| counted(&response));
            Ok(response)
        })
        .await?;
        match (client.format, how_far.take().unwrap_or_default()) {
            (Format::Table, how_far) => print_text(&how_far)?,
            // The lines have no place for it.
            (Format::Ndjson, how_far) => stderr::line(how_far.trim_end()),
            // It is in the message.
            (Format::Json, _) => {}
        }
        let conflicts = conflicts.get();
        if conflicts > 0 {
            stderr::line(format_args!(
                "warning: {conflicts} events were put aside and are not counted: the consumer had applied other \
                 events with their order and sequence, see \"Conflicts\" in docs/consistency.md"
            ));
        }
        Ok(0)
    }
}

impl Page for GetStatisticsResponse {
    type Item = DayStatistics;
    const EMPTY: &'static str = "no statistics found; `pvz consume` collects them from the events";
    const NEXT_OPTION: &'static str = "--page-token";

    fn items(&mut self) -> &mut Vec<DayStatistics> {
        &mut self.days
    }

    fn next(&self) -> Option<String> {
        Some(self.next_page_token.clone()).filter(|token| !token.is_empty())
    }
}
