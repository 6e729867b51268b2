// SPDX-License-Identifier: MIT

//! Channels of every kind that a host without the module has, between two threads.

mod listening;

use kpipe::channel::{Address, Carries, Channel, Error, Listener, Options, MESSAGE_BYTES};
use kpipe::Wait;
use nix::poll::{poll, PollFd, PollFlags};
use nix::sys::stat::Mode;
use std::io::{ErrorKind, Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

fn address(text: &str) -> Address {
    text.parse().expect(text)
}

/// One address of each kind; those with names in `folder`.
fn all(folder: &tempfile::TempDir) -> Vec<Address> {
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut all = vec![address("pipe:")];
    all.extend(named(&path));
    all
}

fn named(path: &dyn Fn(&str) -> String) -> Vec<Address> {
    for name in ["there", "back"] {
        nix::unistd::mkfifo(path(name).as_str(), Mode::S_IRWXU).unwrap();
    }
    vec![
        address(&format!("fifo:{},{}", path("there"), path("back"))),
        address(&format!("unix:{}", path("stream"))),
        address(&format!("unix-seqpacket:{}", path("seqpacket"))),
        address(&format!("unix-dgram:{}", path("dgram"))),
        address("tcp:127.0.0.1:0"),
        address("tcp:[::1]:0"),
        address("udp:127.0.0.1:0"),
    ]
}

fn has_ipv6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}

fn is_usable(address: &Address) -> bool {
    has_ipv6() || !address.to_string().contains("::1")
}

/// Waits until a client is there, and takes it.
fn accept(listener: &mut dyn Listener) -> Box<dyn Channel> {
    loop {
        let ready = listener.ready().expect("a free place");
        let n = poll(&mut [PollFd::new(ready, PollFlags::POLLIN)], 10_000_u16).unwrap();
        assert_eq!(n, 1, "no client came");
        if let Some(channel) = listener.accept().unwrap() {
            return channel;
        }
    }
}

fn read(channel: &mut dyn Channel) -> Vec<u8> {
    let mut buf = [0; 64];
    let len = channel.read(&mut buf).unwrap();
    buf[..len].to_vec()
}

#[test]
fn both_sides_of_every_kind_hear_each_other() {
    let folder = tempfile::tempdir().unwrap();
    for address in all(&folder).into_iter().filter(is_usable) {
        let (mut client, mut server) = address.pair(&Options::default()).unwrap();
        for channel in [&mut client, &mut server] {
            channel
                .set_timeouts(Some(PATIENCE), Some(PATIENCE))
                .unwrap();
        }
        client.write_all(b"question").unwrap();
        assert_eq!(read(&mut *server), b"question", "{address}");
        server.write_all(b"answer").unwrap();
        assert_eq!(read(&mut *client), b"answer", "{address}");
    }
}

#[test]
fn a_client_finds_the_server_and_after_it_the_next_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for address in named(&path).into_iter().filter(is_usable) {
        let options = Options::default();
        let mut listener = address.listen(&options).expect("listen");
        let address = listener.address();
        for text in ["first", "second"] {
            let (here, options) = (address.clone(), options.clone());
            let client = thread::spawn(move || {
                let mut channel = here.connect(&options).unwrap();
                channel
                    .set_timeouts(Some(PATIENCE), Some(PATIENCE))
                    .unwrap();
                channel.write_all(text.as_bytes()).unwrap();
                read(&mut *channel)
            });
            let mut channel = accept(&mut *listener);
            channel
                .set_timeouts(Some(PATIENCE), Some(PATIENCE))
                .unwrap();
            let heard = read(&mut *channel);
            assert_eq!(heard, text.as_bytes(), "{address}");
            channel.write_all(&heard).unwrap();
            assert_eq!(client.join().unwrap(), text.as_bytes(), "{address}");
            drop(channel);
            listener.release().unwrap();
        }
    }
}

#[test]
fn a_finished_sender_is_end_of_file_and_the_answer_still_comes() {
    let folder = tempfile::tempdir().unwrap();
    for address in all(&folder).into_iter().filter(is_usable) {
        if address.carries() == Carries::Messages {
            continue;
        }
        let (client, mut server) = address.pair(&Options::default()).unwrap();
        let (mut receiver, mut sender) = client.split().unwrap();
        sender.write_all(b"all of it").unwrap();
        sender.finish().unwrap();
        let mut text = String::new();
        server.read_to_string(&mut text).unwrap();
        assert_eq!(text, "all of it", "{address}");
        server.write_all(b"thanks").unwrap();
        drop(server);
        text.clear();
        receiver.read_to_string(&mut text).unwrap();
        assert_eq!(text, "thanks", "{address}");
    }
}

