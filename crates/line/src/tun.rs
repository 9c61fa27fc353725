//! TUN devices: whole IP packets, one a read and one a write.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::libc;

mod call {
    // _IOW('T', 202, int), though it takes a pointer to an ifreq.
    nix::ioctl_write_ptr_bad!(
        /// Attaches a file to the TUN device that a request names.
        set_interface,
        nix::request_code_write!(b'T', 202, size_of::<nix::libc::c_int>()),
        nix::libc::ifreq
    );
}

/// A device, gone when this is. It lies in the namespace of the thread that makes it, and reads and writes don't wait.
#[derive(Debug)]
pub(crate) struct Tun(File);

impl Tun {
    /// Makes a device with this name, of at most 15 bytes.
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        let mut request = libc::ifreq {
            ifr_name: [0; libc::IFNAMSIZ],
            ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short },
        };
        if name.len() >= libc::IFNAMSIZ {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a device's name has at most 15 bytes"));
        }
        for (to, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = byte as libc::c_char;
        }
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
        // SAFETY: TUNSETIFF reads and writes one `ifreq`, which `request` is, during the call; the file stays open throughout.
        unsafe { call::set_interface(file.as_raw_fd(), &request) }?;
        Ok(Self(file))
    }

    /// The next packet's length, now in `buffer`; nothing if there is none.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match (&self.0).read(buffer) {
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives the kernel a packet. It refuses one while the device is down.
    pub(crate) fn write(&self, packet: &[u8]) -> io::Result<()> {
        (&self.0).write(packet).map(drop)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
