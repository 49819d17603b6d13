//! The list of flags in a help text: two columns, the second wrapped.

use super::Flag;

/// One flag as help shows it, free of the type of the options.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) long: &'static str,
    pub(crate) short: char,
    pub(crate) type_name: &'static str,
    pub(crate) default: &'static str,
    pub(crate) help: &'static str,
    pub(crate) hidden: bool,
}

impl<T> From<&'static Flag<T>> for Row {
    fn from(flag: &'static Flag<T>) -> Self {
        Self {
            long: flag.long,
            short: flag.short,
            type_name: flag.type_name,
            default: flag.default,
            help: flag.help,
            hidden: flag.hidden,
        }
    }
}

/// The rows sorted by name, wrapped to `columns` (0: not at all).
pub(crate) fn wrapped(rows: &[Row], columns: usize) -> String {
    let mut rows: Vec<&Row> = rows.iter().filter(|row| !row.hidden).collect();
    rows.sort_by_key(|row| row.long);
    let heads: Vec<String> = rows.iter().map(|row| head(row)).collect();
    let width = heads.iter().map(|head| head.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (row, head) in rows.iter().zip(&heads) {
        let gap = width - head.chars().count();
        let mut help = row.help.to_owned();
        if !row.default.is_empty() {
            help.push_str(&format!(" (default {})", row.default));
        }
        text.push_str(head);
        text.push_str(&" ".repeat(gap + 3));
        text.push_str(&wrap(width + 3, columns, &help));
        text.push('\n');
    }
    text
}

fn head(row: &Row) -> String {
    let mut head = if row.short == '\0' {
        format!("      --{}", row.long)
    } else {
        format!("  -{}, --{}", row.short, row.long)
    };
    if !row.type_name.is_empty() {
        head.push(' ');
        head.push_str(row.type_name);
    }
    head
}

/// Breaks `text` at blanks so that lines with `indent` blanks before them fit into `columns`.
fn wrap(indent: usize, columns: usize, text: &str) -> String {
    const LEAST: usize = 24;
    /// A last word of this size may hang over rather than stand alone.
    const SLOP: usize = 5;
    let blanks = format!("\n{}", " ".repeat(indent));
    if columns == 0 || columns < indent + LEAST {
        return text.replace('\n', &blanks);
    }
    let width = columns - indent;
    let mut wrapped = String::new();
    let mut rest = text;
    loop {
        let (line, after) = cut(width - SLOP, SLOP, rest);
        wrapped.push_str(&line.replace('\n', &blanks));
        if after.is_empty() {
            return wrapped;
        }
        wrapped.push_str(&blanks);
        rest = after;
    }
}

/// A first line of at most `width` (and `slop` more if the text then ends), and the rest.
fn cut(width: usize, slop: usize, text: &str) -> (&str, &str) {
    let is_break = |c: char| " \t\n".contains(c);
    if width + slop > text.chars().count() {
        return (text, "");
    }
    let limit = text.char_indices().nth(width).map_or(text.len(), |(at, _)| at);
    let Some(at) = text[..limit].rfind(is_break).filter(|&at| at > 0) else { return (text, "") };
    match text[..at].find('\n') {
        Some(line) => (&text[..line], &text[line + 1..]),
        None => (&text[..at], &text[at + 1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_is_wrapped_beside_the_names() {
        #[derive(Default)]
        struct Options {
            all: bool,
            name: String,
        }
        static FLAGS: &[Flag<Options>] = &[
            Flag::text(
                "name",
                '\0',
                |o: &mut Options| &mut o.name,
                "A name that is chosen for you if you do not choose one",
            )
            .default("\"x\""),
            Flag::bool("all", 'a', |o| &mut o.all, "Everything"),
            Flag::bool("old", '\0', |o: &mut Options| &mut o.all, "").hidden(),
        ];
        let rows: Vec<Row> = FLAGS.iter().map(Row::from).collect();
        assert_eq!(
            wrapped(&rows, 50),
            "  -a, --all           Everything\n\
             \x20     --name string   A name that is chosen\n\
             \x20                     for you if you do not\n\
             \x20                     choose one (default \"x\")\n"
        );
    }
}
