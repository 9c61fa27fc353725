//! A client's session description: capped, cut at its m-lines, and each m-line parsed once for as long as its text stays the same.

mod section;

use std::io::Cursor;
use std::sync::Arc;

use rtc_sdp::SessionDescription;

use crate::{IceCredentials, Limits, NegotiationError, Shared, candidate, digest};
pub(crate) use section::{Direction, MediaType, Mid, Section, Setup, Streams, Transport};

/// Longest line. The longest that are needed are a BUNDLE group of 128 mids of 16 bytes (2.2 KB) and H.264 parameter sets.
const MAX_LINE_BYTES: usize = 4096;

/// What stands in front of an m-line for `rtc-sdp`, which parses whole descriptions only.
const PREFIX: &str = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n";

/// A parsed and capped description.
pub(crate) struct Description {
    /// What holds for every section that doesn't say otherwise.
    pub(crate) transport: Transport,
    pub(crate) direction: Option<Direction>,
    /// The mids of the first BUNDLE group, in its order.
    bundle: Vec<Mid>,
    /// The same, sorted, so that looking each section's mid up is not quadratic.
    bundled: Vec<Mid>,
    pub(crate) sections: Vec<Arc<Section>>,
}

/// The other end of the transport, from the BUNDLE-tagged section.
pub(crate) struct TransportChoice {
    pub(crate) fingerprint: String,
    pub(crate) ice: IceCredentials,
    pub(crate) setup: Option<Setup>,
}

