//! The live view: one frame from the dashboard.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Borders, Paragraph, Sparkline};

use crate::dashboard::{Dashboard, Kind, Rate, SenderRow, clock, thousands};
use crate::script::Phase;

const GOOD: Color = Color::Green;
const WAITING: Color = Color::Yellow;
const BAD: Color = Color::Red;

/// Draws everything. 80 x 24 is enough; of less, the events are cut first.
pub(crate) fn draw(frame: &mut Frame<'_>, dashboard: &Dashboard) {
    let [head, steps, senders, distributors, sink, events, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(5),
        Constraint::Length(8),
        Constraint::Length(4),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    draw_head(frame, head, dashboard);
    frame.render_widget(step_line(dashboard.phase), steps);
    let halves = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]);
    for (row, area) in dashboard.senders.iter().zip(&*halves.split(senders)) {
        draw_sender(frame, *area, row, dashboard);
    }
    draw_distributors(frame, distributors, dashboard);
    draw_sink(frame, sink, dashboard);
    draw_events(frame, events, dashboard);
    draw_foot(frame, foot, dashboard);
}

fn framed(title: impl Into<String>) -> Block<'static> {
    let title = format!(" {} ", title.into());
    Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(Style::new().dark_gray())
        .title(Span::from(title).not_dim().reset().bold())
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, dashboard: &Dashboard) {
    let time = format!(
        "{} of about {} ",
        clock(dashboard.elapsed),
        clock(dashboard.script.total())
    );
    frame.render_widget(Line::from(" HA distributor demo").bold(), area);
    frame.render_widget(Line::from(time).alignment(Alignment::Right), area);
}

fn step_line(current: Phase) -> Line<'static> {
    let mut spans = vec![Span::from(" ")];
    for phase in Phase::ALL {
        if phase != Phase::ALL[0] {
            spans.push(" ─ ".dark_gray());
        }
        let title = phase.title();
        spans.push(if phase == current {
            Span::from(format!(" {title} ")).reversed().bold()
        } else if phase < current {
            Span::from(format!("✓ {title}")).fg(GOOD)
        } else {
            title.dark_gray()
        });
    }
    Line::from(spans)
}

fn draw_sender(frame: &mut Frame<'_>, area: Rect, row: &SenderRow, dashboard: &Dashboard) {
    let is_elected = dashboard.elected() == Some(row.name);
    let (state, color) = match (row.is_running, is_elected) {
        (true, true) => (" ELECTED ", GOOD),
        (true, false) => (" standby ", WAITING),
        (false, true) => (" STOPPED, still elected ", BAD),
        (false, false) => (" stopped ", BAD),
    };
    let counts = row.counts;
    let block = framed(row.name)
        .border_style(Style::new().fg(color))
        .title_top(Line::from(state).fg(color).bold().right_aligned())
        .title_bottom(
            Line::from(format!(" remote write {} ", row.protocol))
                .dark_gray()
                .right_aligned(),
        );
    let number = |title: &'static str, value: u64| {
        Line::from(vec![
            Span::from(format!(" {title:<14}")),
            Span::from(format!("{:>9}", thousands(value))).bold(),
        ])
    };
    let lines = vec![
        number("samples sent", counts.sent),
        number("accepted", counts.accepted),
        number("deduplicated", counts.deduplicated),
    ];
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn draw_distributors(frame: &mut Frame<'_>, area: Rect, dashboard: &Dashboard) {
    let block = framed("distributors: elections by gossip");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [each, first, graphs] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(0),
    ])
    .areas(inner);
    frame.render_widget(distributors_line(dashboard), each);
    let elected = match dashboard.elected() {
        Some(name) => name.to_owned().fg(GOOD).bold(),
        None => "none".fg(WAITING),
    };
    let line = Line::from(vec![
        " elected ".into(),
        elected,
        "    failovers ".into(),
        dashboard.failovers.to_string().bold(),
        format!(
            "    failover timeout {:?}",
            dashboard.script.failover_timeout
        )
        .dark_gray(),
    ]);
    frame.render_widget(line, first);
    let [left, right] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(graphs);
    let highest = |rate: &Rate| rate.history.iter().copied().max().unwrap_or(0);
    // One scale for both, with some air above.
    let top = highest(&dashboard.accepted).max(highest(&dashboard.deduplicated));
    let top = (top + top / 4).max(1);
    draw_rate(frame, left, "accepted/s", &dashboard.accepted, top, GOOD);
    let deduplicated = &dashboard.deduplicated;
    draw_rate(
        frame,
        right,
        "deduplicated/s",
        deduplicated,
        top,
        Color::Blue,
    );
}

