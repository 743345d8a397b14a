//! How results look: tables, JSON, times, colour, progress. Data goes to standard output, everything else to standard
//! error; a closed pipe ends quietly.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::Table;
use serde_json::Value as Json;

use super::args::{Colour, Format, Global, Lang};

/// Returns the columns of the terminal on standard output: those that COLUMNS says, else those that it has; `None`: it is
/// no terminal, and lines may be as long as they are.
pub(super) fn terminal_width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let said = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    said.or_else(|| Table::new().width().map(usize::from)).filter(|columns| *columns > 0)
}

/// What printing needs to know, read once.
#[derive(Debug, Clone)]
pub(super) struct Printer {
    pub format: Format,
    pub quiet: bool,
    pub lang: Lang,
    absolute: bool,
    colour: bool,
    /// Columns of the terminal; none: not a terminal, and lines may be as long as they are.
    width: Option<usize>,
}

/// Narrowest that a column is made whose texts may be cut.
const CUT_MIN: usize = 12;
/// What stands between two columns.
const GAP: usize = 2;

impl Printer {
    pub(super) fn new(global: &Global) -> Self {
        let terminal = io::stdout().is_terminal();
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let lang = global.lang.unwrap_or_else(|| {
            let locale = ["LC_ALL", "LC_MESSAGES", "LANG"]
                .iter()
                .find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
            if locale.is_some_and(|locale| locale.starts_with("nl")) { Lang::Nl } else { Lang::En }
        });
        Self {
            format: global.output,
            quiet: global.quiet,
            lang,
            absolute: global.absolute,
            colour: match global.color {
                Colour::Always => true,
                Colour::Never => false,
                Colour::Auto => terminal && !no_colour,
            },
            // A pipe gets the table as wide as it is: a program that reads it must not meet cut cells.
            width: terminal_width(),
        }
    }

    /// Whether a person reads standard output.
    pub(super) fn for_people(&self) -> bool {
        self.format == Format::Table && !self.quiet
    }

    /// Prints one line of data.
    pub(super) fn line(&self, text: impl AsRef<str>) {
        out(text.as_ref());
    }

    /// Prints a remark, to standard error, unless a script asked for quiet.
    pub(super) fn note(&self, text: impl AsRef<str>) {
        if !self.quiet {
            let _ = writeln!(io::stderr(), "{}", text.as_ref());
        }
    }

    /// Prints the next sensible command, once, on a terminal only.
    pub(super) fn next(&self, text: impl AsRef<str>) {
        if self.for_people() && io::stderr().is_terminal() {
            let _ = writeln!(io::stderr(), "{}", text.as_ref());
        }
    }

    /// Prints one JSON document.
    pub(super) fn json(&self, value: &Json) {
        match self.format {
            Format::Jsonl => out(&value.to_string()),
            _ => out(&serde_json::to_string_pretty(value).expect("a JSON value can be written")),
        }
    }

    /// Prints rows: as a table for people, as one JSON list, or as one object a line.
    ///
    /// A quiet printer prints the first column alone, which is what a script goes on with.
    pub(super) fn rows(&self, columns: &[Column], rows: &[Vec<Cell>], empty: &str) {
        match self.format {
            Format::Table if self.quiet => rows.iter().for_each(|row| out(&row[0].text)),
            Format::Table => self.table(columns, rows, empty),
            Format::Json => {
                let list = rows.iter().map(|row| object(columns, row)).collect();
                self.json(&Json::Array(list));
            }
            Format::Jsonl => rows.iter().for_each(|row| out(&object(columns, row).to_string())),
        }
    }

    fn table(&self, columns: &[Column], rows: &[Vec<Cell>], empty: &str) {
        if rows.is_empty() {
            return self.note(empty);
        }
        lines(columns, rows, self.width.unwrap_or(usize::MAX)).iter().for_each(|line| out(line));
    }

