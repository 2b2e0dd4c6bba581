//! Plots as SVG, by hand: lines over time, curves over percentiles, bars beside a budget.
//!
//! Every plot says what its axes are and in which unit. Colours are told apart by those who see
//! fewer of them (Okabe and Ito), and lines carry their names where they end.

use std::fmt::Write;

/// Colours in their order.
pub const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
/// What went wrong.
pub const RED: &str = "#c0001a";

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 44.0;

/// A line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// Its colour.
    pub colour: &'static str,
    /// Whether it is drawn with gaps.
    pub dashed: bool,
    /// Its points.
    pub points: Vec<(f64, f64)>,
}

/// Lines over a common axis.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    /// What the plot shows.
    pub title: String,
    /// What the lower axis is, with its unit.
    pub x: String,
    /// What the left axis is, with its unit.
    pub y: String,
    /// Places of the lower axis that carry a word; none for round numbers.
    pub x_ticks: Vec<(f64, String)>,
    /// Whether the left axis is logarithmic.
    pub logarithmic: bool,
    /// The lines.
    pub lines: Vec<Line>,
    /// Moments that are marked.
    pub events: Vec<(f64, String)>,
}

/// An axis: values to places.
struct Axis {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
    logarithmic: bool,
}

impl Axis {
    fn place(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.logarithmic { value.max(1e-9).log10() } else { value };
        let (from, to) = (scale(self.from), scale(self.to));
        let share = (scale(value) - from) / (to - from).max(1e-9);
        self.start + share.clamp(0.0, 1.0) * (self.end - self.start)
    }
}

impl Lines {
    /// The plot.
    #[must_use]
    pub fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
        let x_from = points().map(|point| point.0).fold(f64::INFINITY, f64::min);
        let x_from = if self.x_ticks.is_empty() { 0.0 } else { x_from };
        let x_to = largest(&mut points().map(|point| point.0)).max(x_from + 1.0);
        let y_to = largest(&mut points().map(|point| point.1)).max(1e-3);
        let smallest = points().map(|p| p.1).filter(|y| *y > 0.0).fold(y_to, f64::min);
        let y_ticks = if self.logarithmic { decades(smallest, y_to) } else { round(y_to) };
        let first = |ticks: &[f64]| ticks.first().copied().unwrap_or(0.0);
        let last = |ticks: &[f64]| ticks.last().copied().unwrap_or(1.0);
        let x =
            Axis { from: x_from, to: x_to, start: LEFT, end: WIDTH - RIGHT, logarithmic: false };
        let y = Axis {
            from: first(&y_ticks),
            to: last(&y_ticks),
            start: HEIGHT - BOTTOM,
            end: TOP,
            logarithmic: self.logarithmic,
        };
        let mut svg = open(HEIGHT, &self.title);
        for tick in &y_ticks {
            grid_line(&mut svg, y.place(*tick), &number(*tick));
        }
        let x_ticks = if self.x_ticks.is_empty() {
            let ticks = round(x_to).into_iter().filter(|tick| *tick <= x_to);
            ticks.map(|tick| (tick, number(tick))).collect()
        } else {
            self.x_ticks.clone()
        };
        for (at, words) in &x_ticks {
            let at = x.place(*at);
            text(&mut svg, (at, HEIGHT - BOTTOM + 16.0), "middle", "tick", words);
        }
        let middle = f64::midpoint(LEFT, WIDTH - RIGHT);
        text(&mut svg, (middle, HEIGHT - 8.0), "middle", "axis", &self.x);
        text(&mut svg, (LEFT, TOP - 10.0), "start", "axis", &self.y);
        for (at, words) in &self.events {
            let at = x.place(*at);
            let _ = write!(
                svg,
                "<line x1='{at:.1}' y1='{TOP}' x2='{at:.1}' y2='{:.1}' class='event'/>",
                HEIGHT - BOTTOM
            );
            text(&mut svg, (at + 3.0, TOP + 9.0), "start", "tick", words);
        }
        self.draw(&mut svg, &x, &y);
        svg + "</svg>"
    }

    fn draw(&self, svg: &mut String, x: &Axis, y: &Axis) {
        let mut names: Vec<(f64, &Line)> = Vec::new();
        for line in &self.lines {
            let path = line.points.iter().fold(String::new(), |mut path, (at, value)| {
                let _ = write!(path, "{:.1},{:.1} ", x.place(*at), y.place(*value));
                path
            });
            let dashes = if line.dashed { " stroke-dasharray='5 4'" } else { "" };
            let _ = write!(
                svg,
                "<polyline points='{path}' fill='none' stroke='{}' stroke-width='1.8'{dashes}/>",
                line.colour
            );
            if let Some((_, value)) = line.points.last() {
                names.push((y.place(*value), line));
            }
        }
        // Names stand beside the ends of their lines, pushed apart where those are close.
        names.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut lowest = TOP - 8.0;
        for (at, line) in names {
            lowest = (lowest + 14.0).max(at + 4.0);
            let dashes = if line.dashed { " stroke-dasharray='5 4'" } else { "" };
            let from = WIDTH - RIGHT + 6.0;
            let _ = write!(
                svg,
                "<line x1='{from}' y1='{0:.1}' x2='{1}' y2='{0:.1}' stroke='{2}' \
                 stroke-width='2'{dashes}/>",
                lowest - 4.0,
                from + 18.0,
                line.colour
            );
            text(svg, (from + 23.0, lowest), "start", "tick", &line.name);
        }
    }
}

