//! A participant's paths: the server's end of ICE (RFC 8445 §2.5, a lite agent), one per peer.
//!
//! Every request is checked before anything is learnt from it, and answered where it came in. A lite agent sends no checks of its own,
//! so nobody can have it send anything to an address that has not proved to know the password.
//!
//! Where media goes:
//! * where the client nominated last (USE-CANDIDATE), unless an ICE restart has replaced that. Towards a lite agent Chromium repeats that in every check of the pair it
//!   uses, so a NAT that gives it another port moves media with the next check, at most 2.5 s later;
//! * or to a path that is checked without being nominated, when the one in use has not been for [`DESERTED`]: clients that nominate only once check only the pair they use
//!   from then on, so it is that pair behind another port. Not during an ICE restart, which ends with a nomination;
//! * before the first nomination, where the client was last heard.
//!
//! Which nominations a restart has replaced is told by the client's ufrag, not by the server's: Chromium checks from its new ports as soon as it has made its offer, under the
//! credentials that it knows, and if such a check is answered before its offer is, that pair keeps those credentials for good.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rtc_crypto::RTCCrypto;
use rtc_stun::attributes::{
    ATTR_ICE_CONTROLLED, ATTR_MESSAGE_INTEGRITY, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME, AttrType, Attributes,
};
use rtc_stun::error_code::{CODE_ROLE_CONFLICT, CODE_UNKNOWN_ATTRIBUTE, ErrorCode};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_ERROR, BINDING_REQUEST, BINDING_SUCCESS, Message, Setter};
use rtc_stun::uattrs::UnknownAttributes;
use rtc_stun::xoraddr::XorMappedAddress;

use crate::{Address, IceCredentials, Path, SocketId, WorkerIndex};

#[cfg(test)]
mod tests;

/// Without an authenticated request for this long, consent to send has expired (RFC 7675 §5.1).
pub(crate) const CONSENT: Duration = Duration::from_secs(30);

/// A path in use that has not been checked for this long gives way to one that is. Clients that nominate in every check do so at least every 2.5 s; the others
/// keep their consent fresh every 4 to 6 s (RFC 7675 §5.1), so that the first check from another port finds the old one deserted. Where more than one
/// path is checked, a lost check or two move media to another that works too, until the next nomination.
const DESERTED: Duration = Duration::from_millis(3_500);

/// Paths remembered at once. A browser with Wi-Fi, LTE and a VPN over both families checks from six addresses; beyond that the
/// longest silent one is forgotten.
const MAX_PATHS: usize = 8;

/// Credentials remembered at once that a restart has replaced: those in use, and those the client had heard of since.
const MAX_REPLACED: usize = 2;

/// Bytes of a request that are looked at; browsers send 100 to 140.
const MAX_REQUEST: usize = 512;

/// Why a STUN datagram changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Not a STUN binding request, or not a whole one.
    Malformed,
    /// USERNAME names nobody.
    UnknownUser,
    /// MESSAGE-INTEGRITY or FINGERPRINT is missing or wrong.
    NotAuthentic,
}

/// A parsed binding request, not yet trusted.
pub(crate) struct Request {
    message: Message,
    /// `local ufrag:remote ufrag` (RFC 8445 §7.2.2).
    username: Vec<u8>,
}

impl Request {
    /// Parses a binding request.
    pub(crate) fn parse(datagram: &[u8]) -> Result<Self, Refused> {
        if datagram.len() > MAX_REQUEST {
            return Err(Refused::Malformed);
        }
        let mut message = Message::new();
        message.unmarshal_binary(datagram).map_err(|_| Refused::Malformed)?;
        // Bytes after the message would be covered by neither check below.
        if message.typ != BINDING_REQUEST || datagram.len() != message.raw.len() || datagram.len() != 20 + message.length as usize {
            return Err(Refused::Malformed);
        }
        let username = message.get(ATTR_USERNAME).map_err(|_| Refused::Malformed)?;
        Ok(Self { message, username })
    }

    /// The ufrag of this server's it is for.
    pub(crate) fn local_ufrag(&self) -> &[u8] {
        self.username.split(|&byte| byte == b':').next().unwrap_or_default()
    }

    /// The client's own ufrag, another after each restart (RFC 8445 §9).
    fn remote_ufrag(&self) -> &[u8] {
        self.username.splitn(2, |&byte| byte == b':').nth(1).unwrap_or_default()
    }