    /// Writes a time as a person reads it, or absolutely where that was asked for.
    pub(super) fn time(&self, millis: i64) -> String {
        let time = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        if self.absolute {
            let zoned = time.to_zoned_datetime(jiff::tz::TimeZone::system());
            return zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
        }
        let now = jiff::Timestamp::now().as_millisecond();
        let (distance, ahead) = ((now - millis).unsigned_abs() / 1000, millis > now);
        let text = match distance {
            0..=59 => format!("{distance} s"),
            60..=3_599 => format!("{} min", distance / 60),
            3_600..=172_799 => format!("{} h", distance / 3_600),
            _ => format!("{} d", distance / 86_400),
        };
        if ahead { format!("in {text}") } else { format!("{text} ago") }
    }

    /// Chooses the text in the reader's language, or the other where one is missing.
    pub(super) fn label<'a>(&self, dutch: &'a str, english: &'a str) -> &'a str {
        match self.lang {
            Lang::Nl if !dutch.is_empty() => dutch,
            Lang::En if english.is_empty() => dutch,
            _ => english,
        }
    }

    pub(super) fn green(&self, text: &str) -> String {
        self.paint(text, "32")
    }

    pub(super) fn yellow(&self, text: &str) -> String {
        self.paint(text, "33")
    }

    pub(super) fn red(&self, text: &str) -> String {
        self.paint(text, "31")
    }

    fn paint(&self, text: &str, code: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A JSON list that is printed as it grows: one document, or one object a line. It is one document however the command
/// ends, since dropping it closes it; whoever prints for people prints no list.
pub(super) struct List<'a> {
    printer: &'a Printer,
    is_empty: bool,
}

impl<'a> List<'a> {
    /// Begins a list.
    pub(super) fn begin(printer: &'a Printer) -> Self {
        Self { printer, is_empty: true }
    }

    /// Prints the next object.
    pub(super) fn add(&mut self, value: &Json) {
        match self.printer.format {
            _ if self.printer.quiet => {}
            Format::Table => {}
            Format::Jsonl => out(&value.to_string()),
            Format::Json => {
                let text = serde_json::to_string_pretty(value).expect("a JSON value can be written");
                out(&format!("{}{text}", if self.is_empty { "[\n" } else { ",\n" }));
                self.is_empty = false;
            }
        }
    }
}

impl Drop for List<'_> {
    fn drop(&mut self) {
        if self.printer.format == Format::Json && !self.printer.quiet {
            out(if self.is_empty { "[]" } else { "]" });
        }
    }
}

/// A column: its title for people (empty: not shown to them) and its name in JSON.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub title: &'static str,
    pub name: &'static str,
    fit: Fit,
}

/// What a column does where a terminal is too narrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// It stays as it is.
    Stays,
    /// Its texts are ids, which may be shortened as long as each is the only one that begins so.
    Shortens,
    /// Its texts may be cut.
    Shrinks,
    /// It is left out.
    GivesWay,
}

/// Makes a column.
pub(super) const fn column(title: &'static str, name: &'static str) -> Column {
    Column { title, name, fit: Fit::Stays }
}

impl Column {
    /// A column of ids.
    pub(super) const fn of_ids(self) -> Self {
        Self { fit: Fit::Shortens, ..self }
    }

    /// A column whose texts may be cut.
    pub(super) const fn shrinks(self) -> Self {
        Self { fit: Fit::Shrinks, ..self }
    }

    /// A column that can be spared.
    pub(super) const fn gives_way(self) -> Self {
        Self { fit: Fit::GivesWay, ..self }
    }
}

