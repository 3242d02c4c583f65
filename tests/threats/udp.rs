//! First packets of QUIC that nobody follows up: muster answers an address that may be a victim's with at most three
//! times what came from there, and with a small Retry when there are many.

use std::collections::HashSet;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_proto::{ClientConfig, Endpoint, EndpointConfig};

use crate::common::process::write_certificate;
use crate::common::trust::client_crypto;
use crate::common::{BOTH, World};

async fn world() -> World {
    World::with_files(write_certificate, |settings| {
        let directory = settings.tickets.keys[0].parent().unwrap().to_owned();
        settings.tls.certificate = Some(directory.join("cert.pem"));
        settings.tls.key = Some(directory.join("key.pem"));
        settings.limits.handshake = Duration::from_secs(3);
        settings.transport.socket_buffer = 1 << 20;
    })
    .await
}

/// An attacker: sends first packets as a client would, and never another one.
struct Spoofer {
    endpoint: Endpoint,
    config: ClientConfig,
    socket: UdpSocket,
    server: std::net::SocketAddr,
    sent: usize,
    received: usize,
    retries: usize,
    answered: HashSet<Vec<u8>>,
}

impl Spoofer {
    fn new(world: &World) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        Self {
            endpoint: Endpoint::new(Arc::new(EndpointConfig::default()), None, false, None),
            config: ClientConfig::new(Arc::new(client_crypto(world.directory()))),
            socket,
            server: world.address(),
            sent: 0,
            received: 0,
            retries: 0,
            answered: HashSet::new(),
        }
    }

    /// A whole first flight: one packet of 1,200 bytes.
    fn initial(&mut self) -> Vec<u8> {
        let now = Instant::now();
        let (_, mut connection) = self.endpoint.connect(now, self.config.clone(), self.server, "localhost").unwrap();
        let mut packet = Vec::new();
        let transmit = connection.poll_transmit(now, 1, &mut packet).unwrap();
        packet.truncate(transmit.size);
        assert_eq!(packet.len(), 1_200);
        packet
    }

    fn send(&mut self, packet: &[u8]) {
        self.sent += packet.len();
        self.socket.send_to(packet, self.server).unwrap();
    }

    /// Reads what has come; whether there was anything.
    fn receive(&mut self) -> bool {
        let mut room = [0; 65_536];
        let Ok((count, _)) = self.socket.recv_from(&mut room) else { return false };
        self.received += count;
        let packet = &room[..count];
        // A long header of version 1 whose type is 3 is a Retry; behind the version stands our connection id.
        if packet[0] & 0xf0 == 0xf0 {
            self.retries += 1;
        }
        if packet[0] & 0x80 != 0 {
            let length = usize::from(packet[5]);
            self.answered.insert(packet[6..6 + length].to_vec());
        }
        true
    }

    /// Sends so many, a few at a time, and waits for the answers to those: the kernel drops nothing on the way.
    fn flood(&mut self, count: usize) {
        for begun in (0..count).step_by(16) {
            let packets: Vec<Vec<u8>> = (begun..count.min(begun + 16)).map(|_| self.initial()).collect();
            let expected = self.answered.len() + packets.len();
            packets.iter().for_each(|packet| self.send(packet));
            let patience = Instant::now() + Duration::from_secs(5);
            while self.answered.len() < expected {
                self.receive();
                assert!(Instant::now() < patience, "{} of {expected} answered", self.answered.len());
            }
        }
    }

    /// Goes on reading until nothing has come for a while.
    fn drain(&mut self, at_least: Duration) {
        let end = Instant::now() + at_least;
        while Instant::now() < end {
            self.receive();
        }
    }

    fn ratio(&self) -> f64 {
        self.received as f64 / self.sent as f64
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_proves_nothing_gets_three_times_its_bytes_at_the_most() {
    let world = Arc::new(world().await);
    let flooded = Arc::clone(&world);
    let spoofed = tokio::task::spawn_blocking(move || {
        let mut spoofer = Spoofer::new(&flooded);
        spoofer.flood(100);
        // With all that is sent again because nothing is acknowledged, up to the end of the handshake's time.
        spoofer.drain(Duration::from_millis(3_500));
        spoofer
    })
    .await
    .unwrap();
    println!("100 handshakes that are not followed up: {:.2} bytes out for one in", spoofed.ratio());
    assert_eq!(spoofed.retries, 0, "below the number from which addresses must be proven");
    assert!(spoofed.ratio() <= 3.0, "{}", spoofed.ratio());
    assert_eq!(world.metrics().pending_links.get(), 0, "nobody knocked");
    assert!(world.player(BOTH[1], "good", "").await.welcome.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_first_packets_is_answered_by_retries() {
    let world = Arc::new(world().await);
    let flooded = Arc::clone(&world);
    let began = Instant::now();
    let (packets, soon_after) = (if crate::long() { 100_000 } else { 5_000 }, Duration::from_millis(200));
    let spoofed = tokio::task::spawn_blocking(move || {
        let mut spoofer = Spoofer::new(&flooded);
        spoofer.flood(packets);
        spoofer.drain(soon_after);
        spoofer
    })
    .await
    .unwrap();
    println!("{packets} first packets: {:.2} bytes out for one in, {} Retries", spoofed.ratio(), spoofed.retries);
    // At most 128 handshakes are held for addresses that are not proven, and each makes room after three seconds.
    let turns = 1 + began.elapsed().as_secs() as usize / 3;
    assert!(spoofed.retries >= packets - turns * 128, "{}", spoofed.retries);
    assert!(spoofed.ratio() <= 3.0, "{}", spoofed.ratio());
    // An honest client proves its address, and is let in past the flood.
    assert!(world.player(BOTH[1], "good", "").await.welcome.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_packet_that_is_too_short_gets_no_byte_of_an_answer() {
    let world = Arc::new(world().await);
    let flooded = Arc::clone(&world);
    let spoofed = tokio::task::spawn_blocking(move || {
        let mut spoofer = Spoofer::new(&flooded);
        let whole = spoofer.initial();
        for length in [1, 5, 21, 22, 100, 600, 1_000, 1_199] {
            spoofer.send(&whole[..length]);
            // A version that is not spoken is negotiated only with who has sent a whole packet.
            let mut other = whole[..length].to_vec();
            other.iter_mut().skip(1).take(4).for_each(|byte| *byte = 0x1a);
            spoofer.send(&other);
        }
        // Nor does what is no QUIC at all, or belongs to no connection, get more than it brought.
        spoofer.drain(Duration::from_millis(300));
        assert_eq!(spoofer.received, 0);
        spoofer.send(&[0x40; 1_200]);
        spoofer.send(&[0x00; 1_200]);
        spoofer.drain(Duration::from_millis(200));
        spoofer
    })
    .await
    .unwrap();
    assert!(spoofed.received <= 2_400, "{}", spoofed.received);
    assert!(world.player(BOTH[1], "good", "").await.welcome.is_some());
}