fn distributors_line(dashboard: &Dashboard) -> Line<'static> {
    let mut spans = Vec::new();
    for (number, row) in dashboard.seen.distributors.iter().enumerate() {
        spans.push(Span::from(format!(" #{number} ")));
        spans.push(if !row.is_running {
            Span::from("killed".to_owned()).fg(BAD).bold()
        } else {
            match &row.elected {
                Some(elected) => Span::from(format!("says {}", elected.replica)).fg(GOOD),
                None => Span::from("none".to_owned()).fg(WAITING),
            }
        });
        spans.push("  ".into());
    }
    let members = dashboard
        .seen
        .distributors
        .iter()
        .filter(|row| row.is_running);
    if let Some(members) = members.map(|row| row.members).min() {
        spans.push(format!(" {members} alive").dark_gray());
    }
    Line::from(spans)
}

fn draw_rate(
    frame: &mut Frame<'_>,
    area: Rect,
    title: &'static str,
    rate: &Rate,
    top: u64,
    color: Color,
) {
    let [head, graph] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    let line = Line::from(vec![
        Span::from(format!(" {title} ")),
        Span::from(thousands(rate.now())).fg(color).bold(),
    ]);
    frame.render_widget(line, head);
    let [_, graph, _] = Layout::horizontal([
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(graph);
    let skip = rate.history.len().saturating_sub(usize::from(graph.width));
    let bars = rate.history.iter().skip(skip).copied();
    let sparkline = Sparkline::default()
        .data(bars)
        .max(top)
        .style(Style::new().fg(color));
    frame.render_widget(sparkline, graph);
}

fn draw_sink(frame: &mut Frame<'_>, area: Rect, dashboard: &Dashboard) {
    let sink = &dashboard.sink;
    let doubled = thousands(sink.counts.doubled());
    let doubled = if sink.counts.doubled() == 0 {
        doubled.fg(GOOD).bold()
    } else {
        doubled.fg(BAD).bold().add_modifier(Modifier::REVERSED)
    };
    let first = Line::from(vec![
        " stored ".into(),
        thousands(sink.counts.stored).bold(),
        "    doubled ".into(),
        doubled,
        "    latest sample ".into(),
        Span::from(format!("{:.1} s", sink.silence.as_secs_f64())).bold(),
        " old".into(),
    ]);
    let lengths: Vec<String> = sink
        .gaps
        .iter()
        .map(|gap| format!("{:.1} s, {} scrapes", gap.seconds(), gap.scrapes))
        .collect();
    let mut second = vec![" gaps ".into(), sink.gaps.len().to_string().bold()];
    if !lengths.is_empty() {
        second.push(format!(" ({})", lengths.join("; ")).into());
    }
    if dashboard.is_gap_open() {
        second.push(
            "    no samples now: waiting for the failover"
                .fg(WAITING)
                .bold(),
        );
    }
    let lines = vec![first, Line::from(second)];
    let block = framed("sink: checks the stored samples");
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn draw_events(frame: &mut Frame<'_>, area: Rect, dashboard: &Dashboard) {
    let rows = usize::from(area.height.saturating_sub(1));
    let skip = dashboard.events.len().saturating_sub(rows);
    let lines: Vec<Line<'_>> = dashboard
        .events
        .iter()
        .skip(skip)
        .map(|event| {
            let text = match event.kind {
                Kind::Step => event.text.as_str().into(),
                Kind::Election => event.text.as_str().fg(GOOD).bold(),
                Kind::Problem => event.text.as_str().fg(BAD),
            };
            Line::from(vec![format!(" {} ", clock(event.at)).dark_gray(), text])
        })
        .collect();
    frame.render_widget(
        Paragraph::new(lines).block(framed("events").borders(Borders::TOP)),
        area,
    );
}

fn draw_foot(frame: &mut Frame<'_>, area: Rect, dashboard: &Dashboard) {
    frame.render_widget(
        Line::from(vec![" ".into(), dashboard.page.as_str().underlined()]),
        area,
    );
    frame.render_widget(Line::from("q quits ").alignment(Alignment::Right), area);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use expect_test::expect;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use remote_write_testkit::{Counts, Gap, ReplicaCounts};

    use super::*;
    use crate::dashboard::SinkRow;
    use crate::observer::{DistributorRow, Elected, Observation};
    use crate::script::Script;

    fn dashboard() -> Dashboard {
        let page = "http://127.0.0.1:40123/distributor/ha_tracker".to_owned();
        let mut dashboard = Dashboard::new(Script::FULL, page);
        dashboard.senders = [("prometheus-0", "1.0", 8000), ("prometheus-1", "2.0", 200)]
            .map(|(name, protocol, accepted)| SenderRow {
                name,
                protocol,
                is_running: name == "prometheus-1",
                counts: ReplicaCounts {
                    sent: 8200,
                    accepted,
                    deduplicated: 8200 - accepted,
                    ..Default::default()
                },
            })
            .to_vec();
        dashboard.phase = Phase::FailedOver;
        for second in 0..15 {
            dashboard.elapsed = Duration::from_secs(second);
            dashboard.seen.accepted = 800 * second.min(10);
            dashboard.seen.deduplicated = 800 * second;
            dashboard.step_rates();
        }
        dashboard.log(Kind::Election, "prometheus-1 is elected".to_owned());
        let elected = Some(Elected {
            replica: "prometheus-1".to_owned(),
            since_ms: 0,
        });
        let distributors = [true, false, true].map(|is_running| DistributorRow {
            is_running,
            elected: elected.clone(),
            members: 2,
            ..DistributorRow::default()
        });
        dashboard.failovers = 1;
        dashboard.seen = Observation {
            elected,
            distributors: distributors.into(),
            ..dashboard.seen
        };
        dashboard.sink = SinkRow {
            counts: Counts {
                stored: 8200,
                ..Default::default()
            },
            gaps: vec![Gap {
                after_ms: 0,
                until_ms: 4250,
                scrapes: 16,
            }],
            silence: Duration::from_millis(200),
        };
        dashboard
    }

    fn rendered(dashboard: &Dashboard, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, dashboard)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn everything_fits_into_80_by_24() {
        expect![[r#"
            " HA distributor demo                                       00:14 of about 00:34 "
            " ✓ both send ─ ✓ one killed ─ ✓ sender stopped ─  failed over  ─ back ─ drain   "
            "╭ prometheus-0 ─────────────── stopped ╮╭ prometheus-1 ─────────────── ELECTED ╮"
            "│ samples sent      8,200              ││ samples sent      8,200              │"
            "│ accepted          8,000              ││ accepted            200              │"
            "│ deduplicated        200              ││ deduplicated      8,000              │"
            "╰──────────────────── remote write 1.0 ╯╰──────────────────── remote write 2.0 ╯"
            "╭ distributors: elections by gossip ───────────────────────────────────────────╮"
            "│ #0 says prometheus-1   #1 killed   #2 says prometheus-1   2 alive            │"
            "│ elected prometheus-1    failovers 1    failover timeout 4s                   │"
            "│ accepted/s 0                           deduplicated/s 800                    │"
            "│ ▃▃▃▃▃▃▃▃▃▃                             ▃▃▃▃▃▃▃▃▃▃▃▃▃▃                        │"
            "│ ██████████▁                            ██████████████                        │"
            "│ ███████████                            ██████████████                        │"
            "╰──────────────────────────────────────────────────────────────────────────────╯"
            "╭ sink: checks the stored samples ─────────────────────────────────────────────╮"
            "│ stored 8,200    doubled 0    latest sample 0.2 s old                         │"
            "│ gaps 1 (4.2 s, 16 scrapes)                                                   │"
            "╰──────────────────────────────────────────────────────────────────────────────╯"
            " events ────────────────────────────────────────────────────────────────────────"
            " 00:14 prometheus-1 is elected                                                  "
            "                                                                                "
            "                                                                                "
            " http://127.0.0.1:40123/distributor/ha_tracker                          q quits "
        "#]]
        .assert_eq(&rendered(&dashboard(), 80, 24));
    }

    #[test]
    fn any_size_is_drawn() {
        for (width, height) in [(1, 1), (10, 5), (40, 12), (300, 100)] {
            rendered(&dashboard(), width, height);
        }
    }
}
