//! Connections whose other end is gone without a word.
//!
//! A session waits for hours, for a large statement's answer or for its next turn. A host that loses its power says nothing, and
//! firewalls and balancers forget a connection on which nothing was sent for some minutes. Without a sign of life in between, the
//! one is waited for without an end, and the other is found broken when it is needed.

use std::time::Duration;

/// Less than what anything in between is known to forget after.
const FIRST_SIGN: Duration = Duration::from_secs(30);
const NEXT_SIGN: Duration = Duration::from_secs(10);
/// A host that acknowledges nothing for so long is gone. One whose server is stopped does acknowledge.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);

/// Has the kernel look after all connections of this process. sqlx has no option for it and shows no socket, so they are looked
/// for: call it after a connect.
pub(crate) fn watch_connections() {
    #[cfg(target_os = "linux")]
    for entry in std::fs::read_dir("/proc/self/fd").into_iter().flatten() {
        let number = entry
            .ok()
            .and_then(|entry| entry.file_name().to_str()?.parse().ok());
        if let Some(number) = number {
            watch(number);
        }
    }
}

#[cfg(target_os = "linux")]
fn watch(number: std::os::fd::RawFd) {
    use rustix::net::sockopt;
    use std::os::fd::BorrowedFd;

    // SAFETY: it is used here and now, to set options of a socket. Should another thread close it meanwhile, they are refused, or
    // set on the connection that has got its number, which is to have them, too.
    #[expect(unsafe_code, reason = "no other way to the socket of a session")]
    let socket = unsafe { BorrowedFd::borrow_raw(number) };
    // No socket, or one that has been seen to.
    if !matches!(sockopt::socket_keepalive(socket), Ok(false)) {
        return;
    }
    // What is no TCP connection refuses the rest.
    let _ = sockopt::set_socket_keepalive(socket, true)
        .and_then(|()| sockopt::set_tcp_keepidle(socket, FIRST_SIGN))
        .and_then(|()| sockopt::set_tcp_keepintvl(socket, NEXT_SIGN))
        .and_then(|()| {
            let milliseconds = u32::try_from(LONGEST_SILENCE.as_millis()).unwrap_or(u32::MAX);
            sockopt::set_tcp_user_timeout(socket, milliseconds)
        });
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use rustix::net::sockopt;

    #[test]
    fn a_connection_is_watched_whoever_made_it() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let connection = TcpStream::connect(address).expect("a connection");
        super::watch_connections();
        assert!(sockopt::socket_keepalive(&connection).expect("an option"));
        let idle = sockopt::tcp_keepidle(&connection).expect("an option");
        assert_eq!(idle, super::FIRST_SIGN);
        assert_eq!(sockopt::tcp_user_timeout(&connection), Ok(60_000));
    }
}