    /// The attributes that MESSAGE-INTEGRITY covers: those before it (RFC 8489 §14.5).
    fn covers(&self, attribute: AttrType) -> bool {
        let Attributes(attributes) = &self.message.attributes;
        attributes.iter().take_while(|a| a.typ != ATTR_MESSAGE_INTEGRITY).any(|a| a.typ == attribute)
    }

    /// Comprehension-required attributes (0x0000–0x7fff) that a binding request of ICE doesn't have.
    fn unknown_required(&self) -> Vec<AttrType> {
        let known = [ATTR_USERNAME, ATTR_MESSAGE_INTEGRITY, ATTR_PRIORITY, ATTR_USE_CANDIDATE];
        let Attributes(attributes) = &self.message.attributes;
        attributes.iter().map(|a| a.typ).filter(|typ| typ.0 < 0x8000 && !known.contains(typ)).take(4).collect()
    }
}

/// The worker whose peer a STUN binding request is for, as its USERNAME says; `None` if the datagram is none of any peer of ours. Nothing in it is authenticated.
pub fn owner_of(datagram: &[u8]) -> Option<WorkerIndex> {
    IceCredentials::owner(Request::parse(datagram).ok()?.local_ufrag())
}

/// What an authentic request led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Its address was not one of the peer's before.
    pub(crate) new: bool,
    /// An address that had to make room for it.
    pub(crate) forgotten: Option<Address>,
    /// Media goes another way from now on.
    pub(crate) moved: bool,
}

struct ValidPath {
    path: Path,
    heard: Instant,
}

/// The server's end of one participant's ICE session.
pub(crate) struct Agent {
    current: IceCredentials,
    /// Those before ICE restarts, the oldest first, until a path is nominated under the current ones.
    previous: VecDeque<IceCredentials>,
    /// The client's own ufrag since the last restart.
    client: String,
    /// Nothing was nominated since the last restart.
    is_restarting: bool,
    paths: Vec<ValidPath>,
    selected: Option<Path>,
    /// No path's consent expires before this.
    expires: Option<Instant>,
}

impl Agent {
    pub(crate) fn new(credentials: IceCredentials) -> Self {
        Self {
            current: credentials,
            previous: VecDeque::new(),
            client: String::new(),
            is_restarting: false,
            paths: Vec::new(),
            selected: None,
            expires: None,
        }
    }

    /// Begins an ICE restart, after which the client's own ufrag is `client`. Returns the ufrag that no longer counts, if too many generations met.
    pub(crate) fn restart(&mut self, credentials: IceCredentials, client: String) -> Option<String> {
        (self.client, self.is_restarting) = (client, true);
        if self.current.ufrag == credentials.ufrag {
            // The client alone has begun anew.
            return None;
        }
        self.previous.push_back(std::mem::replace(&mut self.current, credentials));
        if self.previous.len() <= MAX_REPLACED {
            return None;
        }
        self.previous.pop_front().map(|credentials| credentials.ufrag)
    }

