//! The report as one page that needs nothing else: figures, plots drawn as SVG, light or dark as the reader likes it.

use std::fmt::Write as _;

use super::Report;
use crate::figures::{Figures, Quantiles};
use crate::preset::Summary;

/// Writes the page of one run.
pub fn render(report: &Report) -> String {
    let mut out = String::from(HEAD);
    heading(&report.processor, report.cores, &report.kernel, &report.command, &mut out);
    body(report, &mut out);
    out.push_str(END);
    out
}

/// Writes the page of all rows: the figures first, every row's own report behind them.
pub fn render_summary(summary: &Summary) -> String {
    let mut out = String::from(HEAD);
    heading(&summary.processor, summary.cores, &summary.kernel, &summary.command, &mut out);
    super::verdicts::put(summary, &mut out);
    for one in &summary.rows {
        let _ = write!(out, "<details class=row><summary>{}</summary>", escape(one.title));
        body(&one.report, &mut out);
        out.push_str("</details>");
    }
    out.push_str(END);
    out
}

fn heading(processor: &str, cores: usize, kernel: &str, command: &str, out: &mut String) {
    let (processor, kernel, command) = (escape(processor), escape(kernel), escape(command));
    let _ = write!(
        out,
        "<h1>muster load test</h1><p class=dim>{processor} ({cores} cores), Linux {kernel}<br><code>{command}</code></p>"
    );
}

fn body(report: &Report, out: &mut String) {
    if let Some(fault) = &report.fault {
        let _ = write!(out, "<p class=warn>Ended early: {}</p>", escape(fault));
    }
    for warning in &report.warnings {
        let _ = write!(out, "<p class=warn>{}</p>", escape(warning));
    }
    for ratio in &report.ratios {
        let _ = write!(
            out,
            "<p class=big><b>{:.2}</b> times the server CPU per delivered snapshot: {} over {}</p>",
            ratio.cpu,
            escape(ratio.subject),
            escape(ratio.over)
        );
    }
    for one in report.measurements.iter().filter(|one| one.revoked_us.count > 0) {
        let _ = write!(
            out,
            "<p class=big><b>{:.2} ms</b> at p99 from a revocation to Goodbye 4403: {}, {} of {} players, p50 {:.2} ms, max {:.2} ms; \
             {} not told in time, {} of the tickets let in again, {:.2}&thinsp;% of the others' snapshots delivered</p>",
            one.revoked_us.p99 as f64 / 1e3,
            escape(one.subject),
            one.revoked_us.count,
            one.seated,
            one.revoked_us.p50 as f64 / 1e3,
            one.revoked_us.max as f64 / 1e3,
            one.untold,
            one.revoked_accepted,
            one.delivered * 100.0
        );
    }
    medians(report, out);
    let last: Vec<&Figures> = report
        .medians
        .iter()
        .filter_map(|median| report.measurements.iter().rev().find(|one| one.subject == median.subject))
        .collect();
    let curves = |pick: &dyn Fn(&Figures) -> &Quantiles| -> Vec<(String, Vec<(f64, f64)>)> {
        let points = |quantiles: &Quantiles| -> Vec<(f64, f64)> {
            let steps = quantiles.curve.len().saturating_sub(1).max(1) as f64;
            quantiles.curve.iter().enumerate().map(|(i, us)| (i as f64 / steps * 100.0, *us as f64 / 1e3)).collect()
        };
        last.iter().map(|one| (one.subject.to_owned(), points(pick(one)))).filter(|(_, p)| !p.is_empty()).collect()
    };
    out.push_str("<div class=plots>");
    plot("Cold connect, ms by percentile", &curves(&|one| &one.connect_us), out);
    plot("Ticket to Welcome, ms by percentile", &curves(&|one| &one.welcome_us), out);
    plot("Ticket to seat, ms by percentile", &curves(&|one| &one.seat_us), out);
    plot("Back after the storm, ms by percentile", &curves(&|one| &one.back_us), out);
    plot("Revocation to Goodbye, ms by percentile", &curves(&|one| &one.revoked_us), out);
    plot("Age of state on arrival, ms by percentile", &curves(&|one| &one.age_us), out);
    plot("Inter-arrival jitter, ms by percentile", &curves(&|one| &one.jitter_us), out);
    let over_time = |pick: &dyn Fn(&crate::load::Second) -> f64| -> Vec<(String, Vec<(f64, f64)>)> {
        let points = |one: &Figures| one.timeline.iter().enumerate().map(|(i, s)| (i as f64 + 1.0, pick(s))).collect();
        last.iter().map(|one| (one.subject.to_owned(), points(one))).collect()
    };
    plot(
        "Lateness over time: age of state, 99th percentile, ms by second",
        &over_time(&|second| second.age_p99_us as f64 / 1e3),
        out,
    );
    plot("Snapshots by second", &over_time(&|second| second.snapshots as f64), out);
    out.push_str("</div>");
    out.push_str("<details><summary>All figures</summary><pre>");
    out.push_str(&escape(&super::table::render(report)));
    out.push_str("</pre></details>");
}

