//! What `images --tree` draws: images with the names and platforms of each below one another.

use std::cmp::Reverse;

use berth_api::image::{ManifestSummary, Summary};
use berth_oci::Platform;

use crate::format::list::short_id;
use crate::format::units::human_size_with;
use crate::terminal;

/// Where it is drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Canvas {
    is_terminal: bool,
    /// Of the terminal; 0: unknown.
    columns: usize,
}

const WARNING: &str =
    "WARNING: This is an experimental feature. The output may change and shouldn't be depended on.";

/// Blanks between columns.
const GAP: &str = "   ";
/// The first column is no narrower than that as long as there is another column to leave out.
const LEAST_FIRST: usize = 12;

const END: &str = "\x1b[0m";
const YELLOW: &str = "\x1b[93m";
const BOLD: &str = "\x1b[39m\x1b[1m";
const NAME: &str = "\x1b[34m\x1b[1m";
const PLAIN: &str = "\x1b[39m";
const FAINT: &str = "\x1b[39m\x1b[2m";
const CHIP: &str = "\x1b[38;5;0m\x1b[48;5;14m";

impl Canvas {
    /// Standard output.
    pub(super) fn stdout() -> Self {
        let columns = terminal::size().map_or(0, |(_, columns)| usize::from(columns));
        Self { is_terminal: std::io::IsTerminal::is_terminal(&std::io::stdout()), columns }
    }

    fn width(self) -> usize {
        if self.columns == 0 { 80 } else { self.columns.max(20) }
    }

    fn paint(self, colour: &str, text: &str) -> String {
        if self.is_terminal { format!("{colour}{text}{END}") } else { text.to_owned() }
    }

    /// What the marks in the last column mean, at the right edge.
    fn legend(self) -> String {
        let (text, shown) = if self.is_terminal {
            let info = format!("\x1b[1m\x1b[106m\x1b[30mi{END}{END} \x1b[96mInfo → {END}{END}");
            (format!("{info} {CHIP} U {END} In Use "), "i Info →   U  In Use ")
        } else {
            let text = "Info ->  U In Use ";
            (text.to_owned(), text)
        };
        let margin = self.width().saturating_sub(shown.chars().count());
        format!("{}{text}", " ".repeat(margin))
    }
}

/// An image or one of its platforms.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    id: String,
    disk_usage: String,
    content_size: String,
    is_used: bool,
}

#[derive(Debug)]
struct Image {
    /// The longest first: only the last shares its line with the other columns.
    names: Vec<String>,
    entry: Entry,
    platforms: Vec<Below>,
}

#[derive(Debug)]
struct Below {
    platform: String,
    is_available: bool,
    entry: Entry,
}

impl From<&Summary> for Image {
    fn from(image: &Summary) -> Self {
        let mut names = image.repo_tags.clone();
        names.sort_by_key(|name| Reverse(name.len()));
        let platforms: Vec<Below> = image.manifests.iter().filter_map(below).collect();
        let content = image.manifests.iter().map(|manifest| manifest.size.content).sum();
        let is_used = image.containers > 0 || platforms.iter().any(|below| below.entry.is_used);
        Self { names, entry: entry(&image.id, image.size, content, is_used), platforms }
    }
}

/// What of a manifest is shown: only images are.
fn below(manifest: &ManifestSummary) -> Option<Below> {
    let image = manifest.image_data.as_ref().filter(|_| manifest.kind == "image")?;
    let size = manifest.size;
    let is_used = image.containers.as_ref().is_some_and(|containers| !containers.is_empty());
    Some(Below {
        platform: platform(&image.platform),
        is_available: manifest.available,
        entry: entry(&manifest.id, size.total, size.content, is_used),
    })
}

fn entry(id: &str, total: i64, content: i64, is_used: bool) -> Entry {
    let size = |bytes: i64| human_size_with(bytes as f64, 3);
    Entry { id: short_id(id).to_owned(), disk_usage: size(total), content_size: size(content), is_used }
}

/// `linux/arm/v7`; what is not known is left out.
fn platform(platform: &Platform) -> String {
    if platform.os.is_empty() {
        return "unknown".to_owned();
    }
    let parts = [&platform.os, &platform.architecture, &platform.variant];
    parts.into_iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join("/")
}

