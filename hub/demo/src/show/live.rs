//! The story in a terminal: pictures, and keys that do things to the plant.
//!
//! Promise: the terminal is given back as it was, also when drawing fails.

use std::sync::Arc;
use std::time::Duration;

use millrace_demo::PlantError;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::device::Device;
use super::picture::Camera;
use super::screen::Screen;
use super::site::Site;
use super::stage::Stage;
use super::story;

/// Between two pictures.
const SHOOT_EVERY: Duration = Duration::from_millis(250);

/// How long the keyboard is asked at once; the thread that asks ends that soon after the show.
const KEYS_EVERY: Duration = Duration::from_millis(100);

/// Events that a screen has room for.
const EVENTS: usize = 60;

/// What a key asks for.
enum Wish {
    Choose(usize),
    Up,
    Down,
    Cut,
    Kill,
    Hub,
    Region,
    Burst,
    End,
    Abort,
}

/// Plays the story and then goes on until somebody ends it.
pub(crate) async fn play(stage: &Arc<Stage>, seconds: u64) -> anyhow::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let shown = show(&mut terminal, stage, seconds).await;
    ratatui::restore();
    shown
}

async fn show(terminal: &mut DefaultTerminal, stage: &Arc<Stage>, seconds: u64) -> anyhow::Result<()> {
    let mut screen = Screen { hubs: hubs(stage), ..Screen::default() };
    let (send, mut keys) = mpsc::channel(16);
    let keyboard = std::thread::spawn(move || listen(&send));
    let teller = Arc::clone(stage);
    let mut story = tokio::spawn(async move { story::tell(&teller, Duration::from_secs(seconds)).await });
    let mut camera = Camera::new();
    let mut ticks = interval(SHOOT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ended = loop {
        tokio::select! {
            _ = ticks.tick() => screen.show(camera.shoot(stage).await),
            _ = &mut story, if !screen.told => screen.told = true,
            wish = keys.recv() => match wish {
                Some(Wish::End) | None => break Ok(()),
                Some(Wish::Abort) => break Err(anyhow::anyhow!("interrupted")),
                Some(wish) => grant(&mut screen, stage, &wish).await,
            },
        }
        (screen.events, screen.hubs) = (stage.timeline.last(EVENTS), hubs(stage));
        if let Err(error) = terminal.draw(|frame| screen.draw(frame)) {
            break Err(error.into());
        }
    };
    story.abort();
    drop(keys);
    // It ends by itself when nobody listens; a panic in it would have been seen on the terminal.
    let _ = keyboard.join();
    ended
}

async fn grant(screen: &mut Screen, stage: &Arc<Stage>, wish: &Wish) {
    let last = stage.devices.len().saturating_sub(1);
    match wish {
        Wish::Choose(number) => screen.chosen = (*number).min(last),
        Wish::Up => screen.chosen = screen.chosen.saturating_sub(1),
        Wish::Down => screen.chosen = (screen.chosen + 1).min(last),
        _ => {
            let Some(device) = stage.devices.get(screen.chosen).map(Arc::clone) else { return };
            match wish {
                Wish::Cut => device.set_cut(!device.is_cut()),
                Wish::Hub => {
                    let (stage, at) = (Arc::clone(stage), device.region());
                    let deed = Arc::clone(&stage);
                    stage.spawn(async move { hub_off_or_on(&deed, at).await }).await;
                }
                Wish::Region => {
                    let at = device.region();
                    let cut = stage.sites.get(at).is_some_and(|site| site.is_cut());
                    stage.set_region_cut(at, !cut);
                }
                Wish::Burst => stage.spawn(async move { device.burst().await }).await,
                Wish::Kill => stage.spawn(async move { end_or_begin(&device).await }).await,
                _ => {}
            }
        }
    }
}

async fn hub_off_or_on(stage: &Stage, at: usize) -> Result<(), PlantError> {
    match stage.sites.get(at) {
        Some(site) if site.is_alive() => stage.kill_hub(at).await,
        Some(site) => site.revive().await,
        None => Ok(()),
    }
}

/// The hubs, in a line.
fn hubs(stage: &Stage) -> String {
    let state = |site: &Arc<Site>| match (site.is_alive(), site.is_cut()) {
        (false, _) => "killed".to_owned(),
        (true, true) => "cut off".to_owned(),
        (true, false) => site.http(),
    };
    let all: Vec<String> = stage.sites.iter().map(|site| format!("{} {}", site.name, state(site))).collect();
    all.join("   ")
}

async fn end_or_begin(device: &Device) -> Result<(), PlantError> {
    if device.is_alive() { device.kill().await } else { device.revive().await }
}

/// Reads the keyboard until nobody wants to know.
fn listen(wishes: &mpsc::Sender<Wish>) {
    while !wishes.is_closed() {
        match event::poll(KEYS_EVERY) {
            Ok(false) => continue,
            Ok(true) => {}
            Err(_) => return,
        }
        let Ok(Event::Key(key)) = event::read() else { continue };
        if let Some(wish) = wish(key)
            && wishes.blocking_send(wish).is_err()
        {
            return;
        }
    }
}

fn wish(key: KeyEvent) -> Option<Wish> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    Some(match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Wish::Abort,
        KeyCode::Char('c') => Wish::Cut,
        KeyCode::Char('k') => Wish::Kill,
        KeyCode::Char('h') => Wish::Hub,
        KeyCode::Char('r') => Wish::Region,
        KeyCode::Char('b') => Wish::Burst,
        KeyCode::Char('q') | KeyCode::Esc => Wish::End,
        KeyCode::Char(digit @ '1'..='9') => Wish::Choose(digit.to_digit(10)?.saturating_sub(1) as usize),
        KeyCode::Up => Wish::Up,
        KeyCode::Down | KeyCode::Tab => Wish::Down,
        _ => return None,
    })
}
