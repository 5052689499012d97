//! `pvz import`: accepts the orders of a file of any size, in constant memory.
//!
//! ```text
//! file → lines → rows (CSV or NDJSON) → bounded channel → two-way stream → report
//! ```
//! A thread reads the file. `container` recognizes files that are not text,
//! `encoding` decodes line by line, and the first line tells the format. A row that cannot be parsed is reported, and the
//! import continues. Rows without a result are kept, up to a window, and sent
//! again with the same `request_id` when the connection breaks.

mod container;
mod csv;
mod encoding;
mod lines;
mod ndjson;
mod progress;
mod report;
mod row;
mod source;
mod transfer;

use crate::cli::client::{Client, client_command};
use crate::cli::failure::{Failure, Outcome};

use encoding::Encoding;
use report::Report;
use row::Format;

client_command! {
    /// Accept the orders of a CSV or NDJSON file. A bad row does not stop the import. Importing the same
    /// file again is safe and changes nothing.
    #[argh(
        subcommand,
        name = "import",
        example = "pvz import day.csv\nzcat day.ndjson.gz | pvz import - --format=ndjson",
        note = "CSV has a header with the columns order_id, customer_id, storage_until, and if wanted weight\n\
                (1.5kg; or weight_grams), price (199.90; or price_minor), packaging (box+film), pickup_point_id\n\
                and request_id, in any order. Commas, semicolons or tabs separate the fields; the header, or a\n\
                first line such as sep=; shows which. Unless it is the comma, decimals may have one: 1,5 кг.\n\
                storage_until is a date (the end of that day), a local time, or a time with an offset.\n\
                Rows without text are skipped. An id that a spreadsheet has turned into a number (1.23E+12,\n\
                12345.0) is refused.\n\
                NDJSON has one AcceptOrder request per line, in JSON.\n\
                Lines end with LF, CRLF or CR, and have at most 64 KiB. The encoding is UTF-8 or UTF-16; lines\n\
                that are not UTF-8 are read as Windows-1251.\n\
                Excel workbooks and compressed files are recognised and refused: save the sheet as CSV, or pipe\n\
                the output of gunzip -c to pvz import -.\n\
                The exit code is 4 if a row was refused, 6 if the import could not finish, and 1 if its results\n\
                could not be printed.\n\
                The import gives up when no result arrives within --timeout."
    )]
    pub struct Import {
        /// the file, or - for standard input
        #[argh(positional, arg_name = "file")]
        file: String,
        /// the format (default: detected from the file extension, or from the first line)
        #[argh(option, arg_name = "csv|ndjson")]
        format: Option<String>,
        /// the encoding (default auto)
        #[argh(option, arg_name = "auto|utf-8|utf-16le|utf-16be|windows-1251")]
        encoding: Option<String>,
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
        let encoding = match self.encoding.as_deref() {
            None => Encoding::Auto,
            Some(name) => Encoding::parse(name).ok_or_else(|| {
                Failure::usage(format!(
                    "--encoding must be one of auto, utf-8, utf-16le, utf-16be, windows-1251, not {name:?}"
                ))
            })?,
        };
        let source = source::open(&self.file, format, encoding)?;
        let client = Client::connect(common).await?;
        let mut report = Report::new(client.format, &source);
        let rows = source::spawn_reader(source);
        let outcome = transfer::run(&client, rows, &mut report).await;
        report.finish(outcome)
    }
}

#[cfg(test)]
mod tests;
