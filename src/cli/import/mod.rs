//! `pvz import`: accepts the orders of a file of any size, in constant memory.
//!
//! ```text
//! file → lines → rows (CSV or NDJSON) → bounded channel → two-way stream → report
//! ```
//! A thread reads the file. A row that cannot be parsed is reported, and the
//! import continues. Rows without a result are kept, up to a window, and sent
//! again with the same `request_id` when the connection breaks.

mod csv;
mod lines;
mod ndjson;
mod progress;
mod report;
mod row;
mod source;
mod transfer;

use crate::cli::client::{Client, client_command};
use crate::cli::failure::{Failure, Outcome};

use report::Report;
use row::Format;

client_command! {
    /// Accept the orders of a CSV or NDJSON file. A bad row does not stop the import. Importing the same
    /// file again is safe and changes nothing.
    #[argh(
        subcommand,
        name = "import",
        example = "pvz import day.csv\nzcat day.ndjson.gz | pvz import - --format=ndjson",
        note = "CSV has a header and the columns order_id, customer_id, storage_until, weight (or weight_grams),\n\
                price (or price_minor), packaging (box+film), pickup_point_id and request_id, in any order.\n\
                NDJSON has one AcceptOrder request per line, in JSON.\n\
                The exit code is 4 if a row was refused, 6 if the import could not finish.\n\
                The import gives up when no result arrives within --timeout."
    )]
    pub struct Import {
        /// the file, or - for standard input
        #[argh(positional, arg_name = "file")]
        file: String,
        /// csv or ndjson (default: detected from the file extension, or from the first byte)
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
                return Err(
                    Failure::usage(format!("--format must be one of csv, ndjson, not {other:?}")).into()
                );
            }
        };
        let source = source::open(&self.file, format)?;
        let client = Client::connect(common).await?;
        let mut report = Report::new(client.format, source.size);
        let rows = source::spawn_reader(source);
        let outcome = transfer::run(&client, rows, &mut report).await;
        Ok(report.finish(outcome))
    }
}
