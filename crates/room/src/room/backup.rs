//! A second encoding of a video track, for those who don't decode the first.

use switchyard_protocol::{Backup, ErrorCode, Kind, ParticipantId, ProtocolError, TrackId};

use super::{Publication, Room, not_yours};
use crate::{Effect, Size};

impl Room {
    /// What `participant` sends on another m-line is a video track of its own in another codec, for whom decodes that alone; or on none any more. Fails with
    /// [`ErrorCode::AlreadyPublished`] if the m-line is a track's already, with [`ErrorCode::WrongState`] if the track is no video, or waits for its m-line.
    pub fn back_up(&mut self, participant: ParticipantId, track: TrackId, backup: Option<Backup>) -> Result<(), ProtocolError> {
        self.own_track(participant, track)?;
        let mid = backup.as_ref().map(|backup| backup.mid.clone());
        let taken = |id: &TrackId| {
            let Publication { mid: own, backup, .. } = &self.tracks[id];
            mid.is_some() && (*own == mid || *id != track && *backup == mid)
        };
        if self.member(participant)?.tracks.iter().any(taken) {
            return Err(ProtocolError::new(ErrorCode::AlreadyPublished, "this m-line is published already"));
        }
        let publication = self.tracks.get_mut(&track).ok_or_else(not_yours)?;
        if publication.track.kind != Kind::Video || publication.mid.is_none() {
            return Err(ProtocolError::new(ErrorCode::WrongState, "only video that is being sent can be sent in another codec as well"));
        }
        let enabled = !publication.track.muted;
        if mid.is_some() {
            self.out.demand.limit(track, Size::FULL);
        }
        let before = std::mem::replace(&mut publication.backup, mid.clone());
        let moves = before.is_some() && before != mid;
        if moves {
            self.contents.set_backup(track, None);
            self.settle();
            self.out.effects.push_back(Effect::BackUp { participant, track, mid: None });
        }
        if let Some(Backup { mid, codec, instead_of }) = backup {
            if moves || before.is_none() {
                self.out.effects.push_back(Effect::BackUp { participant, track, mid: Some((mid, enabled)) });
            }
            self.contents.set_backup(track, Some((instead_of, codec)));
            self.settle();
        }
        Ok(())
    }
}
