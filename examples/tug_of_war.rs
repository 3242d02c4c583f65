//! A whole game server of its own: two teams pull a rope.
//!
//! ```sh
//! cargo run --example tug_of_war              # serves for development, on port 7777
//! cargo run --example tug_of_war -- anna 2    # in a second terminal: pulls to the left
//! cargo run --example tug_of_war -- bert 3    # in a third one: pulls to the right, and harder
//! ```

use muster::client::{Connector, Event, Join, Target, http};
use muster::config::{Config, Settings};
use muster::game::prelude::*;
use muster::server::Server;

/// The game: even seats pull to the left, odd seats to the right.
struct TugOfWar {
    rope: i32,
}

/// What a player sends: how hard it pulls in this tick, 1 to 3.
#[derive(Encode, Decode)]
#[bincode(crate = "muster::codec::bincode")]
pub struct Pull(pub u8);

/// What everybody sees after each tick.
#[derive(Encode, Decode)]
#[bincode(crate = "muster::codec::bincode")]
pub struct Rope {
    /// Where its middle is; negative is left.
    pub position: i32,
}

impl Game for TugOfWar {
    const NAME: &'static str = "tug-of-war";
    const PLAYERS: RangeInclusive<u16> = 2..=8;

    type Settings = (); // nothing to choose
    type Input = Pull;
    type State = Rope;

    fn new(_: (), _: &Setup) -> Self {
        Self { rope: 0 }
    }

    fn input(&mut self, seat: SeatId, Pull(strength): Pull) {
        let pull = i32::from(strength.clamp(1, 3)); // the server is the judge: nobody pulls harder than 3
        self.rope += if seat.0.is_multiple_of(2) { -pull } else { pull };
    }

    fn step(&mut self, _: &TickContext) -> Flow {
        if self.rope.abs() < 60 { Flow::Continue } else { Flow::end(&self.rope.signum()) }
    }

    fn snapshot(&self) -> Rope {
        Rope { position: self.rope }
    }
}

/// The games of this server.
pub fn games() -> Result<Registry, Box<dyn std::error::Error>> {
    let mut games = Registry::empty();
    games.register::<TugOfWar>()?;
    Ok(games)
}

/// Plays one session to its end, and returns the side that has won: -1 or 1.
pub async fn pull(url: &str, name: &str, strength: u8) -> Result<i32, Box<dyn std::error::Error>> {
    let answer = http::get(&Target::parse(url)?, &format!("/dev/ticket?sub={name}")).await?;
    let answer: serde_json::Value = serde_json::from_slice(&answer)?;
    let ticket = answer["ticket"].as_str().ok_or("no ticket in the answer")?;
    let mut player = Connector::new(url).ticket(ticket).join(Join::quick(TugOfWar::NAME)?).connect().await?;
    while let Some(event) = player.next().await {
        match event {
            Event::Snapshot(snapshot) => {
                let rope: Rope = muster::codec::decode(&snapshot.state)?;
                println!("{name}: tick {}, the rope is at {}", snapshot.tick.0, rope.position);
                // A session that ended a moment ago takes no more inputs; its end is the next event.
                let _ = player.send_encoded(&Pull(strength));
            }
            Event::Ended(end) => {
                player.close().await;
                return Ok(muster::codec::decode(&end.result)?);
            }
            _ => {}
        }
    }
    Err("the link was closed before the end".into())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let [_, name, strength] = &std::env::args().collect::<Vec<_>>()[..] {
        let side = pull("muster://127.0.0.1:7777", name, strength.parse()?).await?;
        println!("{} has won", if side < 0 { "the left" } else { "the right" });
        return Ok(());
    }
    let server = Server::start(Config::new(Settings::dev_preset(), true)?, games()?).await?;
    println!("serving on {}; now pull: cargo run --example tug_of_war -- anna 2", server.address());
    server.stop_on_signal().await;
    Ok(())
}
