// SPDX-License-Identifier: MIT

//! Where clients come from: names that are taken or left behind, places that are waited for, and what is told of it.

use super::{accept, address, has_ipv6, is_usable, named, read};
use kpipe::channel::{Address, Error, Options};
use rustix::fs::{flock, FlockOperation};
use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{mpsc, Arc, Mutex};
use std::thread;
use std::time::Duration;

#[test]
fn what_a_client_left_behind_is_not_taken_for_the_next_ones() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let fifos = named(&path).remove(0);
    let mut listener = fifos.listen(&Options::default()).unwrap();
    let mut first = fifos.connect(&Options::default()).unwrap();
    first.write_all(b"left behind").unwrap();
    drop(first);
    // The server has not looked yet.
    let impatient = Options {
        connect_timeout: Duration::ZERO,
        ..Options::default()
    };
    let error = fifos.connect(&impatient).unwrap_err();
    assert!(matches!(error, Error::Taken { .. }), "{error}");
    assert!(listener.accept().unwrap().is_none(), "it has gone");
    let mut second = fifos.connect(&impatient).unwrap();
    second.write_all(b"new").unwrap();
    assert_eq!(read(&mut *accept(&mut *listener)), b"new");
}

#[test]
fn a_client_that_was_reset_before_it_was_taken_still_has_its_name() {
    let any = address("tcp:127.0.0.1:0");
    let mut listener = any.listen(&Options::default()).unwrap();
    let client = listener.address().connect(&Options::default()).unwrap();
    let name = client.names().local;
    let linger = Some(Duration::ZERO);
    socket2::SockRef::from(&client.tx())
        .set_linger(linger)
        .unwrap();
    drop(client);
    assert_eq!(accept(&mut *listener).names().peer, name);
}

#[test]
fn a_full_backlog_of_unix_is_waited_for_only_so_long() {
    let folder = tempfile::tempdir().unwrap();
    let address = address(&format!("unix:{}", folder.path().join("socket").display()));
    let options = Options {
        backlog: 1,
        connect_timeout: Duration::from_millis(50),
        ..Options::default()
    };
    let _listener = address.listen(&options).unwrap();
    // One more than the backlog (listen(2) on Linux).
    let _waiting: Vec<_> = (0..2).map(|_| address.connect(&options).unwrap()).collect();
    let late = address.connect(&options);
    assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");
    match address.begin_connect(&options) {
        Err(Error::Io { source, .. }) => assert_eq!(source.kind(), ErrorKind::WouldBlock),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_second_server_is_told_that_the_address_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for address in named(&path).into_iter().filter(is_usable) {
        let listener = address.listen(&Options::default()).unwrap();
        let address = listener.address();
        let error = address
            .listen(&Options::default())
            .expect_err("a second listener");
        assert!(matches!(error, Error::InUse { .. }), "{address}: {error}");
        let is_of_sockets = !matches!(address, Address::Queues { .. });
        assert_eq!(error.to_string().contains("ss -lpn"), is_of_sockets);
    }
}

#[test]
fn an_address_in_use_is_not_passed_over_for_another_one_of_the_name() {
    if !has_ipv6() {
        return;
    }
    let other = TcpListener::bind("[::1]:0").unwrap();
    let port = other.local_addr().unwrap().port();
    // 0.0.0.0 would be free.
    let error = address(&format!("tcp::{port}"))
        .listen(&Options::default())
        .expect_err("the port of another");
    assert!(matches!(error, Error::InUse { .. }), "{error}");
}

#[test]
fn without_a_host_clients_come_by_every_version_of_ip() {
    let mut listener = address("tcp::0").listen(&Options::default()).unwrap();
    let Address::Tcp { port, .. } = listener.address() else {
        panic!("{:?}", listener.address());
    };
    for host in ["127.0.0.1", "[::1]"] {
        if host == "[::1]" && !has_ipv6() {
            continue;
        }
        let mut client = TcpStream::connect(format!("{host}:{port}")).expect(host);
        client.write_all(host.as_bytes()).unwrap();
        assert_eq!(read(&mut *accept(&mut *listener)), host.as_bytes());
    }
}

#[test]
fn who_has_a_queue_locked_does_not_hold_up_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let address = named(&path).remove(0);
    let mut listener = address.listen(&Options::default()).unwrap();
    let mut client = address.connect(&Options::default()).unwrap();
    client.write_all(b"x").unwrap();
    let stranger = kpipe::Queue::at(path("back"))
        .reader(kpipe::Wait::Never)
        .unwrap();
    flock(&stranger, FlockOperation::NonBlockingLockExclusive).unwrap();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let refused = listener.accept().map(drop).map_err(|error| match error {
            Error::Io { source, .. } => source.kind(),
            other => panic!("{other}"),
        });
        sender.send((refused, listener))
    });
    let (refused, mut listener) = receiver.recv_timeout(super::PATIENCE).expect("it waits");
    assert_eq!(refused, Err(ErrorKind::WouldBlock));
    drop(stranger);
    assert_eq!(read(&mut *accept(&mut *listener)), b"x");
}

