// SPDX-License-Identifier: MIT

//! `kpipe lesson`: the ideas of a lecture on I/O, pipes and sockets, each as a short program to watch and to
//! read. The programs are the crate `kpipe-lessons`.

use crate::failure::{Failure, Result};
use crate::terminal::{self, Align, Table};
use clap::Parser;
use kpipe_lessons::proof::{Report, Run};
use kpipe_lessons::{Fact, Lesson, Over, LESSONS};
use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;

/// Watch one idea of a lecture on I/O, pipes and sockets, and read the program that shows it.
///
/// Without a name: the list. A lesson makes real system calls in real processes and prints what each
/// returned and who slept where (seen in /proc), over the device and over pipes or sockets, and the file
/// in which to read it.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Name or row
    lesson: Option<String>,

    /// Only over this: device, pipe, unix, tcp, tcp6 or udp, as far as the lesson has it
    #[arg(short, long, requires = "lesson")]
    over: Option<Over>,

    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kpipe lesson                     all lessons
  kpipe lesson bounded             a full queue blocks its writer, an empty one its reader
  kpipe lesson 11 --over pipe      the lesson of row 11 of docs/concepts.md, on a pipe only";

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let Some(name) = &args.lesson else {
        return list(args.json);
    };
    let lesson = Lesson::find(name).ok_or_else(|| {
        Failure::Differs(format!(
            "{name}: no lesson of this name or row: `kpipe lesson` lists all"
        ))
    })?;
    let overs = match args.over {
        None => lesson.over.to_vec(),
        Some(over) if lesson.over.contains(&over) => vec![over],
        Some(over) => return Err(Failure::Differs(no_such_over(lesson, over))),
    };
    let mut report = Report {
        row: lesson.row,
        name: lesson.name.to_owned(),
        source: lesson.source.to_owned(),
        runs: Vec::new(),
    };
    if !args.json {
        terminal::print(&format!(
            "Lesson {} ({}): {}\nRead it in {}; below it: {}.\n",
            lesson.row, lesson.name, lesson.idea, lesson.source, lesson.below
        ))?;
    }
    for over in overs {
        match over.check() {
            Ok(()) => {}
            // What this machine has can be watched all the same.
            Err(error) if args.over.is_none() => {
                eprintln!("kpipe: left out, over the {over}: {error}");
                continue;
            }
            Err(error) => return Err(Failure::Differs(error.to_string())),
        }
        report.runs.push(play(lesson, over, args.json)?);
    }
    if report.runs.is_empty() {
        let nothing = "this machine has nothing that the lesson can be played on (qemu/vm has)";
        return Err(Failure::Differs(nothing.to_owned()));
    }
    if args.json {
        print_json(&report)?;
    }
    Ok(())
}

/// Plays it; what is seen is shown at once unless it is for a script.
fn play(lesson: &Lesson, over: Over, json: bool) -> Result<Run> {
    if !json {
        terminal::print(&format!(
            "\nover {}\n{:>10} {:>10}  {:<8} what\n",
            over.explained(),
            "at ms",
            "took ms",
            "who"
        ))?;
    }
    let facts = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&facts);
    lesson
        .play(over, move |fact| {
            if !json {
                // Who ended the reading has seen enough; the lesson itself goes on.
                let _ = writeln!(std::io::stdout(), "{}", line_of(fact));
            }
            seen.borrow_mut().push(fact.clone());
        })
        .map_err(|error| {
            Failure::Differs(format!("lesson {}, over {over}: {error}", lesson.name))
        })?;
    Ok(Run {
        over: over.name().to_owned(),
        facts: facts.take(),
    })
}

fn line_of(fact: &Fact) -> String {
    if fact.who == "==" {
        return format!("== {}", fact.what);
    }
    let millis = |us: u64| format!("{}.{:03}", us / 1000, us % 1000);
    format!(
        "{:>10} {:>10}  {:<8} {}",
        millis(fact.at_us),
        fact.took_us.map(millis).unwrap_or_default(),
        fact.who,
        fact.what
    )
}

fn no_such_over(lesson: &Lesson, over: Over) -> String {
    let has: Vec<_> = lesson.over.iter().map(|over| over.name()).collect();
    format!(
        "lesson {} has nothing over {over}: it has {}",
        lesson.name,
        has.join(", ")
    )
}

fn list(json: bool) -> Result<()> {
    if json {
        let all = LESSONS.iter().map(|lesson| {
            serde_json::json!({
                "row": lesson.row, "name": lesson.name, "idea": lesson.idea, "source": lesson.source,
                "over": lesson.over.iter().map(|over| over.name()).collect::<Vec<_>>(),
            })
        });
        return print_json(&all.collect::<Vec<_>>());
    }
    let mut table = Table::new(&[
        ("row", Align::Right),
        ("lesson", Align::Left),
        ("idea", Align::Left),
    ]);
    for lesson in LESSONS {
        table.row([
            lesson.row.to_string(),
            lesson.name.to_owned(),
            lesson.idea.to_owned(),
        ]);
    }
    terminal::print(
        &(table.render()
            + "\n`kpipe lesson NAME` shows one. The rows are those of docs/concepts.md.\n"),
    )
}

fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string(value).map_err(|error| Failure::Differs(error.to_string()))?;
    terminal::print(&(text + "\n"))
}