/// A bar, and what it may be at most.
#[derive(Clone, Debug)]
pub struct Bar {
    /// What it is of.
    pub name: String,
    /// Its length.
    pub value: f64,
    /// What it may be at most, where something is said.
    pub most: Option<f64>,
}

/// Bars with their values and budgets, on a common axis in milliseconds.
#[must_use]
pub fn bars(title: &str, axis: &str, all: &[Bar]) -> String {
    const ROW: f64 = 22.0;
    const NAMES: f64 = 130.0;
    let largest = all.iter().flat_map(|bar| [Some(bar.value), bar.most]).flatten();
    let ticks = round(largest.fold(1e-3, f64::max));
    let rows = all.iter().fold(0.0, |sum, _| sum + ROW);
    let height = TOP + rows + BOTTOM;
    let x = Axis {
        from: 0.0,
        to: ticks.last().copied().unwrap_or(1.0),
        start: NAMES,
        end: WIDTH - RIGHT,
        logarithmic: false,
    };
    let mut svg = open(height, title);
    for tick in &ticks {
        let at = x.place(*tick);
        let _ = write!(
            svg,
            "<line x1='{at:.1}' y1='{TOP}' x2='{at:.1}' y2='{:.1}' class='grid'/>",
            TOP + rows
        );
        text(&mut svg, (at, TOP + rows + 16.0), "middle", "tick", &number(*tick));
    }
    text(&mut svg, (NAMES, height - 8.0), "start", "axis", axis);
    let mut top = TOP;
    for bar in all {
        let missed = bar.most.is_some_and(|most| bar.value > most);
        let colour = if missed { RED } else { "#0072b2" };
        let end = x.place(bar.value.max(0.0));
        text(&mut svg, (NAMES - 8.0, top + 15.0), "end", "tick", &bar.name);
        let _ = write!(
            svg,
            "<rect x='{NAMES}' y='{:.1}' width='{:.1}' height='{:.1}' fill='{colour}'/>",
            top + 4.0,
            (end - NAMES).max(1.0),
            ROW - 8.0
        );
        let mut words = format!("{} ms", figure(bar.value));
        if let Some(most) = bar.most {
            let at = x.place(most);
            let _ = write!(
                svg,
                "<line x1='{at:.1}' y1='{:.1}' x2='{at:.1}' y2='{:.1}' stroke='#000' \
                 stroke-width='2'/>",
                top + 1.0,
                top + ROW - 1.0
            );
            let _ = write!(words, " of {most}{}", if missed { ": MISSED" } else { "" });
        }
        text(&mut svg, (WIDTH - RIGHT + 10.0, top + 15.0), "start", "tick", &words);
        top += ROW;
    }
    svg + "</svg>"
}

