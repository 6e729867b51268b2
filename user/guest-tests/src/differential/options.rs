// SPDX-License-Identifier: MIT

//! The command line of `kpipe-tests differential`.

use std::time::Duration;

use super::op::Op;
use super::side::Order;
use super::subjects::Kind;
use super::text;

/// What is asked for.
pub struct Options {
    /// How many sequences.
    pub sequences: u64,
    /// Which ones.
    pub seed: u64,
    /// No sequence is begun after this time.
    pub limit: Duration,
    /// Who runs when several processes could.
    pub order: Order,
    /// What is compared.
    pub subjects: Kind,
    /// Only this one.
    pub replay: Option<Vec<Op>>,
    /// Is there somebody who wants to see how far it is?
    pub shows_progress: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sequences: 10_000,
            seed: 1,
            limit: Duration::MAX,
            order: Order::OneByOne,
            subjects: Kind::Named,
            replay: None,
            shows_progress: false,
        }
    }
}

impl Options {
    /// From the words behind the subcommand.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            shows_progress: true,
            ..Self::default()
        };
        while let Some(name) = arguments.next() {
            if name == "--spread" {
                options.order = Order::Spread;
                continue;
            }
            let value = arguments
                .next()
                .ok_or(format!("{name}: a value is missing"))?;
            let number = || {
                value
                    .parse::<u64>()
                    .map_err(|e| format!("{name} {value}: {e}"))
            };
            match name.as_str() {
                "--sequences" => options.sequences = number()?,
                "--seed" => options.seed = number()?,
                "--seconds" => options.limit = Duration::from_secs(number()?),
                "--subjects" => {
                    options.subjects = match value.as_str() {
                        "fifo" => Kind::Named,
                        "pair" => Kind::Anonymous,
                        _ => return Err(format!("{name} {value}? fifo or pair")),
                    }
                }
                "--replay" => {
                    // A file, or the sequence itself.
                    let ops = std::fs::read_to_string(&value).unwrap_or(value);
                    options.replay = Some(text::parse(&ops)?);
                }
                _ => {
                    return Err(format!(
                    "{name}? there are --sequences N, --seed S, --seconds T, --spread, --subjects fifo|pair and --replay OPS|FILE"
                ))
                }
            }
        }
        Ok(options)
    }
}
