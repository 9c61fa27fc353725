//! Where a server is spoken to, and how.

use std::fmt::Write;

use crate::results::ServerKind;

/// A server, as participants see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Switchyard's signaling at `ws://host:port/v1/ws`.
    Signaling(String),
    /// WHIP to publish, WHEP to play.
    Http(Endpoints),
}

/// Addresses with `{room}` where the room's name goes and `{name}` where the participant's goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    shown: String,
    whip: String,
    whep: String,
}

/// Why a text is no address of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It does not begin as it has to.
    #[error("{0}: an endpoint begins with http://")]
    NotHttp(String),
    /// It is the same for every room.
    #[error("{0}: without {{room}} all rooms would be one")]
    WithoutRoom(String),
    /// Something else than a room or a name is to be filled in.
    #[error("{template}: {{{placeholder}}} is neither {{room}} nor {{name}}")]
    Placeholder {
        /// The text.
        template: String,
        /// What is in braces.
        placeholder: String,
    },
}

impl Target {
    /// The address for people.
    pub fn shown(&self) -> &str {
        match self {
            Self::Signaling(url) => url,
            Self::Http(endpoints) => &endpoints.shown,
        }
    }

    /// What results call it.
    pub(super) fn kind(&self) -> ServerKind {
        match self {
            Self::Signaling(_) => ServerKind::Signaling,
            Self::Http(_) => ServerKind::Whip,
        }
    }
}

impl Endpoints {
    /// Those of a Switchyard server at `http://host:port`.
    pub fn of_switchyard(base: &str) -> Self {
        let base = base.trim_end_matches('/');
        Self { shown: base.to_owned(), whip: format!("{base}/v1/whip/{{room}}?name={{name}}"), whep: format!("{base}/v1/whep/{{room}}") }
    }

    /// Those of any server.
    pub fn new(whip: &str, whep: &str) -> Result<Self, TemplateError> {
        for template in [whip, whep] {
            let own = || template.to_owned();
            if !template.starts_with("http://") {
                return Err(TemplateError::NotHttp(own()));
            }
            let placeholders: Vec<&str> = template.split('{').skip(1).map(|rest| rest.split('}').next().unwrap_or(rest)).collect();
            if let Some(placeholder) = placeholders.iter().find(|placeholder| !["room", "name"].contains(placeholder)) {
                return Err(TemplateError::Placeholder { template: own(), placeholder: (*placeholder).to_owned() });
            }
            if !placeholders.contains(&"room") {
                return Err(TemplateError::WithoutRoom(own()));
            }
        }
        Ok(Self { shown: whip.to_owned(), whip: whip.to_owned(), whep: whep.to_owned() })
    }

    pub(super) fn whip(&self, room: &str, name: &str) -> String {
        fill(&self.whip, room, name)
    }

    pub(super) fn whep(&self, room: &str, name: &str) -> String {
        fill(&self.whep, room, name)
    }
}

fn fill(template: &str, room: &str, name: &str) -> String {
    template.replace("{room}", &escaped(room)).replace("{name}", &escaped(name))
}

/// Percent-encoded (RFC 3986 §2.1), so that it means the same in a path and in a query.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_and_names_are_filled_in_wherever_they_stand() {
        let endpoints = Endpoints::new("http://a/{room}/{name}?room={room}", "http://a:1/{room}/whep").unwrap();
        assert_eq!(endpoints.whip("r-1", "Ada & {room}"), "http://a/r-1/Ada%20%26%20%7Broom%7D?room=r-1");
        assert_eq!(endpoints.whep("r-1", "x"), "http://a:1/r-1/whep");
        let own = Endpoints::of_switchyard("http://a:8080/");
        assert_eq!(own.whip("r", "camera 1"), "http://a:8080/v1/whip/r?name=camera%201");
        assert_eq!(own.whep("r", "camera 1"), "http://a:8080/v1/whep/r");
    }

    #[test]
    fn what_is_no_template_is_said_to_be() {
        for (template, said) in [
            ("https://a/{room}", "begins with http://"),
            ("http://a/whip", "without {room} all rooms would be one"),
            ("http://a/{room}/{id}", "{id} is neither {room} nor {name}"),
            ("http://a/{room", ""),
        ] {
            for (whip, whep) in [(template, "http://b/{room}"), ("http://b/{room}", template)] {
                let error = Endpoints::new(whip, whep).map_err(|error| error.to_string());
                if !said.is_empty() {
                    let error = error.unwrap_err();
                    assert!(error.contains(said) && error.contains(template), "{error}");
                }
            }
        }
    }
}
