//! `pvz verify`: checks the orders of a store against their events.

use std::io::{self, IsTerminal as _, Write as _};

use super::config::{configured_command, load};
use super::errors::printed;
use super::escape::plain;
use crate::adapters::status::{EXIT_DIFFERENCES, Reason, status_codes};
use crate::app::{Report, verify};
use crate::compose::Store;

configured_command! {
    /// Check the orders of a store against their events: every order equals the result of its events,
    /// sequences have no gaps, and every history is possible. Safe while a server is running. Exits with
    /// 7 if there are differences.
    #[argh(subcommand, name = "verify")]
    pub struct Verify {}
}

impl Verify {
    /// Checks the whole store and prints the report.
    pub async fn run(self) -> u8 {
        let config = match load(&self.sources()) {
            Ok(loaded) => loaded.config,
            Err(code) => return code,
        };
        let unavailable = status_codes(Reason::Unavailable).exit;
        let store = match Store::open_for_audit(&config).await {
            Ok(store) => store,
            Err(error) => return report_error(&error, unavailable),
        };
        let progress = io::stderr().is_terminal();
        let verified = verify(store.orders.as_ref(), |report| {
            if progress {
                let _ = write!(io::stderr(), "\r{} orders, {} events", report.orders, report.events);
            }
        });
        let report = match verified.await {
            Ok(report) => report,
            Err(error) => return report_error(&error, unavailable),
        };
        if progress {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
        printed(print(&report), if report.differing == 0 { 0 } else { EXIT_DIFFERENCES })
    }
}

fn print(report: &Report) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for difference in &report.differences {
        writeln!(out, "{}: {}", difference.order_id, plain(&difference.what))?;
    }
    let listed = u64::try_from(report.differences.len()).unwrap_or(u64::MAX);
    if report.differing > listed {
        writeln!(out, "... and {} more orders", report.differing - listed)?;
    }
    if report.archived > 0 {
        writeln!(out, "{} orders were checked without their archived events", report.archived)?;
    }
    writeln!(out, "verified {} orders, {} events: {} differ", report.orders, report.events, report.differing)
}

fn report_error(error: &dyn std::error::Error, code: u8) -> u8 {
    let mut line = format!("error: {}: {error}", Reason::Unavailable.name());
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    let _ = writeln!(io::stderr(), "{}", plain(&line));
    code
}
