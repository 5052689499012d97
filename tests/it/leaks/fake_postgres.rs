//! A server that asks for a password in the protocol of PostgreSQL, and refuses it.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A running server. Its thread ends with the test process.
pub struct FakePostgres {
    pub port: u16,
    passwords: Arc<Mutex<Vec<String>>>,
}

impl FakePostgres {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let passwords = Arc::new(Mutex::new(Vec::new()));
        let received = Arc::clone(&passwords);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Fails if the client disconnects.
                _ = refuse(stream, &received);
            }
        });
        Self { port, passwords }
    }

    /// Returns the passwords received since the last call.
    pub fn take_passwords(&self) -> Vec<String> {
        std::mem::take(&mut self.passwords.lock().unwrap())
    }
}

/// Asks for a password, records it, and refuses it.
fn refuse(mut stream: TcpStream, passwords: &Mutex<Vec<String>>) -> io::Result<()> {
    const SSL_REQUEST: [u8; 4] = 80_877_103_u32.to_be_bytes();
    // Startup messages have no type byte.
    while message(&mut stream)?.starts_with(&SSL_REQUEST) {
        stream.write_all(b"N")?;
    }
    // AuthenticationCleartextPassword.
    stream.write_all(&[b'R', 0, 0, 0, 8, 0, 0, 0, 3])?;
    stream.read_exact(&mut [0])?;
    let password = message(&mut stream)?;
    let text = String::from_utf8_lossy(&password).trim_end_matches('\0').to_owned();
    passwords.lock().unwrap().push(text);
    let fields = b"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user \"pvz\"\0\0";
    stream.write_all(b"E")?;
    stream.write_all(&u32::try_from(fields.len() + 4).unwrap().to_be_bytes())?;
    stream.write_all(fields)
}

/// Reads the length and the content of a message.
fn message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut content = vec![0; u32::from_be_bytes(length) as usize - 4];
    stream.read_exact(&mut content)?;
    Ok(content)
}
