//! The figures beside their aims, as a table of the page: a verdict by colour and word, and a strip with every round.

use std::fmt::Write as _;

use super::html::escape;
use crate::preset::{Line, Summary, Verdict};

/// Writes the table, with what its reader must know.
pub fn put(summary: &Summary, out: &mut String) {
    let (reached, all) = summary.reached();
    let _ = write!(
        out,
        "<p class=big><b>{reached} of {all}</b> figures reached: the median and every round are on the right side of the aim.</p>"
    );
    for (row, fault) in summary.faults() {
        let _ = write!(out, "<p class=warn>{row} ended early: {}</p>", escape(fault));
    }
    out.push_str("<table class=verdicts><tr><th>What<th>aim<th>measured<th>rounds and aim<th>players<th>verdict</tr>");
    for line in &summary.lines {
        let _ = write!(
            out,
            "<tr><td>{}<td>{}<td><b>{}</b><td>{}<td>{}<td><span class='verdict {}'>{}</span>{}</tr>",
            escape(&line.what),
            line.aimed(),
            line.measured(),
            strip(line),
            line.players,
            class(line.verdict),
            line.verdict.words(),
            line.doubt.map(|doubt| format!("<br><small>{}</small>", escape(doubt))).unwrap_or_default(),
        );
    }
    out.push_str("</table>");
    for (row, warning) in summary.warnings() {
        let _ = write!(out, "<p class=warn>{row}: {}</p>", escape(warning));
    }
    out.push_str("<h2>Row by row</h2>");
}

/// Every round as a dot on a line, the aim as a stroke, the side that is good in a tint of its own.
fn strip(line: &Line) -> String {
    let values = || line.rounds.iter().copied().chain([line.aim]);
    let (least, most) = values().fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(value), most.max(value)));
    let room = ((most - least) * 0.1).max(line.aim.abs() * 0.02).max(1e-9);
    let (least, most) = (least - room, most + room);
    let at = |value: f64| (value - least) / (most - least) * WIDTH;
    let aim = at(line.aim);
    let (good_from, good_width) = if line.at_most { (0.0, aim) } else { (aim, WIDTH - aim) };
    let mut out = format!(
        "<svg class=strip viewBox='0 0 {WIDTH} 20' role=img aria-label='rounds: {0}; aim {1}'><title>rounds: {0}; aim {1}</title>\
         <rect class=good x={good_from:.1} y=3 width={good_width:.1} height=14 /><line class=grid x1=0 x2={WIDTH} y1=10 y2=10 />\
         <line class=aim x1={aim:.1} x2={aim:.1} y1=1 y2=19 />",
        line.each(),
        line.aimed()
    );
    for value in &line.rounds {
        let _ = write!(out, "<circle class=dot cx={:.1} cy=10 r=3.2 />", at(*value));
    }
    let _ = write!(out, "</svg><br><small>{}</small>", line.each());
    out
}

fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Reached => "yes",
        Verdict::Missed => "no",
        Verdict::NotEstablished => "open",
        Verdict::NotMeasured => "none",
    }
}

const WIDTH: f64 = 160.0;
