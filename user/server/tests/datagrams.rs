// SPDX-License-Identifier: MIT

//! One socket for all clients: a handler that panics ends the conversation with all of them, and the next one begins.

mod common;

use common::Running;
use kpipe_server::echo::Echo;
use kpipe_server::{Fragile, Model, Settings};
use std::io::{Read, Write};
use std::time::Duration;

#[test]
fn a_panic_does_not_end_the_service_of_datagrams() {
    let id = std::process::id();
    for listen in ["udp:127.0.0.1:0", &format!("unix-dgram:@kpipe-panic-{id}")] {
        for model in [Model::Sequential, Model::Event] {
            let service = Fragile::new(Box::new(Echo), None, Some("die".to_owned()));
            let settings = Settings {
                model,
                timeout: Some(Duration::from_secs(10)),
                max_connections: 10,
                workers: 1,
            };
            let server = Running::start(service, listen, settings);
            let mut client = server.connect();
            for round in 1..=3 {
                client.write_all(b"die").unwrap();
                client.write_all(b"x").unwrap();
                let mut answer = [0; 8];
                let len = client.read(&mut answer).expect("an answer");
                assert_eq!(&answer[..len], b"x", "{listen} {model:?} {round}");
            }
            server.stop();
            assert_eq!(server.ended(), 4, "{listen} {model:?}");
        }
    }
}
