//! Tables that both people and `awk` can read: no borders, two spaces between
//! columns, numbers aligned to the right. A table fits the terminal; other output has all columns.

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};
use console::measure_text_width;

use super::table::Row;
use super::terminal::terminal_width;
use crate::cli::escape::plain;

/// Spaces between two columns.
const GAP: u16 = 2;
/// Minimum width of a column whose text is wrapped.
const MIN_WRAPPED: usize = 20;

/// Returns a table of the items, or nothing if there are none.
pub(in crate::cli) fn table<R: Row>(items: &[R]) -> String {
    Tables::new(terminal_width(), 0).part(items)
}

/// A table in parts. All parts have the same columns.
pub(super) struct Tables {
    /// Width of the terminal.
    width: Option<usize>,
    /// Number of leading columns to omit.
    skipped: usize,
    /// The columns, by index, after the first part.
    shown: Option<Vec<usize>>,
}

impl Tables {
    pub(super) fn new(width: Option<usize>, skipped: usize) -> Self {
        Self { width, skipped, shown: None }
    }

    /// Returns the next part. The first one that is not empty has the titles.
    pub(super) fn part<R: Row>(&mut self, items: &[R]) -> String {
        if items.is_empty() {
            return String::new();
        }
        let plain_cells = |item: &R| item.cells().iter().map(|text| plain(text).into_owned()).collect();
        let rows: Vec<Vec<String>> = items.iter().map(plain_cells).collect();
        let widths = widths::<R>(&rows);
        let is_first = self.shown.is_none();
        let all = || (self.skipped..R::COLUMNS.len()).collect();
        let shown = self.shown.take().unwrap_or_else(|| fitting::<R>(all(), &widths, self.width));
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        let cell = |text: &str, index: usize| {
            let alignment = if R::COLUMNS[index].1 { CellAlignment::Right } else { CellAlignment::Left };
            Cell::new(text).set_alignment(alignment)
        };
        if is_first {
            table.set_header(shown.iter().map(|index| cell(R::COLUMNS[*index].0, *index)));
        }
        for row in &rows {
            table.add_row(shown.iter().map(|index| cell(&row[*index], *index)));
        }
        let excess = self.width.map_or(0, |width| total(&shown, &widths).saturating_sub(width));
        for (column, index) in table.column_iter_mut().zip(&shown) {
            column.set_padding((0, if Some(index) == shown.last() { 0 } else { GAP }));
            if excess > 0 && R::WRAPPED == Some(R::COLUMNS[*index].0) {
                let width = widths[*index].saturating_sub(excess).max(MIN_WRAPPED);
                let width = u16::try_from(width).unwrap_or(u16::MAX);
                column.set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(width)));
            }
        }
        self.shown = Some(shown);
        let mut text = table.trim_fmt();
        text.push('\n');
        text
    }
}

/// Returns the columns to show, by index: omits columns, in the order of [`Row::OMITTED`], until the
/// others fit.
pub(in crate::cli) fn fitting<R: Row>(
    mut shown: Vec<usize>,
    widths: &[usize],
    width: Option<usize>,
) -> Vec<usize> {
    let Some(width) = width else { return shown };
    for omitted in R::OMITTED {
        if total(&shown, widths) <= width {
            break;
        }
        shown.retain(|index| R::COLUMNS[*index].0 != *omitted);
    }
    shown
}

/// Returns the width of a table.
fn total(shown: &[usize], widths: &[usize]) -> usize {
    shown.iter().map(|index| widths[*index]).sum::<usize>() + usize::from(GAP) * shown.len().saturating_sub(1)
}

/// Returns the width of each column.
fn widths<R: Row>(rows: &[Vec<String>]) -> Vec<usize> {
    let of_column = |(index, (title, _)): (usize, &(&str, bool))| {
        let cells = rows.iter().map(|cells| measure_text_width(&cells[index]));
        cells.max().unwrap_or_default().max(title.len())
    };
    R::COLUMNS.iter().enumerate().map(of_column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::{Order, OrderResult, Refusal, order_result};

    fn order() -> Order {
        Order {
            order_id: "67012345-0001-1".to_owned(),
            customer_id: "123".to_owned(),
            pickup_point_id: "main".to_owned(),
            price_minor: 19_990,
            total_price_minor: 19_990,
            currency: "RUB".to_owned(),
            packaging: vec!["box".to_owned(), "film".to_owned()],
            ..Order::default()
        }
    }

    fn titles(width: Option<usize>) -> Vec<String> {
        let text = Tables::new(width, 0).part(&[order()]);
        let titles = text.lines().next().unwrap().split("  ").map(str::trim);
        titles.filter(|title| !title.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn a_narrow_terminal_omits_columns_in_the_stated_order() {
        let mut expected: Vec<_> = Order::COLUMNS.iter().map(|(title, _)| *title).collect();
        assert_eq!(titles(None), expected);
        assert_eq!(titles(Some(91)), expected);
        for (width, omitted) in
            [(90, "PACKAGING"), (79, "WEIGHT"), (71, "POINT"), (64, "TOTAL"), (52, "CUSTOMER")]
        {
            expected.retain(|title| *title != omitted);
            assert_eq!(titles(Some(width)), expected, "{width}");
            let text = Tables::new(Some(width), 0).part(&[order()]);
            assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
        }
        assert_eq!(titles(Some(1)), expected, "ids are never cut");
    }

    #[test]
    fn all_parts_have_the_same_columns() {
        let mut tables = Tables::new(Some(60), 0);
        assert_eq!(tables.part::<Order>(&[]), "");
        assert!(tables.part(&[order()]).starts_with("ORDER"));
        let short = Order { order_id: "1".to_owned(), ..order() };
        assert_eq!(tables.part(&[short]), "1  123  unspecified  -\n");
    }

    #[test]
    fn a_long_message_continues_on_the_next_line() {
        let message = "order 2 is another customer's, and was accepted at pickup point north";
        let refusal = Refusal {
            reason: "WRONG_CUSTOMER".to_owned(),
            message: message.to_owned(),
            ..Refusal::default()
        };
        let result =
            OrderResult { order_id: "2".to_owned(), outcome: Some(order_result::Outcome::Refusal(refusal)) };
        let text = Tables::new(Some(50), 0).part(&[result]);
        assert!(text.lines().all(|line| line.chars().count() <= 50), "{text}");
        assert!(text.lines().count() > 2, "{text}");
        assert!(message.split(' ').all(|word| text.contains(word)), "{text}");
    }
}