#[test]
fn a_second_client_of_queues_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let address = named(&path).remove(0);
    let options = Options {
        connect_timeout: Duration::from_millis(50),
        ..Options::default()
    };
    let mut listener = address.listen(&options).unwrap();
    let mut first = address.connect(&options).unwrap();
    let error = address.connect(&options).unwrap_err();
    assert!(matches!(error, Error::Taken { .. }), "{error}");
    first.write_all(b"mine").unwrap();
    let mut channel = accept(&mut *listener);
    assert_eq!(read(&mut *channel), b"mine");
    // The client has gone, but its server has not noticed yet.
    drop(first);
    let error = address.connect(&options).unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(read(&mut *channel), b"");
}

#[test]
fn a_client_that_could_not_be_taken_is_taken_later() {
    let folder = tempfile::tempdir().unwrap();
    let [there, back, away] = ["there", "back", "away"].map(|name| folder.path().join(name));
    for path in [&there, &back] {
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    let address = address(&format!("fifo:{},{}", there.display(), back.display()));
    let mut listener = address.listen(&Options::default()).unwrap();
    let mut client = address.connect(&Options::default()).unwrap();
    client.write_all(b"x").unwrap();
    std::fs::rename(&back, &away).unwrap();
    assert!(listener.accept().is_err());
    std::fs::rename(&away, &back).unwrap();
    assert_eq!(read(&mut *accept(&mut *listener)), b"x");
}

#[test]
fn a_dead_servers_socket_file_is_replaced_and_another_file_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let address = address(&format!("unix:{}", path.display()));
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    drop(address.listen(&Options::default()).unwrap());
    assert!(!path.exists(), "a server removes its own file");
    std::fs::write(&path, "precious").unwrap();
    assert!(address.listen(&Options::default()).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_server_leaves_its_successors_socket_file_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let address = address(&format!("unix:{}", path.display()));
    let first = address.listen(&Options::default()).unwrap();
    std::fs::remove_file(&path).unwrap();
    let second = address.listen(&Options::default()).unwrap();
    drop(first);
    address.connect(&Options::default()).unwrap();
    drop(second);
    assert!(!path.exists());
}

/// What is told of `address` while both sides of it are made, or not.
fn told(address: &Address, make: impl Fn(&Address, &Options)) -> String {
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&told);
    let options = Options {
        connect_timeout: Duration::ZERO,
        observer: Some(Arc::new(move |text: &str| {
            sink.lock().unwrap().push(text.to_owned())
        })),
        ..Options::default()
    };
    make(address, &options);
    let told = told.lock().unwrap();
    told.join("\n")
}

#[test]
fn the_steps_are_told() {
    let pair = |address: &Address, options: &Options| {
        let options = Options {
            connect_timeout: super::PATIENCE,
            ..options.clone()
        };
        let (client, _server) = address.pair(&options).unwrap();
        options.observer.as_ref().unwrap()(&format!("made: {}", client.names()));
    };
    let said = told(&address("tcp:127.0.0.1:0"), pair);
    let (_, names) = said.split_once("made: ").unwrap();
    for wanted in [
        "is 127.0.0.1:0",
        "backlog 128",
        "SO_REUSEADDR",
        "TCP_NODELAY",
        &format!("connected: {names}"),
        "accepted: ",
    ] {
        assert!(said.contains(wanted), "{wanted} is not in:\n{said}");
    }
}

#[test]
fn what_is_not_so_is_not_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let [fifos, unix, _, _, _, _, udp] = <[Address; 7]>::try_from(named(&path)).unwrap();
    let listens = |address: &Address, options: &Options| drop(address.listen(options).unwrap());
    for address in [&unix, &udp] {
        let said = told(address, listens);
        for option in ["TCP_NODELAY", "SO_REUSEADDR"] {
            assert!(!said.contains(option), "{address}: {said}");
        }
    }
    assert!(!told(&udp, listens).contains("backlog"));
    let said = told(&fifos, |address, options| {
        address.connect(options).expect_err("nobody listens");
    });
    assert!(!said.contains("connected"), "{said}");
}
