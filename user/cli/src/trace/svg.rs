// SPDX-License-Identifier: MIT

//! A timeline as a picture: a lane for each process, interrupt and bottom half, bars for what takes
//! time, marks for what happens, and arrows from lane to lane. Dark on white, in a font that is everywhere.

use super::text::title;
use super::timeline::{Activity, Timeline};
use crate::units::micros;
use svg::node::element::{Definitions, Group, Line, Marker, Path, Rectangle, Text, Title};
use svg::Document;

const WIDTH: f64 = 1200.0;
/// Where time begins: right of the names of the lanes.
const LEFT: f64 = 150.0;
/// Where it ends; labels of the last steps go to the left.
const RIGHT: f64 = WIDTH - 40.0;
const TOP: f64 = 60.0;
/// Of a bar.
const BAR: f64 = 16.0;
/// Of a line of labels.
const ROW: f64 = 15.0;
/// About the width of a letter.
const LETTER: f64 = 6.4;

/// The picture, as the text of an SVG file.
pub fn draw(timeline: &Timeline) -> String {
    let scale = Scale::of(timeline);
    let labels = place_labels(timeline, &scale);
    // Each lane is as high as its labels need.
    let mut tops = vec![TOP];
    for rows in &labels.rows {
        let last = tops[tops.len() - 1];
        tops.push(last + BAR + 22.0 + ROW * *rows as f64);
    }
    let bottom = tops[tops.len() - 1];
    let height = bottom + 50.0;
    let mut document = Document::new()
        .set("viewBox", (0.0, 0.0, WIDTH, height))
        .set("width", WIDTH)
        .set("height", height)
        .set("font-family", "DejaVu Sans, Helvetica, Arial, sans-serif")
        .set("font-size", 11)
        .add(Title::new(title(timeline)))
        .add(arrow_head())
        .add(rectangle(0.0, 0.0, WIDTH, height, "#ffffff"))
        .add(
            text(20.0, 28.0, &title(timeline))
                .set("font-size", 16)
                .set("font-weight", "bold"),
        )
        .add(axis(&scale, bottom));
    for (lane, name) in timeline.lanes.iter().enumerate() {
        let y = tops[lane];
        if lane % 2 == 0 {
            document = document.add(rectangle(
                0.0,
                y - 8.0,
                WIDTH,
                tops[lane + 1] - y,
                "#f4f5f7",
            ));
        }
        document = document.add(text(12.0, y + 12.0, name).set("font-weight", "bold"));
    }
    for span in &timeline.spans {
        let (from, to) = (scale.x(span.from_ns), scale.x(span.to_ns));
        let y = tops[span.lane];
        let bar = match span.what {
            Activity::Call => rectangle(from, y, to - from, BAR, "#8ec5f0"),
            // Hatched would be prettier, and harder to see when it is narrow.
            Activity::Sleep => rectangle(from, y + 3.0, to - from, BAR - 6.0, "#ffffff")
                .set("stroke", "#5b6b7a")
                .set("stroke-dasharray", "3 2"),
            Activity::BottomHalf => rectangle(from, y, to - from, BAR, "#f5b971"),
        };
        document = document.add(bar);
    }
    let mut arrows = Group::new();
    for step in &timeline.steps {
        let Some(cause) = step.cause.map(|place| &timeline.steps[place]) else {
            continue;
        };
        let is_down = step.lane > cause.lane;
        let y1 = tops[cause.lane] + if is_down { BAR } else { 0.0 };
        let y2 = tops[step.lane] + if is_down { 0.0 } else { BAR };
        arrows = arrows.add(arrow(scale.x(cause.at_ns), y1, scale.x(step.at_ns), y2));
    }
    document = document.add(arrows);
    for (step, label) in timeline.steps.iter().zip(&labels.places) {
        let (x, y) = (scale.x(step.at_ns), tops[step.lane]);
        let label_y = y + BAR + 14.0 + ROW * label.row as f64;
        document = document
            .add(line(x, y - 3.0, x, label_y - 9.0, "#1b2733"))
            .add(
                text(label.x, label_y, &label.text)
                    .set("text-anchor", label.anchor)
                    // A white edge, so that lines below do not disturb.
                    .set("paint-order", "stroke")
                    .set("stroke", "#ffffff")
                    .set("stroke-width", 3),
            );
    }
    document.to_string() + "\n"
}

/// From time to place.
struct Scale {
    total_ns: f64,
}

impl Scale {
    fn of(timeline: &Timeline) -> Self {
        Self {
            total_ns: timeline.total_ns.max(1) as f64,
        }
    }

    fn x(&self, at_ns: u64) -> f64 {
        let x = LEFT + (RIGHT - LEFT) * at_ns as f64 / self.total_ns;
        (x * 10.0).round() / 10.0
    }
}

/// Where the labels of the steps are, and how many rows each lane has of them.
struct Labels {
    places: Vec<Label>,
    rows: Vec<usize>,
}

struct Label {
    text: String,
    x: f64,
    anchor: &'static str,
    row: usize,
}