    /// The ufrags under which requests are taken.
    pub(crate) fn ufrags(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.current).chain(&self.previous).map(|credentials| credentials.ufrag.as_str())
    }

    /// Whether media and DTLS go anywhere.
    pub(crate) fn has_egress(&self) -> bool {
        self.selected.is_some() || !self.paths.is_empty()
    }

    /// Where media and DTLS go: where the client last nominated, or before that where it was last heard.
    pub(crate) fn egress(&self) -> Option<Path> {
        self.selected.or_else(|| self.paths.iter().max_by_key(|valid| valid.heard).map(|valid| valid.path))
    }

    /// Every validated address.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = Address> {
        self.paths.iter().map(|valid| valid.path.address())
    }

    /// Checks a request that came in over `path` and writes its answer.
    pub(crate) fn handle_request(
        &mut self,
        now: Instant,
        path: &Path,
        request: &mut Request,
        crypto: &dyn RTCCrypto,
        answer: &mut Message,
    ) -> Result<Heard, Refused> {
        let local = request.local_ufrag();
        let is_current = self.current.ufrag.as_bytes() == local;
        let mut known = std::iter::once(&self.current).chain(&self.previous);
        let pwd = known.find(|credentials| credentials.ufrag.as_bytes() == local).ok_or(Refused::UnknownUser)?.pwd.clone();
        MessageIntegrity::check(&mut request.message, pwd.as_bytes(), crypto).map_err(|_| Refused::NotAuthentic)?;
        FINGERPRINT.check(&request.message).map_err(|_| Refused::NotAuthentic)?;

        // A lite agent stays controlled; the other end has to take the other role (RFC 8445 §6.1.1, §7.3.1.1).
        let error = if request.covers(ATTR_ICE_CONTROLLED) {
            Some((CODE_ROLE_CONFLICT, Vec::new()))
        } else {
            let unknown = request.unknown_required();
            (!unknown.is_empty()).then_some((CODE_UNKNOWN_ATTRIBUTE, unknown))
        };
        write_answer(answer, &request.message, path.remote, error.clone(), &pwd, crypto).map_err(|_| Refused::Malformed)?;
        if error.is_some() {
            return Ok(Heard { new: false, forgotten: None, moved: false });
        }

        let mut heard = Heard { new: false, forgotten: None, moved: false };
        if let Some(valid) = self.paths.iter_mut().find(|valid| valid.path == *path) {
            valid.heard = now;
        } else {
            heard.new = !self.addresses().any(|address| address == path.address());
            if self.paths.len() == MAX_PATHS {
                heard.forgotten = self.forget_longest_silent();
            }
            self.paths.push(ValidPath { path: *path, heard: now });
            self.expires.get_or_insert(now + CONSENT);
        }
        // Of before the restart: it keeps its path alive but nominates nothing any more.
        let replaced = !is_current && request.remote_ufrag() != self.client.as_bytes();
        let nominated = request.covers(ATTR_USE_CANDIDATE) && (!replaced || self.selected.is_none());
        if nominated || self.is_deserted(now) {
            heard.moved = self.selected != Some(*path);
            self.selected = Some(*path);
        }
        if nominated && !replaced {
            self.is_restarting = false;
        }
        if nominated && is_current {
            self.previous.clear();
        }
        Ok(heard)
    }

    /// Whether the path in use is one that the client has left without a word.
    fn is_deserted(&self, now: Instant) -> bool {
        let silent = |valid: &&ValidPath| Some(valid.path) == self.selected && now.saturating_duration_since(valid.heard) >= DESERTED;
        !self.is_restarting && self.paths.iter().any(|valid| silent(&valid))
    }

    /// Forgets paths whose consent has expired and returns the addresses that are no longer the peer's.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Address> {
        if self.expires.is_none_or(|expires| now < expires) {
            return Vec::new();
        }
        let expired = |valid: &ValidPath| now.saturating_duration_since(valid.heard) >= CONSENT;
        let (gone, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.paths).into_iter().partition(expired);
        self.paths = kept;
        self.expires = self.paths.iter().map(|valid| valid.heard + CONSENT).min();
        if gone.iter().any(|valid| Some(valid.path) == self.selected) {
            self.selected = None;
        }
        gone.into_iter().map(|valid| valid.path.address()).filter(|gone| !self.addresses().any(|address| address == *gone)).collect()
    }

    /// A socket is closed: its path is gone. Whether media went that way; it goes where the client was last heard then.
    pub(crate) fn close(&mut self, socket: SocketId) -> bool {
        self.paths.retain(|valid| valid.path.socket != socket);
        self.selected.take_if(|path| path.socket == socket).is_some()
    }

    fn forget_longest_silent(&mut self) -> Option<Address> {
        let selected = self.selected;
        let (index, _) =
            self.paths.iter().enumerate().filter(|(_, valid)| Some(valid.path) != selected).min_by_key(|(_, valid)| valid.heard)?;
        let gone = self.paths.swap_remove(index).path.address();
        (!self.addresses().any(|address| address == gone)).then_some(gone)
    }
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("paths", &self.paths.len()).finish_non_exhaustive()
    }
}

fn write_answer(
    answer: &mut Message,
    request: &Message,
    remote: SocketAddr,
    error: Option<(ErrorCode, Vec<AttrType>)>,
    pwd: &str,
    crypto: &dyn RTCCrypto,
) -> Result<(), rtc_shared::error::Error> {
    let integrity = MessageIntegrity::new_short_term_integrity_with_provider(pwd.to_owned(), crypto);
    answer.reset();
    answer.transaction_id = request.transaction_id;
    answer.typ = if error.is_some() { BINDING_ERROR } else { BINDING_SUCCESS };
    answer.write_header();
    match error {
        None => XorMappedAddress { ip: remote.ip(), port: remote.port() }.add_to(answer)?,
        Some((code, unknown)) => {
            code.add_to(answer)?;
            if !unknown.is_empty() {
                UnknownAttributes(unknown).add_to(answer)?;
            }
        }
    }
    integrity.add_to(answer)?;
    FINGERPRINT.add_to(answer)
}