#[test]
fn messages_stay_apart_and_bytes_do_not() {
    let folder = tempfile::tempdir().unwrap();
    for address in all(&folder).into_iter().filter(is_usable) {
        let (mut client, mut server) = address.pair(&Options::default()).unwrap();
        client.write_all(b"ab").unwrap();
        client.write_all(b"cd").unwrap();
        let wanted: &[u8] = match address.carries() {
            Carries::Bytes => b"abcd",
            Carries::Messages => b"ab",
        };
        // TCP may deliver in two pieces.
        let mut heard = read(&mut *server);
        while heard.len() < wanted.len() {
            heard.extend(read(&mut *server));
        }
        assert_eq!(heard, wanted, "{address}");
    }
}

#[test]
fn a_message_that_would_be_cut_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let is_messages = |address: &Address| address.carries() == Carries::Messages;
    for address in all(&folder).into_iter().filter(is_messages) {
        let (mut client, mut server) = address.pair(&Options::default()).unwrap();
        server.set_timeouts(Some(PATIENCE), None).unwrap();
        let error = client.write(&[0; MESSAGE_BYTES + 1]).unwrap_err();
        assert!(
            error.to_string().contains("at most 65507 are allowed"),
            "{address}: {error}"
        );
        assert_eq!(client.write(&[1; MESSAGE_BYTES]).unwrap(), MESSAGE_BYTES);
        let mut heard = vec![0; MESSAGE_BYTES + 1];
        assert_eq!(server.read(&mut heard).unwrap(), MESSAGE_BYTES, "{address}");
    }
}

#[test]
fn a_time_limit_ends_a_read_and_a_write() {
    let folder = tempfile::tempdir().unwrap();
    for address in all(&folder).into_iter().filter(is_usable) {
        let (mut client, mut server) = address.pair(&Options::default()).unwrap();
        let short = Some(Duration::from_millis(20));
        server.set_timeouts(short, short).unwrap();
        let error = server.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{address}");
        // UDP drops what does not fit.
        if !address.to_string().starts_with("udp") {
            let error = loop {
                match server.write(&[0; 4096]) {
                    Ok(written) => assert_ne!(written, 0, "{address}"),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{address}");
        }
        client.set_wait(Wait::Never).unwrap();
        server.set_wait(Wait::Never).unwrap();
        let error = server.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "{address}");
    }
}

#[test]
fn a_time_limit_of_one_way_holds_though_the_other_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let short = Some(Duration::from_millis(20));
    for address in all(&folder).into_iter().filter(is_usable) {
        let (client, mut server) = address.pair(&Options::default()).unwrap();
        let drops_what_does_not_fit = address.to_string().starts_with("udp");
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            server.set_timeouts(short, None).unwrap();
            sender.send(server.read(&mut [0]).unwrap_err().kind())?;
            server.set_timeouts(None, short).unwrap();
            if drops_what_does_not_fit {
                return Ok(());
            }
            loop {
                if let Err(error) = server.write(&[0; 4096]) {
                    return sender.send(error.kind());
                }
            }
        });
        for _ in 0..if drops_what_does_not_fit { 1 } else { 2 } {
            let kind = receiver.recv_timeout(PATIENCE).expect("it sleeps");
            assert_eq!(kind, ErrorKind::TimedOut, "{address}");
        }
        drop(client);
    }
}

#[test]
fn without_a_server_a_client_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for address in named(&path).into_iter().filter(is_usable) {
        // Nobody hears whether a datagram of UDP arrives; port 0 is no port.
        let address = match address {
            Address::Tcp { host, .. } => Address::Tcp {
                host,
                port: "1".to_owned(),
            },
            Address::Udp { .. } => continue,
            other => other,
        };
        let options = Options {
            connect_timeout: Duration::from_millis(50),
            ..Options::default()
        };
        let error = address.connect(&options).unwrap_err();
        assert!(
            matches!(error, Error::NobodyListens { .. }),
            "{address}: {error}"
        );
        assert!(error.to_string().contains("kpipe serve"), "{error}");
    }
}

#[test]
fn a_connection_that_was_begun_is_there_when_it_is_writable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket").display().to_string();
    for text in ["tcp:127.0.0.1:0", &format!("unix:{path}")] {
        let mut listener = address(text).listen(&Options::default()).unwrap();
        let mut client = listener
            .address()
            .begin_connect(&Options::default())
            .unwrap();
        let n = poll(
            &mut [PollFd::new(client.tx(), PollFlags::POLLOUT)],
            10_000_u16,
        )
        .unwrap();
        assert_eq!(n, 1, "{text}");
        client.write_all(b"hello").unwrap();
        assert_eq!(read(&mut *accept(&mut *listener)), b"hello");
    }
}

#[test]
fn an_unknown_host_is_named() {
    let error = address("tcp:no-such-host.invalid:80")
        .connect(&Options::default())
        .unwrap_err();
    assert!(matches!(error, Error::Resolve { .. }), "{error}");
    assert!(
        error.to_string().contains("no-such-host.invalid"),
        "{error}"
    );
}
