//! `pvz import`: many orders from a file of any size, in constant memory.
//!
//! ```text
//! file → lines → rows (CSV or NDJSON) → bounded channel → two-way stream → report
//! ```
//! A thread reads; a row that cannot be read is reported and the rest goes on.
//! Rows without an answer are kept, no more than a window of them, and sent
//! again with the same `request_id` when the connection breaks.

mod csv;
mod lines;
mod ndjson;
mod progress;
mod report;
mod row;
mod source;
mod transfer;

use crate::cli::client::{Client, Failure, Outcome, client_command};

use report::Report;
use row::Format;

client_command! {
    /// Accept many orders from a CSV or NDJSON file. A bad row never stops the others; importing the
    /// same file again is safe and changes nothing.
    #[argh(
        subcommand,
        name = "import",
        example = "pvz import day.csv\nzcat day.ndjson.gz | pvz import - --format=ndjson",
        note = "CSV has a header and the columns order_id, customer_id, storage_until, weight (or weight_grams),\n\
                price (or price_minor), packaging (box+film), pickup_point_id and request_id, in any order.\n\
                NDJSON has an AcceptOrder request on each line.\n\
                The exit code is 4 if any row was refused, 6 if the import could not finish.\n\
                --timeout is how long to go without an answer before giving up."
    )]
    pub struct Import {
        /// the file, or - for standard input
        #[argh(positional, arg_name = "file")]
        file: String,
        /// csv or ndjson (default: by the file's extension, or else by its first byte)
        #[argh(option, arg_name = "format")]
        format: Option<String>,
    }
}

impl Import {
    pub(super) async fn run(mut self) -> Outcome {
        let common = self.common();
        let format = match self.format.as_deref() {
            None => None,
            Some("csv") => Some(Format::Csv),
            Some("ndjson") => Some(Format::Ndjson),
            Some(other) => {
                return Err(Failure::usage(format!("--format {other:?} is neither csv nor ndjson")).into());
            }
        };
        let source = source::open(&self.file, format)?;
        let client = Client::connect(common).await?;
        let mut report = Report::new(client.format, source.size);
        let rows = source::read(source);
        let outcome = transfer::run(&client, rows, &mut report).await;
        report.finish(outcome)
    }
}