fn open(height: f64, title: &str) -> String {
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' role='img' \
         aria-label='{}'>",
        escape(title)
    )
}

fn grid_line(svg: &mut String, at: f64, words: &str) {
    let end = WIDTH - RIGHT;
    // Writing into a string cannot fail, here and everywhere in this file.
    let _ = write!(svg, "<line x1='{LEFT}' y1='{at:.1}' x2='{end}' y2='{at:.1}' class='grid'/>");
    text(svg, (LEFT - 6.0, at + 4.0), "end", "tick", words);
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, class: &str, words: &str) {
    let _ = write!(
        svg,
        "<text x='{x:.1}' y='{y:.1}' text-anchor='{anchor}' class='{class}'>{}</text>",
        escape(words)
    );
}

/// Four to eight round numbers from 0 to at least `to`.
fn round(to: f64) -> Vec<f64> {
    let rough = to / 5.0;
    let decade = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * decade);
    let step = step.into_iter().find(|step| *step >= rough * 0.999).unwrap_or(decade * 10.0);
    let mut ticks = vec![0.0];
    let mut last = 0.0;
    while last < to * 0.999 && ticks.len() < 12 {
        last += step;
        ticks.push(last);
    }
    ticks
}

/// Powers of ten, with their doubles and fives where those are few, around two values.
fn decades(from: f64, to: f64) -> Vec<f64> {
    let all =
        (-6..=6).flat_map(|power| [1.0, 2.0, 5.0].map(|factor: f64| factor * 10f64.powi(power)));
    let all: Vec<f64> = all.collect();
    let below = all.iter().rposition(|tick| *tick <= from).unwrap_or(0);
    let above = all.iter().position(|tick| *tick >= to).unwrap_or(all.len());
    all.get(below..=above.max(below + 1)).unwrap_or_default().to_vec()
}

/// A number of an axis: `0.05`, `20`, `1500`.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() || text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// A figure with three digits that say something: `0.082`, `1.53`, `120`.
#[must_use]
pub fn figure(value: f64) -> String {
    match value.abs() {
        size if size < 1.0 => format!("{value:.3}"),
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// Words that may stand anywhere in HTML and SVG.
#[must_use]
pub fn escape(words: &str) -> String {
    words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_hold_the_largest_value() {
        for (to, first, last) in
            [(5.0, 1.0, 5.0), (310.0, 100.0, 400.0), (0.07, 0.02, 0.08), (1.0, 0.2, 1.0)]
        {
            let ticks = round(to);
            assert!((ticks[1] - first).abs() < 1e-9, "{to}: {ticks:?}");
            assert!((ticks[ticks.len() - 1] - last).abs() < 1e-9, "{to}: {ticks:?}");
        }
        assert_eq!(decades(0.07, 3.0), [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0]);
        assert_eq!(
            (number(0.05), number(20.0), number(0.0)),
            ("0.05".into(), "20".into(), "0".into())
        );
    }

    #[test]
    fn what_misses_its_budget_is_marked() {
        let bar = |value| Bar { name: "p99 <a>".to_owned(), value, most: Some(5.0) };
        let held = bars("t", "ms", &[bar(5.0)]);
        assert!(!held.contains("MISSED") && held.contains("p99 &lt;a&gt;"));
        assert!(bars("t", "ms", &[bar(5.1)]).contains("MISSED"));
    }

    #[test]
    fn a_plot_without_points_is_a_plot() {
        let svg = Lines { title: "none".to_owned(), ..Lines::default() }.svg();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>") && !svg.contains("NaN"));
    }
}
