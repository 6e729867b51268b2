// SPDX-License-Identifier: MIT

//! What the tests of calls share: channels, a client, and a server that does as it is told.

use kpipe::channel::{Address, Channel, Options};
use kpipe_protocol::demo::Demo;
use kpipe_protocol::rpc::Client;
use kpipe_protocol::{FrameReader, Limit};
use std::thread;
use std::time::Duration;

/// Long enough for a loaded machine; a test that waits so long has failed.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Short, where the timeout itself is what is tested.
pub const SOON: Duration = Duration::from_millis(100);

pub type DemoClient = Client<Demo>;

/// Of AF_UNIX, and of this process alone: abstract names are those of all in the network namespace (unix(7)).
pub fn abstract_name(name: &str) -> String {
    format!("@kpipe-{name}-{}", std::process::id())
}

pub fn pair(address: &str) -> (Box<dyn Channel>, Box<dyn Channel>) {
    let options = Options::default();
    address.parse::<Address>().unwrap().pair(&options).unwrap()
}

/// A client of a server that does what `server` says with its channel.
pub fn with_own_server<T: Send>(
    server: impl FnOnce(Box<dyn Channel>) -> T + Send,
    test: impl FnOnce(&DemoClient),
) -> T {
    let (client, channel) = pair("pipe:");
    thread::scope(|scope| {
        let server = scope.spawn(move || server(channel));
        let client = Client::new(client).unwrap();
        test(&client);
        drop(client);
        server.join().unwrap()
    })
}

pub fn frames(channel: &mut dyn Channel) -> FrameReader<&mut dyn Channel> {
    let carries = channel.carries();
    FrameReader::new(channel, carries, Limit::default())
}