/// Writes a table that fits a width: first ids are shortened, then columns that can be spared go, then long texts are
/// cut; what is still too wide is written a line per value. Nothing is ever wrapped within a cell.
fn lines(columns: &[Column], rows: &[Vec<Cell>], width: usize) -> Vec<String> {
    let mut shown: Vec<usize> = (0..columns.len()).filter(|i| !columns[*i].title.is_empty()).collect();
    let mut texts: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| cell.text.clone()).collect()).collect();
    if total(&widths(columns, &shown, &texts)) > width {
        shorten_ids(columns, &mut texts);
    }
    while total(&widths(columns, &shown, &texts)) > width {
        // The last that can be spared goes first.
        let Some(at) = shown.iter().rposition(|i| columns[*i].fit == Fit::GivesWay) else { break };
        shown.remove(at);
    }
    let mut widths = widths(columns, &shown, &texts);
    while total(&widths) > width {
        let can_be_cut = |at: &usize| columns[shown[*at]].fit == Fit::Shrinks && widths[*at] > CUT_MIN;
        let Some(widest) = (0..shown.len()).filter(can_be_cut).max_by_key(|at| widths[*at]) else {
            return records(columns, rows);
        };
        widths[widest] -= 1;
    }
    let numbers: Vec<bool> = shown.iter().map(|i| rows.iter().any(|row| row[*i].json.is_number())).collect();
    let line = |texts: Vec<&str>| {
        let cells = texts.into_iter().zip(&widths).zip(&numbers).map(|((text, width), is_number)| {
            let text = cut(text, *width);
            if *is_number { format!("{text:>width$}") } else { format!("{text:<width$}") }
        });
        cells.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_owned()
    };
    let titles = line(shown.iter().map(|i| columns[*i].title).collect());
    let rows = texts.iter().map(|row| line(shown.iter().map(|i| row[*i].as_str()).collect()));
    std::iter::once(titles).chain(rows).collect()
}

fn widths(columns: &[Column], shown: &[usize], texts: &[Vec<String>]) -> Vec<usize> {
    let length = |text: &str| text.chars().count();
    let widest = |i: &usize| texts.iter().map(|row| length(&row[*i])).max().unwrap_or(0).max(length(columns[*i].title));
    shown.iter().map(widest).collect()
}

fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

/// Shortens ids to the first characters that only one of them has: at least thirteen, which hold a UUIDv7's time.
fn shorten_ids(columns: &[Column], texts: &mut [Vec<String>]) {
    for i in (0..columns.len()).filter(|i| columns[*i].fit == Fit::Shortens) {
        let ids: std::collections::BTreeSet<String> = texts.iter().map(|row| row[i].clone()).collect();
        let first = |id: &str, length: usize| id.chars().take(length).collect::<String>();
        let length = (13..36).find(|length| {
            ids.iter().map(|id| first(id, *length)).collect::<std::collections::BTreeSet<_>>().len() == ids.len()
        });
        if let Some(length) = length {
            texts.iter_mut().for_each(|row| row[i] = first(&row[i], length));
        }
    }
}

/// Writes a line per value, for what no terminal of this width can show side by side.
fn records(columns: &[Column], rows: &[Vec<Cell>]) -> Vec<String> {
    let shown: Vec<usize> = (0..columns.len()).filter(|i| !columns[*i].title.is_empty()).collect();
    let width = shown.iter().map(|i| columns[*i].title.chars().count()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for row in rows {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        let filled = shown.iter().filter(|i| !row[**i].text.is_empty());
        lines.extend(filled.map(|i| format!("{:<width$}  {}", columns[*i].title, row[*i].text)));
    }
    lines
}

/// One value, for people and for JSON.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    pub text: String,
    pub json: Json,
}

impl Cell {
    /// A value that reads the same for both.
    pub(super) fn same(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { json: Json::String(text.clone()), text }
    }

    /// A number.
    pub(super) fn number(number: u64) -> Self {
        Self { text: number.to_string(), json: Json::from(number) }
    }

    /// A value that people read differently.
    pub(super) fn both(text: impl Into<String>, json: impl Into<Json>) -> Self {
        Self { text: text.into(), json: json.into() }
    }

    /// A time, in milliseconds.
    pub(super) fn time(printer: &Printer, millis: i64) -> Self {
        let utc = jiff::Timestamp::from_millisecond(millis).map(|time| time.to_string()).unwrap_or_default();
        Self { text: printer.time(millis), json: Json::String(utc) }
    }

