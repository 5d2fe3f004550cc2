//! Where the control socket of a state directory lies, and how to name it when its path is too long for the kernel.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// File name of the socket in the state directory.
pub const FILE_NAME: &str = "control.sock";

/// The longest path that fits into `sockaddr_un.sun_path` with its terminating zero. Source: unix(7).
const PATH_BYTES_MAX: usize = 107;

/// A name for the control socket that the kernel takes. It is good as long as this value lives, and in this process only.
#[derive(Debug)]
pub struct SocketAddress {
    path: PathBuf,
    // Kept open: a long path is named through it.
    _directory: Option<File>,
}

impl SocketAddress {
    /// The path to bind or to connect.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The address of the control socket of a state directory. A path over 107 bytes is named through the open directory, as
/// `/proc/self/fd/N/control.sock`.
///
/// # Errors
/// When the path is too long and the directory cannot be opened; `NotFound` when there is none.
pub fn socket_address(state: &Path) -> io::Result<SocketAddress> {
    let plain = state.join(FILE_NAME);
    if plain.as_os_str().len() <= PATH_BYTES_MAX {
        return Ok(SocketAddress { path: plain, _directory: None });
    }
    let directory = File::open(state)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{FILE_NAME}", directory.as_raw_fd()));
    Ok(SocketAddress { path, _directory: Some(directory) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_in_a_very_deep_directory_can_be_bound_and_connected() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let address = socket_address(&deep).unwrap();
        let _listener = tokio::net::UnixListener::bind(address.path()).unwrap();
        assert!(deep.join(FILE_NAME).exists());
        let again = socket_address(&deep).unwrap();
        tokio::net::UnixStream::connect(again.path()).await.unwrap();
    }

    #[test]
    fn a_short_path_is_used_as_it_is() {
        assert_eq!(socket_address(Path::new("/state")).unwrap().path(), Path::new("/state/control.sock"));
        assert_eq!(socket_address(&PathBuf::from("x".repeat(200))).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
