//! How results look: tables, JSON, times, colour, progress. Data goes to standard output, everything else to standard
//! error; a closed pipe ends quietly.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::Value as Json;

use super::args::{Colour, Format, Global, Lang};

/// What printing needs to know, read once.
#[derive(Debug, Clone)]
pub(super) struct Printer {
    pub format: Format,
    pub quiet: bool,
    pub lang: Lang,
    absolute: bool,
    colour: bool,
    width: Option<u16>,
}

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
            // A pipe gets the widest table: a program that reads it must not meet wrapped cells.
            width: (!terminal).then_some(400),
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
    pub(super) fn rows(&self, columns: &[Column], rows: &[Vec<Cell>], empty: &str) {
        match self.format {
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
            self.note(empty);
            return;
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        if let Some(width) = self.width {
            table.set_width(width);
        }
        let shown: Vec<usize> = (0..columns.len()).filter(|i| !columns[*i].title.is_empty()).collect();
        table.set_header(shown.iter().map(|i| comfy_table::Cell::new(columns[*i].title)));
        for row in rows {
            table.add_row(shown.iter().map(|i| {
                let cell = comfy_table::Cell::new(&row[*i].text);
                if row[*i].json.is_number() { cell.set_alignment(CellAlignment::Right) } else { cell }
            }));
        }
        table.lines().for_each(|line| out(line.trim_end()));
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

/// A column: its title for people (empty: not shown to them) and its name in JSON.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub title: &'static str,
    pub name: &'static str,
}

/// Makes a column.
pub(super) const fn column(title: &'static str, name: &'static str) -> Column {
    Column { title, name }
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
    if writeln!(stdout, "{line}").and_then(|()| stdout.flush()).is_err() {
        std::process::exit(0);
    }
}