fn medians(report: &Report, out: &mut String) {
    if report.medians.iter().all(|median| median.rounds == 0) {
        return;
    }
    out.push_str(
        "<table><tr><th>Medians<th>rounds<th>CPU µs per snapshot<th>delivered<th>tick lateness p99, ms\
         <th>jitter p99, ms<th>age p99, ms<th>KiB per link</tr>",
    );
    for median in &report.medians {
        let cell =
            |value: Option<f64>, scale: f64| value.map_or("–".to_owned(), |value| format!("{:.2}", value / scale));
        let _ = write!(
            out,
            "<tr><td>{}<td>{}<td>{}<td>{}&thinsp;%<td>{}<td>{}<td>{}<td>{}</tr>",
            escape(median.subject),
            median.rounds,
            cell(median.server_cpu_per_million, 1.0),
            cell(median.delivered, 0.01),
            cell(median.lateness_p99_us, 1e3),
            cell(median.jitter_p99_us, 1e3),
            cell(median.age_p99_us, 1e3),
            cell(median.resident_per_link, 1_024.0),
        );
    }
    out.push_str("</table>");
}

/// One plot: a line for each subject. The scale ends at the 99th of what is shown, so that one outlier hides nothing.
fn plot(title: &str, lines: &[(String, Vec<(f64, f64)>)], out: &mut String) {
    let mut values: Vec<f64> = lines.iter().flat_map(|(_, points)| points.iter().map(|(_, y)| *y)).collect();
    values.sort_by(f64::total_cmp);
    let Some(top) = values.get(values.len().saturating_sub(1) * 99 / 100).map(|top| top.max(0.001) * 1.1) else {
        return;
    };
    let right = lines.iter().flat_map(|(_, points)| points.iter().map(|(x, _)| *x)).fold(1.0, f64::max);
    let _ = write!(
        out,
        "<figure><figcaption>{}</figcaption><svg viewBox='0 0 {} {}' role=img aria-label='{}'>",
        escape(title),
        WIDTH + 60.0,
        HEIGHT + 30.0,
        escape(title)
    );
    for step in 0..=4 {
        let part = f64::from(step) / 4.0;
        let y = 5.0 + HEIGHT * (1.0 - part);
        let label = short(top * part);
        let _ = write!(
            out,
            "<line class=grid x1=50 x2={} y1={y:.1} y2={y:.1} /><text x=45 y={:.1} text-anchor=end>{label}</text>",
            50.0 + WIDTH,
            y + 4.0
        );
        let x = 50.0 + WIDTH * part;
        let _ = write!(out, "<text x={x:.1} y={} text-anchor=middle>{}</text>", HEIGHT + 22.0, short(right * part));
    }
    for (index, (_, points)) in lines.iter().enumerate() {
        let path: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{:.1},{:.1}", 50.0 + x / right * WIDTH, 5.0 + HEIGHT * (1.0 - (y / top).min(1.0))))
            .collect();
        let _ = write!(out, "<polyline class='line c{}' points='{}' />", index % COLOURS, path.join(" "));
    }
    out.push_str("</svg><p class=legend>");
    for (index, (name, _)) in lines.iter().enumerate() {
        let _ = write!(out, "<span class='key c{}'></span>{} ", index % COLOURS, escape(name));
    }
    out.push_str("</p></figure>");
}

