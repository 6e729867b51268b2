// SPDX-License-Identifier: MIT

//! [`Scenario`]: what happens to a server while others want to be served.

use super::WORKERS;
use crate::failure::Result;
use crate::load::clients_that_fit;
use crate::units::thousands;
use serde::Serialize;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scenario {
    /// Nothing.
    Alone,
    /// So many clients connect, are answered once, and then say nothing.
    Stalled(u64),
    /// Halfway through, the handler of one client is ended by SIGABRT.
    Crash,
    /// So many connections are there before the first request.
    Connections(u64),
}

/// All, with as many connections as descriptors allow.
pub fn all(connections: &[u64]) -> Result<Vec<Scenario>> {
    let mut scenarios = vec![
        Scenario::Alone,
        Scenario::Stalled(1),
        Scenario::Stalled(WORKERS),
        Scenario::Crash,
    ];
    for &wanted in connections {
        let scenario = Scenario::Connections(clients_that_fit(wanted)?);
        if !scenarios.contains(&scenario) {
            scenarios.push(scenario);
        }
    }
    Ok(scenarios)
}

impl Scenario {
    /// A few words, for the head of a column.
    pub fn title(self) -> String {
        match self {
            Self::Alone => "alone".to_owned(),
            Self::Stalled(count) => format!("{count} stalled"),
            Self::Crash => "a crash".to_owned(),
            Self::Connections(count) => thousands(count),
        }
    }

    /// A sentence.
    pub fn text(self) -> String {
        match self {
            Self::Alone => "Alone: nothing else happens.".to_owned(),
            Self::Stalled(1) => {
                "1 stalled: a client has connected before, and says nothing.".to_owned()
            }
            Self::Stalled(count) => format!("{count} stalled: as many as the pool has threads."),
            Self::Crash => {
                "A crash: halfway through, SIGABRT ends the handler of one client more.".to_owned()
            }
            Self::Connections(count) => {
                format!(
                    "{}: so many clients are connected before the first one asks.",
                    thousands(count)
                )
            }
        }
    }

    /// Clients that stall.
    pub fn stalled(self) -> u64 {
        match self {
            Self::Stalled(count) => count,
            _ => 0,
        }
    }

    /// Clients of the load, if there usually are `clients`.
    pub fn connections(self, clients: u64) -> u64 {
        match self {
            Self::Connections(count) => count,
            Self::Crash => clients + 1,
            _ => clients,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_misfortune_is_there_and_none_twice() {
        let titles = |connections: &[u64]| -> Vec<String> {
            let scenarios = all(connections).unwrap();
            scenarios.into_iter().map(Scenario::title).collect()
        };
        let expected = ["alone", "1 stalled", "4 stalled", "a crash", "10", "200"];
        assert_eq!(titles(&[10, 200, 10]), expected);
    }
}
