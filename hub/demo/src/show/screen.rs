//! What the terminal shows: a table of devices, their backlogs, the timeline, the keys.
//!
//! Absent: the keys' effects (`live`).

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table};

use super::picture::{View, bytes, span};

/// Pictures of the past that are drawn: one column of a wide terminal each.
pub(crate) const PAST: usize = 240;

/// Everything on the screen.
#[derive(Default)]
pub(crate) struct Screen {
    /// Each device, now.
    pub(crate) views: Vec<View>,
    /// The backlog of each device, oldest first.
    pub(crate) backlogs: Vec<Vec<u64>>,
    /// Which device the keys mean.
    pub(crate) chosen: usize,
    /// What happened last.
    pub(crate) events: Vec<String>,
    /// The hubs, and where each answers.
    pub(crate) hubs: String,
    /// The story is over.
    pub(crate) told: bool,
}

impl Screen {
    /// Takes in a picture.
    pub(crate) fn show(&mut self, views: Vec<View>) {
        self.backlogs.resize(views.len(), Vec::new());
        for (backlog, view) in self.backlogs.iter_mut().zip(&views) {
            backlog.push(view.status.ledger.pending);
            if backlog.len() > PAST {
                backlog.remove(0);
            }
        }
        self.views = views;
    }

    /// Draws everything.
    pub(crate) fn draw(&self, frame: &mut Frame<'_>) {
        let devices = u16::try_from(self.views.len()).unwrap_or(3);
        let [head, table, backlogs, events, keys] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(devices + 3),
            Constraint::Length(devices * 2 + 2),
            Constraint::Min(3),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        let title = format!(" Millrace: a plant in a box      {} ", self.hubs);
        frame.render_widget(Paragraph::new(title).bold().reversed(), head);
        frame.render_widget(self.table(), table);
        self.draw_backlogs(frame, backlogs);
        let shown = self.events.iter().rev().take(usize::from(events.height.saturating_sub(2))).rev();
        let lines: Vec<Line<'_>> = shown.map(|event| Line::from(event.as_str())).collect();
        frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" what happened ")), events);
        let told = if self.told { "  the story is told" } else { "" };
        let help = format!(
            " 1-4 or ↑↓ choose   c link   k agent   h hub   r region: cut or kill, again to heal   b burst   q proof{told}"
        );
        frame.render_widget(Paragraph::new(help).reversed(), keys);
    }

    fn table(&self) -> Table<'_> {
        let head = [
            "", "device", "session", "hub", "rate", "backlog", "lag", "link", "ingested", "acked", "lost",
            "ledger",
        ];
        let rows = self.views.iter().enumerate().map(|(number, view)| self.row(number, view));
        let widths = [2, 12, 12, 10, 8, 9, 9, 20, 10, 10, 6, 10].map(Constraint::Length);
        Table::new(rows, widths)
            .header(Row::new(head).style(Style::new().add_modifier(Modifier::BOLD)))
            .block(Block::bordered().title(" devices "))
    }

    fn row(&self, number: usize, view: &View) -> Row<'_> {
        let ledger = view.status.ledger;
        let (session, colour) = match (view.session.as_str(), view.cut) {
            ("killed", _) => ("killed".to_owned(), Color::Red),
            (session, true) => (format!("{session}, cut"), Color::Yellow),
            ("open", false) => ("open".to_owned(), Color::Green),
            (session, false) => (session.to_owned(), Color::Yellow),
        };
        let balanced = if view.status.adds_up() { "balanced" } else { "…" };
        let link = format!("{} {}/s", bytes(view.road_bytes), bytes(view.road_rate));
        let mark = if number == self.chosen { "▶" } else { " " };
        let row = Row::new([
            Cell::from(mark),
            Cell::from(view.name.clone()),
            Cell::from(Span::styled(session, colour)),
            Cell::from(view.hub.clone()),
            Cell::from(format!("{}/s", view.rate)),
            Cell::from(ledger.pending.to_string()),
            Cell::from(span(view.lag)),
            Cell::from(link),
            Cell::from(ledger.ingested.to_string()),
            Cell::from(ledger.acked.to_string()),
            Cell::from((ledger.evicted + ledger.rejected).to_string()),
            Cell::from(balanced),
        ]);
        if number == self.chosen { row.style(Style::new().add_modifier(Modifier::BOLD)) } else { row }
    }

    fn draw_backlogs(&self, frame: &mut Frame<'_>, area: Rect) {
        let block = Block::bordered().title(" backlog: records that the hub has not confirmed yet ");
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let lanes = Layout::vertical(self.views.iter().map(|_| Constraint::Length(2))).split(inner);
        for ((view, backlog), lane) in self.views.iter().zip(&self.backlogs).zip(lanes.iter()) {
            let [name, curve] =
                Layout::horizontal([Constraint::Length(14), Constraint::Min(10)]).areas(*lane);
            frame.render_widget(Paragraph::new(view.name.as_str()), name);
            let past = backlog.len().saturating_sub(usize::from(curve.width));
            let values: Vec<u64> = backlog.iter().skip(past).copied().collect();
            frame.render_widget(Sparkline::default().data(values).style(Color::Cyan), curve);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    #[test]
    fn the_screen_shows_every_device_and_what_happened() {
        let mut screen = Screen { hubs: "hub-north 127.0.0.1:9".into(), ..Screen::default() };
        let view = |name: &str, session: &str, cut| View {
            name: name.into(),
            session: session.into(),
            cut,
            ..View::default()
        };
        for _ in 0..PAST + 5 {
            screen.show(vec![view("press-line", "open", true), view("energy", "killed", false)]);
        }
        assert_eq!(screen.backlogs[0].len(), PAST);
        screen.events.push("link of press-line cut".into());
        let mut terminal = Terminal::new(TestBackend::new(140, 30)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        let shown = terminal.backend().to_string();
        for text in ["press-line", "open, cut", "killed", "link of press-line cut", "127.0.0.1:9", "b burst"]
        {
            assert!(shown.contains(text), "{text} is not on\n{shown}");
        }
    }
}