    /// Nothing.
    pub(super) fn none() -> Self {
        Self { text: "–".into(), json: Json::Null }
    }
}

fn object(columns: &[Column], row: &[Cell]) -> Json {
    Json::Object(columns.iter().zip(row).map(|(column, cell)| (column.name.to_owned(), cell.json.clone())).collect())
}

/// Writes a line to standard output; a reader that went away ends the program quietly, as `head` expects.
fn out(line: &str) {
    let mut stdout = io::stdout().lock();
    let written = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(i32::from(super::report::DONE)),
        Err(error) => {
            let _ =
                writeln!(io::stderr(), "error: standard output cannot be written: {error}\n  what was sent stays sent");
            std::process::exit(i32::from(super::report::FAULT))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shortened_only_as_far_as_each_stays_the_only_one() {
        let columns = [column("SIGNAL", "item_id").of_ids(), column("TYPE", "type")];
        let rows = |ids: [&str; 2]| ids.map(|id| vec![id.to_owned(), "a type".to_owned()]);
        let mut apart = rows(["01a20df9-9e7d-78f7-bd82-1375b4d8d6c9", "01a20df9-9cb9-7942-9ce5-695cb8f2b0be"]);
        shorten_ids(&columns, &mut apart);
        assert_eq!(apart, rows(["01a20df9-9e7d", "01a20df9-9cb9"]));
        let mut near = rows(["01a20df9-9e7d-78f7-bd82-1375b4d8d6c9", "01a20df9-9e7d-7942-9ce5-695cb8f2b0be"]);
        shorten_ids(&columns, &mut near);
        assert_eq!(near, rows(["01a20df9-9e7d-78", "01a20df9-9e7d-79"]));
    }

    #[test]
    fn a_table_gives_up_what_can_be_spared_before_it_is_cut_and_is_never_wrapped() {
        let columns = [
            column("SIGNAL", "item_id").of_ids(),
            column("TYPE", "type").gives_way(),
            column("TO", "to").shrinks(),
            column("N", "n"),
        ];
        let row = |id: &str| {
            let name = "Veilig Thuis Amsterdam-Amstelland (TEST)";
            vec![Cell::same(id), Cell::same("EXPLOITATION_SIGNAL"), Cell::same(name), Cell::number(7)]
        };
        let rows = [row("01a20df9-9e7d-78f7-bd82-1375b4d8d6c9"), row("01a20df9-9cb9-7942-9ce5-695cb8f2b0be")];
        let at = |width| lines(&columns, &rows, width);
        assert_eq!(
            at(200)[1],
            "01a20df9-9e7d-78f7-bd82-1375b4d8d6c9  EXPLOITATION_SIGNAL  Veilig Thuis Amsterdam-Amstelland (TEST)  7"
        );
        assert_eq!(at(80)[1], "01a20df9-9e7d  EXPLOITATION_SIGNAL  Veilig Thuis Amsterdam-Amstelland (TEST)  7");
        assert_eq!(at(70)[1], "01a20df9-9e7d  Veilig Thuis Amsterdam-Amstelland (TEST)  7");
        assert_eq!(at(40)[1], "01a20df9-9e7d  Veilig Thuis Amsterda…  7");
        for width in [40, 70, 80, 200] {
            let lines = at(width);
            assert_eq!(lines.len(), 3);
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{lines:#?}");
        }
        assert_eq!(at(20)[..2], ["SIGNAL  01a20df9-9e7d-78f7-bd82-1375b4d8d6c9", "TYPE    EXPLOITATION_SIGNAL"]);
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!(cut("Veilig Thuis", 12), "Veilig Thuis");
        assert_eq!(cut("Veilig Thuis Amsterdam", 12), "Veilig Thui…");
        assert_eq!(cut("één", 3), "één");
    }
}