impl Description {
    /// Parses `sdp`, taking from `known` what was parsed before at the same index.
    pub(crate) fn parse<'a>(
        sdp: &str,
        limits: &Limits,
        known: impl Fn(usize) -> Option<&'a Arc<Section>>,
    ) -> Result<Self, NegotiationError> {
        let starts = section_starts(sdp, limits)?;
        let first = starts.first().copied().unwrap_or(sdp.len());
        let session = unmarshal(&sdp[..first]).ok_or(NegotiationError::Syntax)?;

        let mut bundle = Vec::new();
        let mut direction = None;
        let mut has_bundle = false;
        for attribute in &session.attributes {
            match (attribute.key.as_str(), attribute.value.as_deref()) {
                ("group", Some(value)) if !has_bundle => {
                    let mut words = value.split_whitespace();
                    if words.next() == Some("BUNDLE") {
                        has_bundle = true;
                        // As many as there may be m-lines; more have none to name.
                        bundle.extend(words.filter_map(Mid::new).take(limits.sections()));
                    }
                }
                (key, None) => direction = direction.or(Direction::from_key(key)),
                _ => {}
            }
        }
        let mut bundled = bundle.clone();
        bundled.sort_unstable();

        let mut sections: Vec<Arc<Section>> = Vec::with_capacity(starts.len());
        let mut buffer = String::new();
        for (index, &start) in starts.iter().enumerate() {
            let text = &sdp[start..starts.get(index + 1).copied().unwrap_or(sdp.len())];
            let digest = digest::of(text);
            let section = match known(index) {
                Some(section) if section.digest == digest => Arc::clone(section),
                _ => {
                    let start_of = |other: usize| starts.get(other).copied().unwrap_or(sdp.len());
                    // Sound and picture alternate.
                    let alike = (index.saturating_sub(2)..index)
                        .find_map(|other| sections[other].with_other_mid(&sdp[start_of(other)..start_of(other + 1)], text, digest));
                    if let Some(section) = alike {
                        sections.push(Arc::new(section));
                        continue;
                    }
                    buffer.clear();
                    buffer.push_str(PREFIX);
                    buffer.push_str(text);
                    let mut section = Section::parse(index, &buffer, &buffer[PREFIX.len()..], digest)?;
                    // A browser's m-lines say mostly the same: one copy for all neighbours.
                    if let Some(like) = sections.iter().rev().take(2).find(|other| other.streams == section.streams) {
                        section.streams = Arc::clone(&like.streams);
                    }
                    if let Some(like) = sections.last().filter(|other| other.transport == section.transport) {
                        section.transport = Arc::clone(&like.transport);
                    }
                    Arc::new(section)
                }
            };
            sections.push(section);
        }
        let description = Self { transport: Transport::of(&session.attributes), direction, bundle, bundled, sections };
        description.check_mids()?;
        description.check_identifiers()?;
        Ok(description)
    }

    /// Has the sections that are new say what others say as well in the same copy.
    pub(crate) fn share(&mut self, shared: &Shared) {
        for section in self.sections.iter_mut().filter_map(Arc::get_mut) {
            section.streams = shared.streams(&section.streams);
        }
    }

    /// Every mid once; every section in use has one.
    fn check_mids(&self) -> Result<(), NegotiationError> {
        let mut mids = Vec::with_capacity(self.sections.len());
        for (index, section) in self.sections.iter().enumerate() {
            match section.mid {
                Some(mid) => mids.push((mid, index)),
                None if section.stopped => {}
                None => return Err(NegotiationError::Mid { section: index }),
            }
        }
        mids.sort_unstable();
        match mids.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(NegotiationError::DuplicateMid { section: pair[1].1 }),
            None => Ok(()),
        }
    }

    /// In one BUNDLE group a payload type and an extension id mean the same everywhere (RFC 9143 §9.1, §11).
    fn check_identifiers(&self) -> Result<(), NegotiationError> {
        let mut payload_types = [None; 128];
        let mut extensions = [None; 256];
        // What was just looked at is not looked at again: sound and picture alternate.
        let mut seen: [Option<&Arc<Streams>>; 2] = [None, None];
        for section in self.sections.iter().filter(|section| self.is_bundled(section)) {
            if seen.iter().flatten().any(|seen| Arc::ptr_eq(seen, &section.streams)) {
                continue;
            }
            seen = [seen[1], Some(&section.streams)];
            for format in &section.streams.formats {
                let Some(identity) = format.identity else { continue };
                let meaning = payload_types[usize::from(format.payload_type)].get_or_insert(identity);
                if *meaning != identity {
                    return Err(NegotiationError::PayloadType { payload_type: format.payload_type.to_string() });
                }
            }
            for extension in &section.streams.extensions {
                let meaning = extensions[usize::from(extension.id)].get_or_insert(extension.identity);
                if *meaning != extension.identity {
                    return Err(NegotiationError::ExtensionId { id: extension.id });
                }
            }
        }
        Ok(())
    }

    /// In use, and in the BUNDLE group.
    pub(crate) fn is_bundled(&self, section: &Section) -> bool {
        !section.stopped && section.mid.is_some_and(|mid| self.bundled.binary_search(&mid).is_ok())
    }

    /// The mids of the BUNDLE group, the tagging one first unless it is stopped.
    pub(crate) fn bundle(&self) -> impl Iterator<Item = Mid> {
        self.bundle.iter().copied()
    }

    /// Which way `section` goes, seen from the client.
    pub(crate) fn direction(&self, section: &Section) -> Direction {
        section.direction.or(self.direction).unwrap_or(Direction::BOTH)
    }

    /// The client's end of the transport by the section that tags the BUNDLE group (RFC 9143 §7.1.3).
    pub(crate) fn transport(&self, tagged: &Section) -> Result<TransportChoice, NegotiationError> {
        let (own, session) = (&tagged.transport, &self.transport);
        let ufrag = own.ufrag.as_ref().or(session.ufrag.as_ref()).ok_or(NegotiationError::Ice)?;
        let pwd = own.pwd.as_ref().or(session.pwd.as_ref()).ok_or(NegotiationError::Ice)?;
        if !candidate::is_ufrag(ufrag) || !candidate::is_pwd(pwd) {
            return Err(NegotiationError::Ice);
        }
        let fingerprint = own.fingerprint.as_ref().or(session.fingerprint.as_ref()).ok_or(NegotiationError::Fingerprint)?;
        let is_sha256 = fingerprint.len() == 95
            && fingerprint.bytes().enumerate().all(|(at, byte)| if at % 3 == 2 { byte == b':' } else { byte.is_ascii_hexdigit() });
        if !is_sha256 {
            return Err(NegotiationError::Fingerprint);
        }
        Ok(TransportChoice {
            fingerprint: fingerprint.to_ascii_uppercase(),
            ice: IceCredentials { ufrag: ufrag.clone(), pwd: pwd.clone() },
            setup: own.setup.or(session.setup),
        })
    }
}

/// Where the m-lines begin. Everything is capped here, before anything is parsed.
fn section_starts(sdp: &str, limits: &Limits) -> Result<Vec<usize>, NegotiationError> {
    if sdp.len() > limits.bytes {
        return Err(NegotiationError::TooLarge { bytes: sdp.len() });
    }
    let mut starts = Vec::new();
    let mut at = 0;
    for (number, line) in sdp.split_inclusive('\n').enumerate() {
        if number >= limits.lines {
            return Err(NegotiationError::TooManyLines);
        }
        if line.len() > MAX_LINE_BYTES {
            return Err(NegotiationError::LineTooLong { line: number + 1 });
        }
        if line.starts_with("m=") {
            if starts.len() >= limits.sections() {
                return Err(NegotiationError::TooManySections);
            }
            starts.push(at);
        }
        at += line.len();
    }
    Ok(starts)
}

fn unmarshal(text: &str) -> Option<SessionDescription> {
    SessionDescription::unmarshal(&mut Cursor::new(text)).ok()
}
