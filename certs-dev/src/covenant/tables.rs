//! The covenant's tables as people write them: TOML and CSV files with comments, read into plain structs.
//!
//! The development covenant's own files are compiled in; another folder with files of the same names may be read
//! instead. Here they are only read; what a name means, and whether it is one, the builder says.

use std::path::Path;

use serde::Deserialize;

use crate::fault::Fault;
use crate::files;

/// All tables of one covenant.
#[derive(Debug, Clone)]
pub struct Tables {
    pub(super) municipalities: Vec<Municipality>,
    pub(super) organisations: Organisations,
    pub(super) functions: Functions,
    pub(super) signal_types: SignalTypes,
    pub(super) rules: Rules,
    pub(super) code_lists: CodeLists,
    pub(super) profiles: Profiles,
    pub(super) clocks: Clocks,
}

impl Tables {
    /// Reads the tables of the development covenant, which are part of this program.
    ///
    /// # Errors
    /// None, as a test proves.
    pub fn development() -> Result<Self, Fault> {
        Self::from_texts(|name| {
            let text = match name {
                "municipalities.csv" => include_str!("../../data/municipalities.csv"),
                "organisations.toml" => include_str!("../../data/organisations.toml"),
                "functions.toml" => include_str!("../../data/functions.toml"),
                "signal_types.toml" => include_str!("../../data/signal_types.toml"),
                "rules.toml" => include_str!("../../data/rules.toml"),
                "codes.toml" => include_str!("../../data/codes.toml"),
                "profiles.toml" => include_str!("../../data/profiles.toml"),
                "clocks.toml" => include_str!("../../data/clocks.toml"),
                _ => return Err(Fault::data(name, "is no table of a covenant")),
            };
            Ok(text.to_owned())
        })
    }

    /// Reads the tables of a folder, which has files of the same names as the development covenant's.
    ///
    /// # Errors
    /// [`Fault::File`] or [`Fault::Data`] naming the file, the line and what is wrong with it.
    pub fn read(folder: &Path) -> Result<Self, Fault> {
        Self::from_texts(|name| files::read_text(&folder.join(name)))
    }

    fn from_texts(text: impl Fn(&str) -> Result<String, Fault>) -> Result<Self, Fault> {
        fn toml<T: serde::de::DeserializeOwned>(name: &str, text: Result<String, Fault>) -> Result<T, Fault> {
            toml::from_str(&text?).map_err(|error| Fault::data(name, error.to_string()))
        }
        Ok(Self {
            municipalities: municipalities(&text("municipalities.csv")?)?,
            organisations: toml("organisations.toml", text("organisations.toml"))?,
            functions: toml("functions.toml", text("functions.toml"))?,
            signal_types: toml("signal_types.toml", text("signal_types.toml"))?,
            rules: toml("rules.toml", text("rules.toml"))?,
            code_lists: toml("codes.toml", text("codes.toml"))?,
            profiles: toml("profiles.toml", text("profiles.toml"))?,
            clocks: toml("clocks.toml", text("clocks.toml"))?,
        })
    }
}

/// A row of `municipalities.csv`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Municipality {
    pub(super) code: String,
    pub(super) name: String,
    pub(super) region: String,
    pub(super) region_name: String,
}

/// Reads the municipalities: a line each, four fields, quoted where a name holds a comma; lines with `#` are comments.
fn municipalities(text: &str) -> Result<Vec<Municipality>, Fault> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.is_empty());
    let head = lines.next().map(|(_, line)| line);
    if head != Some("municipality_code,name,safety_region_code,safety_region") {
        return Err(Fault::data("municipalities.csv", "does not begin with the names of its four columns"));
    }
    lines
        .map(|(at, line)| {
            let wrong = |wrong| Fault::data(format!("municipalities.csv:{}", at + 1), wrong);
            let fields: [String; 4] = fields(line).try_into().map_err(|_| wrong("has not four fields"))?;
            let [code, name, region, region_name] = fields;
            let digits = |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
            if !digits(&code, 4) || !digits(&region, 2) {
                return Err(wrong("has a code that is not four digits, or a region that is not two"));
            }
            Ok(Municipality { code, name, region, region_name })
        })
        .collect()
}

/// Splits a line at commas that stand outside quotes.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => fields.last_mut().expect("there is one from the start").push(character),
        }
    }
    fields
}

/// `organisations.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Organisations {
    pub(super) routes_from: String,
    pub(super) municipality_functions: Vec<String>,
    pub(super) areas: Vec<Area>,
    pub(super) care_coordinators: Vec<CareCoordinator>,
    #[serde(default)]
    pub(super) former: Vec<Former>,
    pub(super) kind: Vec<Kind>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Area {
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) regions: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CareCoordinator {
    pub(super) region: String,
    pub(super) municipality: String,
}

