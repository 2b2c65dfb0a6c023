//! Free ports on the loopback interface.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// `preferred` if nothing listens there, else any free port.
pub(crate) fn prefer(preferred: u16) -> io::Result<u16> {
    listen(preferred)
        .or_else(|_| listen(0))
        .and_then(|listener| port_of(&listener))
}

/// Free ports on the loopback interface, all different.
///
/// # Errors
/// The system has none left.
pub fn free<const N: usize>() -> io::Result<[u16; N]> {
    let mut ports = [0; N];
    // All are held before any is given back, so that none is handed out twice.
    let held: io::Result<Vec<_>> = (0..N).map(|_| listen(0)).collect();
    for (port, listener) in ports.iter_mut().zip(&held?) {
        *port = port_of(listener)?;
    }
    Ok(ports)
}

fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

fn port_of(listener: &TcpListener) -> io::Result<u16> {
    Ok(listener.local_addr()?.port())
}