/// A column behind the first.
struct Column {
    title: &'static str,
    width: usize,
    cell: fn(&Tree, &Entry, &'static str) -> String,
}

const COLUMNS: &[Column] = &[
    Column { title: "ID", width: 12, cell: |tree, entry, colour| tree.left(colour, &entry.id, 12) },
    Column {
        title: "DISK USAGE",
        width: 10,
        cell: |tree, entry, colour| tree.right(colour, &entry.disk_usage, 10),
    },
    Column {
        title: "CONTENT SIZE",
        width: 12,
        cell: |tree, entry, colour| tree.right(colour, &entry.content_size, 12),
    },
    Column { title: "EXTRA", width: 5, cell: |tree, entry, _| tree.marks(entry) },
];

/// The whole of it, widths decided.
struct Tree {
    canvas: Canvas,
    first: usize,
    columns: &'static [Column],
    /// Whether marks are shown: without a platform that is in use, no image has any, as with Docker.
    has_marks: bool,
}

/// Draws the images, the newest first.
pub(super) fn draw(images: &[Summary], canvas: Canvas) -> String {
    let mut images: Vec<&Summary> = images.iter().collect();
    images.sort_by_key(|image| Reverse(image.created));
    let images: Vec<Image> = images.into_iter().map(Image::from).collect();
    let tree = Tree::new(&images, canvas);
    let mut text = format!("{}\n{}\n\n", canvas.paint(YELLOW, WARNING), canvas.legend());
    // The headings are bold wherever they go to, and the first is padded like its column.
    let mut headings = vec![format!("{BOLD}IMAGE{END}{}", " ".repeat(tree.first.saturating_sub(5)))];
    headings.extend(tree.columns.iter().map(|column| {
        format!("{BOLD}{}{END}{}", column.title, " ".repeat(column.width - column.title.len()))
    }));
    text.push_str(&format!("{}\n", headings.join(GAP)));
    let is_spaced = images.iter().any(|image| !image.platforms.is_empty());
    for image in &images {
        text.push_str(&tree.image(image));
        if is_spaced {
            text.push('\n');
        }
    }
    text
}

impl Tree {
    /// As many columns as there is room for beside the first, which is as wide as what is in it needs.
    fn new(images: &[Image], canvas: Canvas) -> Self {
        let mut room = canvas.width();
        let fits = |column: &&Column| {
            let rest = room.checked_sub(column.width + GAP.len()).filter(|rest| *rest >= LEAST_FIRST);
            room = rest.unwrap_or(room);
            rest.is_some()
        };
        let columns = &COLUMNS[..COLUMNS.iter().take_while(fits).count()];
        // In bytes, as Docker counts here.
        let names = images.iter().flat_map(|image| &image.names).map(String::len);
        let platforms = images.iter().flat_map(|image| &image.platforms);
        let widest = names.chain(platforms.clone().map(|below| "└─ ".len() + below.platform.len())).max();
        let first = room.min(widest.unwrap_or_default().max("IMAGE".len()));
        let has_marks = platforms.clone().any(|below| below.entry.is_used);
        Self { canvas, first, columns, has_marks }
    }

    fn image(&self, image: &Image) -> String {
        let mut text = String::new();
        let (colour, name) = match image.names.split_last() {
            None => (FAINT, "<untagged>"),
            Some((last, others)) => {
                for name in others {
                    let whole = if self.canvas.columns == 0 { usize::MAX } else { self.canvas.columns };
                    text.push_str(&format!("{}\n", self.canvas.paint(NAME, &cut(name, whole))));
                }
                (NAME, last.as_str())
            }
        };
        text.push_str(&self.line(colour, name, PLAIN, &image.entry));
        for (index, below) in image.platforms.iter().enumerate() {
            let branch = if index + 1 == image.platforms.len() { "└─" } else { "├─" };
            let colour = if below.is_available { PLAIN } else { FAINT };
            text.push_str(&self.line(colour, &format!("{branch} {}", below.platform), colour, &below.entry));
        }
        text
    }

    fn line(&self, name_colour: &'static str, name: &str, colour: &'static str, entry: &Entry) -> String {
        let mut cells = vec![self.left(name_colour, name, self.first)];
        cells.extend(self.columns.iter().map(|column| (column.cell)(self, entry, colour)));
        format!("{}\n", cells.join(GAP))
    }

    fn left(&self, colour: &str, text: &str, width: usize) -> String {
        let (text, margin) = fitted(text, width);
        format!("{}{margin}", self.canvas.paint(colour, &text))
    }

    fn right(&self, colour: &str, text: &str, width: usize) -> String {
        let (text, margin) = fitted(text, width);
        format!("{margin}{}", self.canvas.paint(colour, &text))
    }

    fn marks(&self, entry: &Entry) -> String {
        match (entry.is_used && self.has_marks, self.canvas.is_terminal) {
            (false, _) => " ".repeat(5),
            (true, true) => self.left(CHIP, " U ", 5),
            (true, false) => self.left("", "U", 5),
        }
    }
}

/// The text within the width, and the blanks that it leaves.
fn fitted(text: &str, width: usize) -> (String, String) {
    let text = cut(text, width);
    let margin = " ".repeat(width - text.chars().count());
    (text, margin)
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Docker's command line (28.2) drew of the same images, `^[` for escapes.
    #[test]
    fn drawn_as_docker_draws_it() {
        let images: Vec<Summary> = serde_json::from_str(include_str!("image_tree/images.json")).unwrap();
        let cases = [
            (false, 0, include_str!("image_tree/piped.txt")),
            (true, 15, include_str!("image_tree/terminal-15.txt")),
            (true, 40, include_str!("image_tree/terminal-40.txt")),
        ];
        for (is_terminal, columns, expected) in cases {
            let drawn = draw(&images, Canvas { is_terminal, columns });
            assert_eq!(drawn.replace('\x1b', "^["), expected, "{columns} columns");
        }
    }
}