/// A municipality that was merged into another.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Former {
    pub(super) municipality: String,
    pub(super) name: String,
    pub(super) region: String,
    pub(super) into: String,
    pub(super) on: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kind {
    pub(super) kind: u32,
    #[serde(default)]
    pub(super) name: String,
    pub(super) per: Option<Per>,
    pub(super) functions: Vec<String>,
    pub(super) mailbox: String,
    #[serde(default)]
    pub(super) organisations: Vec<Organisation>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Per {
    Area,
    Region,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Organisation {
    pub(super) number: u32,
    pub(super) name: String,
    #[serde(default)]
    pub(super) regions: Vec<String>,
    #[serde(default)]
    pub(super) all: bool,
}

/// `functions.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Functions {
    pub(super) functions: Vec<Function>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Function {
    pub(super) code: String,
    pub(super) nl: String,
    pub(super) en: String,
    #[serde(default)]
    pub(super) bsn: bool,
}

/// `signal_types.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignalTypes {
    pub(super) r#type: Vec<SignalType>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignalType {
    pub(super) code: String,
    pub(super) nl: String,
    pub(super) en: String,
    pub(super) pairs: Vec<Pairs>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pairs {
    pub(super) from: Vec<String>,
    pub(super) to: Vec<String>,
}

/// `rules.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rules {
    /// Groups of types.
    pub(super) types: std::collections::BTreeMap<String, Vec<String>>,
    /// Groups of functions.
    pub(super) groups: std::collections::BTreeMap<String, Vec<String>>,
    pub(super) rule: Vec<Rule>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    pub(super) id: String,
    pub(super) types: Vec<String>,
    pub(super) from: Vec<String>,
    pub(super) to: Vec<String>,
    pub(super) legal_basis: String,
    pub(super) regimes: Vec<String>,
    pub(super) reference: Option<String>,
    #[serde(default)]
    pub(super) urgencies: Vec<String>,
    #[serde(default)]
    pub(super) purposes: Vec<String>,
    #[serde(default)]
    pub(super) profiles: Vec<String>,
    #[serde(default)]
    pub(super) supersedes: bool,
    #[serde(default)]
    pub(super) four_eyes: bool,
    /// Whether ORAL_DISCLOSURE_RECORD joins the row's types.
    #[serde(default = "yes")]
    pub(super) oral: bool,
    pub(super) article: String,
    pub(super) reason_nl: String,
    pub(super) reason_en: String,
    #[serde(default)]
    pub(super) condition_nl: String,
    #[serde(default)]
    pub(super) condition_en: String,
    pub(super) source: String,
}

fn yes() -> bool {
    true
}

/// `codes.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CodeLists {
    pub(super) list: Vec<CodeList>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CodeList {
    pub(super) id: String,
    pub(super) codes: Vec<Code>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Code {
    pub(super) code: String,
    pub(super) nl: String,
    pub(super) en: String,
    #[serde(default)]
    pub(super) source: String,
}

/// `profiles.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profiles {
    pub(super) profiles: Vec<Profile>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    pub(super) name: String,
    pub(super) version: u32,
    pub(super) r#type: String,
    pub(super) must: Vec<String>,
    #[serde(default)]
    pub(super) may: Vec<String>,
}

/// `clocks.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Clocks {
    pub(super) clock: Vec<Clock>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Clock {
    pub(super) id: String,
    #[serde(default)]
    pub(super) types: Vec<String>,
    #[serde(default)]
    pub(super) from: Vec<String>,
    #[serde(default)]
    pub(super) to: Vec<String>,
    pub(super) urgency: Option<String>,
    pub(super) step: String,
    pub(super) duration: String,
    #[serde(default)]
    pub(super) working_days: bool,
    pub(super) article: String,
    /// Kept out of the covenant until what it speaks of exists.
    #[serde(default)]
    pub(super) later: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_comma_is_one_field() {
        assert_eq!(
            fields("0820,\"Nuenen, Gerwen en Nederwetten\",22,Brabant-Zuidoost"),
            ["0820", "Nuenen, Gerwen en Nederwetten", "22", "Brabant-Zuidoost"]
        );
    }

    #[test]
    fn a_faulty_line_of_municipalities_is_named() {
        let text = "# a comment\nmunicipality_code,name,safety_region_code,safety_region\n0014,Groningen,01,Groningen\n34,Almere,25,Flevoland\n";
        let fault = municipalities(text).expect_err("34 is no code").to_string();
        assert!(fault.starts_with("municipalities.csv:4: "), "{fault}");
    }

    #[test]
    fn a_misspelt_field_is_refused_with_its_line() {
        let fault = Tables::from_texts(|name| {
            let tables = Tables::development().map(|_| ());
            tables?;
            match name {
                "municipalities.csv" => Ok("municipality_code,name,safety_region_code,safety_region\n".to_owned()),
                "organisations.toml" => Ok("routes_form = \"2015-01-01\"\n".to_owned()),
                _ => Ok(String::new()),
            }
        })
        .expect_err("routes_form is no field")
        .to_string();
        assert!(
            fault.contains("organisations.toml") && fault.contains("line 1") && fault.contains("routes_form"),
            "{fault}"
        );
    }
}
