//! What was measured, and how it is told: ratios of medians first, absolute figures for orientation.

use std::collections::BTreeMap;

use clap::ValueEnum;

use crate::load::{Mode, Slice};

/// How to print.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Rates and CPU of every round.
#[derive(Default)]
pub(crate) struct Figures {
    /// By mode and server, one entry a round.
    rounds: BTreeMap<(String, &'static str), Vec<Round>>,
}

/// What one slice came to: operations a second, microseconds of CPU for each at the server and at the client.
type Round = (f64, f64, f64);

impl Figures {
    /// Notes one slice.
    pub(crate) fn note(&mut self, mode: Mode, server: &'static str, slice: &Slice) {
        let (server_cpu, client_cpu) = slice.cpu_micros();
        self.rounds.entry((mode.name(), server)).or_default().push((slice.rate(), server_cpu, client_cpu));
    }

    /// The median over the rounds of one server's rate over another's in the same round.
    fn ratio(&self, mode: &str, of: &'static str, over: &'static str) -> Option<f64> {
        let of = self.rounds.get(&(mode.to_owned(), of))?;
        let over = self.rounds.get(&(mode.to_owned(), over))?;
        Some(median(of.iter().zip(over).map(|(of, over)| of.0 / over.0).collect()))
    }

    fn ratios(&self) -> Vec<(String, f64)> {
        let mut ratios = Vec::new();
        for mode in ["unary_1", "unary_64", "unary_512", "stream"] {
            ratios.extend(self.ratio(mode, "gateway", "echo").map(|ratio| (mode.to_owned(), ratio)));
        }
        ratios.extend(self.ratio("unary_64", "gateway", "floor").map(|ratio| ("unary_64_of_floor".to_owned(), ratio)));
        ratios
    }

    /// Prints everything.
    pub(crate) fn print(&self, format: Format, rounds: u32, slice_ms: u64) {
        let rows: Vec<_> = self
            .rounds
            .iter()
            .map(|((mode, server), rounds)| {
                let middle = |pick: fn(&Round) -> f64| median(rounds.iter().map(pick).collect());
                (mode, server, middle(|round| round.0), middle(|round| round.1), middle(|round| round.2))
            })
            .collect();
        match format {
            Format::Json => {
                let ratios: serde_json::Map<String, serde_json::Value> =
                    self.ratios().into_iter().map(|(name, ratio)| (name, round3(ratio).into())).collect();
                let absolute: Vec<_> = rows
                    .iter()
                    .map(|(mode, server, rate, server_cpu, client_cpu)| {
                        serde_json::json!({
                            "mode": mode, "server": server, "per_second": rate.round(),
                            "server_cpu_us": round3(*server_cpu), "client_cpu_us": round3(*client_cpu),
                        })
                    })
                    .collect();
                let document = serde_json::json!({
                    "ratios": ratios, "rounds": rounds, "slice_ms": slice_ms, "for_orientation": absolute,
                });
                println!("{document:#}");
            }
            Format::Table => {
                let mut table = comfy_table::Table::new();
                table.load_style(comfy_table::presets::NOTHING);
                table.set_header(["MODE", "SERVER", "PER SECOND", "SERVER CPU µs", "CLIENT CPU µs"]);
                for (mode, server, rate, server_cpu, client_cpu) in rows {
                    table.add_row([
                        mode.clone(),
                        (*server).to_owned(),
                        format!("{rate:.0}"),
                        format!("{server_cpu:.1}"),
                        format!("{client_cpu:.1}"),
                    ]);
                }
                println!("{table}\n");
                for (name, ratio) in self.ratios() {
                    println!("{name:<18} {ratio:.3}");
                }
            }
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

fn round3(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
