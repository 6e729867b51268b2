// SPDX-License-Identifier: MIT

//! The figures of `kpipe compare servers` as tables: one for each scenario, and one of all.

use super::scenario::Scenario;
use super::{Args, Cell, FEW_REQUESTS};
use crate::load::short_time;
use crate::terminal::{Align, Table};
use crate::units::{plural, short_bytes, thousands};
use kpipe_server::Model;

/// For people.
pub fn text(args: &Args, models: &[Model], scenarios: &[Scenario], cells: &[Cell]) -> String {
    let of = |scenario: Scenario| cells.iter().filter(move |cell| cell.scenario == scenario);
    let tables: String = scenarios
        .iter()
        .map(|&scenario| format!("{}\n\n{}\n", scenario.text(), table(of(scenario))))
        .collect::<Vec<_>>()
        .concat();
    format!(
        "{} with {} of 64 bytes each; of very many {} each. Counted are the clients of the load alone.\n\n\
         {tables}Answered of what was asked, and 99 of 100 answers came within:\n\n{}",
        plural(args.clients, "client"),
        plural(args.requests, "request"),
        FEW_REQUESTS,
        summary(models, scenarios, cells),
    )
}

fn table<'a>(cells: impl Iterator<Item = &'a Cell>) -> String {
    let mut table = Table::new(&[
        ("model", Align::Left),
        ("answered", Align::Right),
        ("per second", Align::Right),
        ("p50", Align::Right),
        ("p99", Align::Right),
        ("p99.9", Align::Right),
        ("tasks", Align::Right),
        ("memory", Align::Right),
        ("", Align::Left),
    ]);
    for cell in cells {
        let figures = &cell.figures;
        let times = figures.latency_ns;
        table.row([
            version(cell.model),
            percent(cell),
            thousands(figures.per_second.round() as u64),
            short_time(times.p50),
            short_time(times.p99),
            short_time(times.p99_9),
            format!("+{}", thousands(cell.peak.tasks)),
            format!("+{}", short_bytes(cell.peak.memory_bytes)),
            troubles(cell),
        ]);
    }
    table.render()
}

/// A row for each model, a column for each scenario.
fn summary(models: &[Model], scenarios: &[Scenario], cells: &[Cell]) -> String {
    let titles: Vec<String> = scenarios.iter().map(|scenario| scenario.title()).collect();
    let mut head = vec![("model", Align::Left)];
    head.extend(titles.iter().map(|title| (title.as_str(), Align::Right)));
    let mut table = Table::new(&head);
    for model in models {
        let mine = cells.iter().filter(|cell| cell.model == model.name());
        let shown = mine.map(|cell| match cell.figures.answered {
            0 => percent(cell),
            _ => format!(
                "{} {}",
                percent(cell),
                short_time(cell.figures.latency_ns.p99)
            ),
        });
        table.row([version(model.name())].into_iter().chain(shown));
    }
    table.render()
}

fn version(name: &str) -> String {
    let place = Model::ALL.iter().position(|model| model.name() == name);
    format!("v{} {name}", place.map_or(0, |place| place + 1))
}

/// Rounded down: all means all.
fn percent(cell: &Cell) -> String {
    let asked = cell.figures.requests.max(1);
    format!("{} %", cell.figures.answered * 100 / asked)
}

fn troubles(cell: &Cell) -> String {
    let failures = cell.figures.failures.iter();
    let mut troubles: Vec<String> = failures
        .map(|(why, count)| format!("{}: {why}", thousands(*count)))
        .collect();
    if !cell.server_survived {
        troubles.push("the server is gone".to_owned());
    }
    troubles.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::server::Census;
    use crate::load::Outcome;
    use std::time::Duration;

    fn cell(model: Model, answers: u64, server_survived: bool) -> Cell {
        let mut outcome = Outcome::new(2, 100);
        outcome.begin();
        for _ in 0..answers {
            outcome.answered(Duration::from_millis(2));
        }
        if answers < 200 {
            outcome.failed("connection closed".to_owned());
        }
        Cell {
            model: model.name(),
            scenario: Scenario::Crash,
            figures: outcome.figures(),
            server_survived,
            peak: Census {
                tasks: 7,
                memory_bytes: 4096,
            },
        }
    }

    #[test]
    fn a_row_says_what_the_others_saw() {
        let cells = [
            cell(Model::Fork, 200, true),
            cell(Model::Thread, 199, false),
        ];
        let text = table(cells.iter());
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[1].contains("v3 fork") && lines[1].contains("100 %"),
            "{text}"
        );
        assert!(
            lines[1].contains("+7") && lines[1].contains("+4K"),
            "{text}"
        );
        // Rounded down, though 199 of 200 are nearly all.
        assert!(
            lines[2].contains("v4 thread") && lines[2].contains("99 %"),
            "{text}"
        );
        assert!(
            lines[2].ends_with("1: connection closed; the server is gone"),
            "{text}"
        );
    }

    #[test]
    fn the_summary_has_a_column_for_each_scenario() {
        let cells = [cell(Model::Fork, 200, true), cell(Model::Thread, 0, false)];
        let text = summary(&[Model::Fork, Model::Thread], &[Scenario::Crash], &cells);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert!(lines[0].ends_with("a crash"), "{text}");
        assert!(lines[1].ends_with("100 % 2.00 ms"), "{text}");
        assert!(lines[2].ends_with("0 %"), "{text}");
    }
}
