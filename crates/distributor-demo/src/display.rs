//! Where the demo is shown: a terminal, or lines.

use std::io::{self, IsTerminal, Stdout};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use crate::dashboard::Dashboard;
use crate::live_view;
use crate::plain_view::PlainView;

/// What shows the dashboard.
pub(crate) enum Display {
    /// The live view in the alternate screen.
    Live(Live),
    /// Lines on standard output.
    Plain(PlainView<Stdout>),
}

impl Display {
    /// The live view if standard output is a terminal that can do it, unless lines are wanted.
    pub(crate) fn open(is_plain: bool) -> Self {
        if !is_plain
            && io::stdout().is_terminal()
            && let Ok(live) = Live::open()
        {
            return Self::Live(live);
        }
        Self::Plain(PlainView::new(io::stdout()))
    }

    /// Shows what is new. An error means that the terminal or the reader is gone.
    pub(crate) fn show(&mut self, dashboard: &Dashboard) -> io::Result<()> {
        match self {
            Self::Live(live) => live
                .terminal
                .draw(|frame| live_view::draw(frame, dashboard))
                .map(drop),
            Self::Plain(lines) => lines.show(dashboard),
        }
    }

    /// Whether the user wants it to end. Does not wait.
    pub(crate) fn is_quit_wanted(&mut self) -> io::Result<bool> {
        match self {
            Self::Live(_) => is_quit_pressed(),
            Self::Plain(_) => Ok(false),
        }
    }
}

/// A terminal in raw mode on its alternate screen, given back when this is dropped, and by a panic.
pub(crate) struct Live {
    terminal: DefaultTerminal,
}

impl Live {
    fn open() -> io::Result<Self> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                // It may have come halfway.
                let _ = ratatui::try_restore();
                Err(error)
            }
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing given back.
        let _ = self.terminal.show_cursor();
        let _ = ratatui::try_restore();
    }
}

fn is_quit_pressed() -> io::Result<bool> {
    while event::poll(Duration::ZERO)? {
        let Event::Key(key) = event::read()? else {
            continue;
        };
        let is_control_c =
            key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        let is_quit = matches!(key.code, KeyCode::Char('q' | 'Q') | KeyCode::Esc);
        if key.kind != KeyEventKind::Release && (is_control_c || is_quit) {
            return Ok(true);
        }
    }
    Ok(false)
}