/// Each label stands right of the line from its step (left of it, where the picture ends), in the first row of
/// the lane where it covers no other.
fn place_labels(timeline: &Timeline, scale: &Scale) -> Labels {
    // For each lane, the parts of each row that are taken.
    let mut taken: Vec<Vec<Vec<(f64, f64)>>> = vec![Vec::new(); timeline.lanes.len()];
    let mut places = Vec::new();
    for step in &timeline.steps {
        let text = format!("{} {}", micros(step.at_ns), step.what);
        let (x, width) = (scale.x(step.at_ns), text.chars().count() as f64 * LETTER);
        let (x, anchor) = if x + width < WIDTH {
            (x + 3.0, "start")
        } else {
            (x - 3.0, "end")
        };
        let row = 0;
        places.push(Label {
            text,
            x,
            anchor,
            row,
        });
    }
    // In the order in which no line crosses the words of a label above: those on the right of their
    // lines from the last to the first, the others from the first to the last.
    let (right, left): (Vec<_>, Vec<_>) =
        (0..places.len()).partition(|&place| places[place].anchor == "start");
    for place in right.into_iter().rev().chain(left) {
        let label = &mut places[place];
        let width = label.text.chars().count() as f64 * LETTER + 4.0;
        let (from, to) = match label.anchor {
            "start" => (label.x - 4.0, label.x + width),
            _ => (label.x - width, label.x + 4.0),
        };
        let rows = &mut taken[timeline.steps[place].lane];
        let is_free = |row: &Vec<(f64, f64)>| row.iter().all(|part| to < part.0 || part.1 < from);
        label.row = rows.iter().position(is_free).unwrap_or(rows.len());
        if label.row == rows.len() {
            rows.push(Vec::new());
        }
        rows[label.row].push((from, to));
    }
    let rows = taken.iter().map(Vec::len).collect();
    Labels { places, rows }
}

/// A line of time below the lanes, with about ten round marks.
fn axis(scale: &Scale, y: f64) -> Group {
    let mut group = Group::new().add(line(LEFT, y, RIGHT, y, "#1b2733"));
    let step_ns = round_step(scale.total_ns / 10.0);
    let mut at_ns = 0;
    while at_ns as f64 <= scale.total_ns {
        let x = scale.x(at_ns);
        let name = format!("{} us", at_ns as f64 / 1000.0);
        group = group
            .add(line(x, TOP - 12.0, x, y, "#d5dae0"))
            .add(line(x, y, x, y + 5.0, "#1b2733"))
            .add(text(x, y + 19.0, &name).set("text-anchor", "middle"));
        at_ns += step_ns;
    }
    group
}

/// 1, 2 or 5 times a power of ten, at least `step_ns`.
fn round_step(step_ns: f64) -> u64 {
    let mut power = 1;
    loop {
        for digit in [1, 2, 5] {
            if (digit * power) as f64 >= step_ns {
                return digit * power;
            }
        }
        power *= 10;
    }
}

fn text(x: f64, y: f64, words: &str) -> Text {
    Text::new(words)
        .set("x", x)
        .set("y", y)
        .set("fill", "#1b2733")
}

fn rectangle(x: f64, y: f64, width: f64, height: f64, fill: &str) -> Rectangle {
    // One that takes no time is still there.
    Rectangle::new()
        .set("x", x)
        .set("y", y)
        .set("width", (width.max(1.0) * 10.0).round() / 10.0)
        .set("height", height)
        .set("fill", fill)
}

fn line(x1: f64, y1: f64, x2: f64, y2: f64, stroke: &str) -> Line {
    Line::new()
        .set("x1", x1)
        .set("y1", y1)
        .set("x2", x2)
        .set("y2", y2)
        .set("stroke", stroke)
}

fn arrow(x1: f64, y1: f64, x2: f64, y2: f64) -> Line {
    line(x1, y1, x2, y2, "#c0392b")
        .set("stroke-width", 1.5)
        .set("marker-end", "url(#head)")
}

fn arrow_head() -> Definitions {
    let triangle = Path::new()
        .set("d", "M0,0 L6,3 L0,6 z")
        .set("fill", "#c0392b");
    let marker = Marker::new()
        .set("id", "head")
        .set("markerWidth", 6)
        .set("markerHeight", 6)
        .set("refX", 5.5)
        .set("refY", 3)
        .set("orient", "auto")
        .add(triangle);
    Definitions::new().add(marker)
}

#[cfg(test)]
mod tests {
    use super::super::follow::Trace;
    use super::super::sample;
    use super::*;

    fn timeline() -> Timeline {
        Trace::new(&sample::events()).timeline(4).unwrap()
    }

    #[test]
    fn each_lane_and_each_step_is_in_the_picture() {
        let (picture, timeline) = (draw(&timeline()), timeline());
        for lane in &timeline.lanes {
            assert!(picture.contains(lane.as_str()), "{lane}");
        }
        for step in &timeline.steps {
            let label = format!("{} {}", micros(step.at_ns), step.what);
            assert!(picture.contains(&label), "{label}");
        }
        assert_eq!(picture.matches("url(#head)").count(), 4, "arrows");
        assert!(!picture.contains("NaN"));
    }

    #[test]
    fn labels_of_a_row_do_not_touch_each_other() {
        let timeline = timeline();
        let labels = place_labels(&timeline, &Scale::of(&timeline));
        for (n, one) in labels.places.iter().enumerate() {
            for (m, other) in labels.places.iter().enumerate().skip(n + 1) {
                let lanes = (timeline.steps[n].lane, timeline.steps[m].lane);
                if lanes.0 == lanes.1 && one.row == other.row && one.anchor == other.anchor {
                    let width = one.text.len().min(other.text.len()) as f64 * LETTER;
                    assert!(
                        (one.x - other.x).abs() > width,
                        "{} {}",
                        one.text,
                        other.text
                    );
                }
            }
        }
    }

    #[test]
    fn marks_of_the_axis_are_round() {
        let steps = [0.1, 1.0, 1.5, 4.0, 51.0, 1234.0].map(round_step);
        assert_eq!(steps, [1, 1, 2, 5, 100, 2000]);
    }
}
