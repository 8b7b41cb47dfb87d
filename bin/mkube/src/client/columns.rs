//! Columns of text, as kubectl prints them: as wide as what is in them, and never narrower again while one watches. Pure.

use super::look::{Tone, paint, tone_of};

/// Between two columns.
const GAP: usize = 3;

/// Headings, and how wide the columns have become.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    headings: Vec<String>,
    widths: Vec<usize>,
    colours: bool,
}

impl Columns {
    /// With these headings.
    pub fn new(headings: impl IntoIterator<Item = impl Into<String>>, colours: bool) -> Self {
        let headings: Vec<String> = headings.into_iter().map(Into::into).collect();
        let widths = headings.iter().map(|text| text.chars().count()).collect();
        Self { headings, widths, colours }
    }

    /// The line of headings, wide enough for these rows.
    pub fn heading(&mut self, rows: &[Vec<String>]) -> String {
        self.widen(rows);
        let headings = self.headings.clone();
        self.line(&headings, |_, _| Some(Tone::Heading))
    }

    /// Lines for these rows.
    pub fn lines(&mut self, rows: &[Vec<String>]) -> Vec<String> {
        self.widen(rows);
        rows.iter().map(|row| self.line(row, tone_of)).collect()
    }

    /// A line in one tone.
    pub fn line_in(&mut self, row: &[String], tone: Tone) -> String {
        self.widen(&[row.to_vec()]);
        self.line(row, |_, _| Some(tone))
    }

    /// Headings and rows.
    pub fn whole(mut self, rows: &[Vec<String>]) -> String {
        let mut all = vec![self.heading(rows)];
        all.extend(self.lines(rows));
        all.join("\n")
    }

    fn widen(&mut self, rows: &[Vec<String>]) {
        for row in rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
    }

    fn line(&self, cells: &[String], tone: impl Fn(&str, &str) -> Option<Tone>) -> String {
        let mut line = String::new();
        let last = cells.len().saturating_sub(1);
        for (index, cell) in cells.iter().enumerate() {
            // A cell is one line, whatever is in it.
            let cell: String = cell.chars().map(|one| if one.is_control() { ' ' } else { one }).collect();
            let heading = self.headings.get(index).map(String::as_str).unwrap_or_default();
            line += &paint(self.colours, tone(heading, &cell), &cell);
            if index < last {
                let width = self.widths.get(index).copied().unwrap_or_default();
                line += &" ".repeat(width.saturating_sub(cell.chars().count()) + GAP);
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(texts: &[&str]) -> Vec<Vec<String>> {
        texts.iter().map(|row| row.split(' ').map(str::to_owned).collect()).collect()
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them_and_colours_take_no_room() {
        let plain = Columns::new(["NAME", "STATUS"], false).whole(&rows(&["web Running", "database Pending"]));
        assert_eq!(plain, "NAME       STATUS\nweb        Running\ndatabase   Pending");
        let painted = Columns::new(["NAME", "STATUS"], true).whole(&rows(&["web Running", "database Pending"]));
        assert_eq!(
            painted,
            "\x1b[1mNAME\x1b[0m       \x1b[1mSTATUS\x1b[0m\nweb        \x1b[32mRunning\x1b[0m\ndatabase   \x1b[33mPending\x1b[0m"
        );
    }

    #[test]
    fn what_comes_later_stands_below_what_was_there() {
        let mut columns = Columns::new(["NAME", "STATUS"], false);
        columns.heading(&rows(&["database Pending"]));
        assert_eq!(columns.lines(&rows(&["a Running"])), ["a          Running"]);
        assert_eq!(columns.lines(&[vec!["a\nb\x1b[2J".to_owned(), "x".to_owned()]]), ["a b [2J    x"]);
    }
}
