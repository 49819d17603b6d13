//! Columns as Go's `text/tabwriter` makes them.
//!
//! A cell is what a tab ends; what follows the last tab of a line belongs to no column. A column is a block of
//! neighbouring lines that all have the cell, and it is as wide as its widest cell: lines with fewer cells end it.

/// How cells become columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns {
    /// The least width of a column, padding included.
    pub(crate) least: usize,
    /// Blanks after the widest cell.
    pub(crate) padding: usize,
}

impl Columns {
    /// Docker's lists.
    pub(crate) const LIST: Self = Self { least: 10, padding: 3 };
    /// `docker top`.
    pub(crate) const TOP: Self = Self { least: 20, padding: 3 };

    /// Aligns `text`.
    pub(crate) fn align(self, text: &str) -> String {
        let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
        let mut writer = Writer { columns: self, lines: &lines, widths: Vec::new(), output: String::new() };
        writer.block(0, lines.len());
        // The last newline has opened a line that is not there.
        writer.output.pop();
        writer.output
    }
}

struct Writer<'a> {
    columns: Columns,
    lines: &'a [Vec<&'a str>],
    /// The widths of the columns around the block that is being written.
    widths: Vec<usize>,
    output: String,
}

impl Writer<'_> {
    /// Writes the lines from `first` to before `end`, which all have the columns of `self.widths`.
    fn block(&mut self, first: usize, end: usize) {
        let column = self.widths.len();
        let mut written = first;
        let mut line = first;
        while line < end {
            if self.cell(line, column).is_none() {
                line += 1;
                continue;
            }
            self.write(written, line);
            let start = line;
            let mut width = self.columns.least;
            while line < end
                && let Some(cell) = self.cell(line, column)
            {
                width = width.max(cell.chars().count() + self.columns.padding);
                line += 1;
            }
            self.widths.push(width);
            self.block(start, line);
            self.widths.pop();
            written = line;
        }
        self.write(written, end);
    }

    /// The cell of a line in a column, if a tab ends it.
    fn cell(&self, line: usize, column: usize) -> Option<&str> {
        let cells = &self.lines[line];
        (column + 1 < cells.len()).then(|| cells[column])
    }

    fn write(&mut self, first: usize, end: usize) {
        for line in first..end {
            for (column, cell) in self.lines[line].iter().enumerate() {
                self.output.push_str(cell);
                if let Some(width) = self.widths.get(column) {
                    let gap = width.saturating_sub(cell.chars().count());
                    self.output.extend(std::iter::repeat_n(' ', gap));
                }
            }
            self.output.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_go_s() {
        let check = |text: &str, expect: &str| assert_eq!(Columns::LIST.align(text), expect, "{text:?}");
        check("ID\tNAMES\n1234567890ab\tx\n", "ID             NAMES\n1234567890ab   x\n");
        check("", "");
        check("A\n", "A\n");
        // An empty last cell leaves the blanks of the column before it.
        check("A\tB\nx\t\n", "A         B\nx         \n");
        // A line without the cell ends the column; width counts characters, not bytes.
        check("a\tb\tc\nplain\nlonger-than-ten\tb\n", "a         b         c\nplain\nlonger-than-ten   b\n");
        check("ä234567\tb\n1234567\tb\n12345678\tb\n", "ä234567    b\n1234567    b\n12345678   b\n");
    }
}
