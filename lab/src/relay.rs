//! A way from inside a namespace to one TCP port of the machine, and to nothing else.
//!
//! A Unix socket is not bound to a network namespace, so two halves that meet at one carry the bytes: no veth
//! joins the lab to the machine, and no packet of a scan can cross.

use std::{
    fs, io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    thread,
};

/// One half of the way.
#[derive(Debug)]
pub struct Relay;

impl Relay {
    /// Accepts on a Unix socket and connects each caller to a TCP address of this namespace. Returns at once;
    /// the threads end with the process.
    pub fn unix_to_tcp(socket: &Path, target: SocketAddr) -> io::Result<()> {
        let _ = fs::remove_file(socket);
        let listener = UnixListener::bind(socket)?;
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if let Ok(far) = TcpStream::connect(target) {
                    join(near, far);
                }
            }
        });
        Ok(())
    }

    /// Accepts on a TCP address of this namespace and connects each caller to a Unix socket, until the
    /// process ends.
    pub fn tcp_to_unix(listen: SocketAddr, socket: &Path) -> io::Result<()> {
        let listener = TcpListener::bind(listen)?;
        for near in listener.incoming().flatten() {
            if let Ok(far) = UnixStream::connect(socket) {
                join(far, near);
            }
        }
        Ok(())
    }
}

/// Copies both ways until either side ends.
fn join(unix: UnixStream, tcp: TcpStream) {
    let (Ok(unix_reader), Ok(tcp_reader)) = (unix.try_clone(), tcp.try_clone()) else { return };
    let (mut unix_writer, mut tcp_writer) = (unix, tcp);
    let (mut unix_reader, mut tcp_reader) = (unix_reader, tcp_reader);
    thread::spawn(move || {
        let _ = io::copy(&mut unix_reader, &mut tcp_writer);
        let _ = tcp_writer.shutdown(Shutdown::Both);
    });
    thread::spawn(move || {
        let _ = io::copy(&mut tcp_reader, &mut unix_writer);
        let _ = unix_writer.shutdown(Shutdown::Both);
    });
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn bytes_cross_both_ways() {
        let folder = std::env::temp_dir().join(format!("portreeve-relay-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("folder");
        let socket = folder.join("relay");
        let server = TcpListener::bind("127.0.0.1:0").expect("listener");
        Relay::unix_to_tcp(&socket, server.local_addr().expect("address")).expect("relay");
        let answer = thread::spawn(move || {
            let (mut peer, _) = server.accept().expect("caller");
            let mut question = [0; 4];
            peer.read_exact(&mut question).expect("question");
            peer.write_all(b"pong").expect("answer");
            question
        });
        let mut caller = UnixStream::connect(&socket).expect("connect");
        caller.write_all(b"ping").expect("ask");
        let mut reply = String::new();
        caller.read_to_string(&mut reply).expect("reply");
        assert_eq!((&answer.join().expect("thread"), reply.as_str()), (b"ping", "pong"));
        fs::remove_dir_all(&folder).expect("clean up");
    }
}
