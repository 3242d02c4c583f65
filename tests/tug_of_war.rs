//! The example's game server, played to its end by two of the example's own clients.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../examples/tug_of_war.rs"]
#[allow(dead_code)]
mod example;

use std::time::Duration;

use muster::config::{Config, Settings};
use muster::server::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stronger_of_two_wins_and_both_are_told_the_same() {
    let settings = Settings { listen: "127.0.0.1:0".parse().unwrap(), ..Settings::dev_preset() };
    let server = Server::start(Config::new(settings, true).unwrap(), example::games().unwrap()).await.unwrap();
    let url = format!("muster://{}", server.address());

    // Who comes first sits on seat 0 and pulls to the left; the other is stronger.
    let first = tokio::spawn({
        let url = url.clone();
        async move { example::pull(&url, "anna", 1).await.map_err(|error| error.to_string()) }
    });
    while server.hub().links() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let second = example::pull(&url, "bert", 3).await.map_err(|error| error.to_string());

    assert_eq!(second, Ok(1), "the right side pulls harder");
    assert_eq!(first.await.unwrap(), Ok(1), "and the loser hears the same");
    server.stop().await;
}