fn short(value: f64) -> String {
    if value >= 100.0 || value == 0.0 { format!("{value:.0}") } else { format!("{value:.3}").chars().take(4).collect() }
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 180.0;
const COLOURS: usize = 6;
const END: &str = "</body></html>\n";
const HEAD: &str = "<!doctype html><html lang=en><head><meta charset=utf-8>\
<meta name=viewport content='width=device-width,initial-scale=1'><title>muster load test</title><style>\
:root{color-scheme:light dark;--fg:#1b1f24;--bg:#fff;--dim:#667;--grid:#dde;--warn:#a40000;--yes:#1a7f37;--no:#c62828;--open:#8a5a00;--good:#1a7f3722}\
@media(prefers-color-scheme:dark){:root{--fg:#e6e8ec;--bg:#15181c;--dim:#99a;--grid:#333a44;--warn:#ff8a80;--yes:#5fd38d;--no:#ff8a80;--open:#e6b450;--good:#5fd38d26}}\
body{font:15px/1.5 system-ui,sans-serif;color:var(--fg);background:var(--bg);max-width:1080px;margin:2rem auto;padding:0 1rem}\
.dim{color:var(--dim)}.warn{color:var(--warn);font-weight:600}.big{font-size:1.15rem;margin:.2rem 0}\
table{border-collapse:collapse;margin:1rem 0;width:100%}th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid var(--grid)}\
th:first-child,td:first-child{text-align:left}.plots{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0;flex:1 1 480px}\
figcaption{font-weight:600}svg{width:100%;height:auto}svg text{font-size:11px;fill:var(--dim)}.grid{stroke:var(--grid)}\
.line{fill:none;stroke-width:2}.c0{stroke:#2f7ed8;background:#2f7ed8}.c1{stroke:#e07b39;background:#e07b39}\
.c2{stroke:#3a9d5d;background:#3a9d5d}.c3{stroke:#a154c8;background:#a154c8}.c4{stroke:#c0392b;background:#c0392b}\
.c5{stroke:#8a8d00;background:#8a8d00}.key{display:inline-block;width:.9em;height:.9em;border-radius:2px;margin:0 .3em 0 .6em}\
.verdicts td:nth-child(4),.verdicts th:nth-child(4),.verdicts td:nth-child(6),.verdicts th:nth-child(6){text-align:left}\
.verdicts td{white-space:nowrap}.verdicts td:first-child,.verdicts td:last-child{white-space:normal}small{color:var(--dim);line-height:1.2;display:inline-block}\
.strip{width:160px;height:16px;vertical-align:middle}.good{fill:var(--good)}.aim{stroke:var(--fg);stroke-width:2}\
.dot{fill:#2f7ed8;fill-opacity:.8;stroke:var(--bg);stroke-width:.6}.verdict{font-weight:600}.verdict.yes{color:var(--yes)}\
.verdict.no{color:var(--no)}.verdict.open{color:var(--open)}.verdict.none{color:var(--dim)}\
.row{border-top:1px solid var(--grid);padding:.4rem 0}summary{cursor:pointer}.row>summary{font-weight:600}\
.legend{margin:0;color:var(--dim);font-size:13px}pre{overflow:auto}code{font-size:12px}</style></head><body>\
";
