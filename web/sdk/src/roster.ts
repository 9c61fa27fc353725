import type { LocalParticipant } from "./participant.js";
import type { Event, LeaveReason, Participant, ParticipantId, TrackId } from "./protocol.js";
import { type ConnectionQuality, GOOD, RemoteParticipant, type RemoteTrack, type Subscriptions } from "./remote.js";

/** What changes in a roster, as {@link RoomEvents} has it. */
export interface RosterEvents {
  participantJoined: [participant: RemoteParticipant];
  participantLeft: [participant: RemoteParticipant, reason: LeaveReason];
  participantChanged: [participant: RemoteParticipant];
  trackPublished: [track: RemoteTrack];
  trackUnpublished: [track: RemoteTrack];
  trackMuted: [track: RemoteTrack];
  trackMediaChanged: [track: RemoteTrack];
  trackReceptionChanged: [track: RemoteTrack];
  connectionQualityChanged: [participant: RemoteParticipant | LocalParticipant];
}

/** What a roster needs of its room. */
export interface RosterRoom extends Subscriptions {
  /** What receives a track at the moment. */
  receiver(track: TrackId): RTCRtpReceiver | null;
  /** Tells of a change. */
  tell<Name extends keyof RosterEvents>(name: Name, ...args: RosterEvents[Name]): void;
  /** The browser refuses to play a track. */
  playbackBlocked(): void;
}

/** Who else is in the room, and what they publish. */
export class Roster {
  readonly participants: ReadonlyMap<ParticipantId, RemoteParticipant>;
  readonly tracks: ReadonlyMap<TrackId, RemoteTrack>;
  readonly #participants = new Map<ParticipantId, RemoteParticipant>();
  readonly #tracks = new Map<TrackId, RemoteTrack>();
  readonly #room: RosterRoom;

  constructor(room: RosterRoom) {
    this.#room = room;
    this.participants = this.#participants;
    this.tracks = this.#tracks;
  }

  /** Whether somebody sends something that is to be received here. */
  get expecting(): boolean {
    return [...this.#tracks.values()].some((track) => !track.muted && track.wanted && track.receiver !== null);
  }

  /** Begins anew with these; whoever was there before is another object from now on, even if it is the same person. */
  replace(participants: readonly Participant[]): void {
    this.clear();
    for (const participant of participants) this.#add(participant);
  }

  /**
   * Becomes what it would be had no event been missed, and tells of each difference as if it happened now. What isn't as it usually is, of connections and of what
   * is received, is told again after that.
   */
  reconcile(participants: readonly Participant[]): void {
    for (const event of differences(this.#participants, participants)) this.take(event);
    for (const participant of this.#participants.values()) {
      if (participant.connection === GOOD) continue;
      participant.connection = GOOD;
      this.#room.tell("connectionQualityChanged", participant);
    }
    for (const track of this.#tracks.values()) {
      if (track.updateReception("full")) this.#room.tell("trackReceptionChanged", track);
    }
  }

  /** Detaches and forgets everybody. */
  clear(): void {
    for (const track of this.#tracks.values()) {
      track.bind(null);
      track.detach();
    }
    this.#tracks.clear();
    this.#participants.clear();
  }

  /** Gives tracks whatever receives them now. */
  bind(tracks: Iterable<TrackId>): void {
    for (const id of tracks) this.#tracks.get(id)?.bind(this.#room.receiver(id));
  }

  /** Takes an event; those that are about something else or about strangers change nothing. */
  take(event: Event): void {
    switch (event.kind) {
      case "participant_joined":
        this.#room.tell("participantJoined", this.#add(event.participant));
        break;
      case "participant_left":
        this.#remove(event.participant, event.reason);
        break;
      case "participant_changed": {
        const participant = this.#participants.get(event.participant);
        if (!participant) break;
        participant.name = event.name;
        this.#room.tell("participantChanged", participant);
        break;
      }
      case "track_published": {
        const track = this.#participants.get(event.participant)?.addTrack(event.track);
        if (!track) break;
        this.#follow(track);
        this.#room.tell("trackPublished", track);
        break;
      }
      case "track_unpublished": {
        this.#tracks.delete(event.track);
        const track = this.#participants.get(event.participant)?.removeTrack(event.track);
        if (track) this.#room.tell("trackUnpublished", track);
        break;
      }
      case "track_muted": {
        const track = this.#tracks.get(event.track);
        if (!track) break;
        track.updateMuted(event.muted);
        this.#room.tell("trackMuted", track);
        break;
      }
      case "reception": {
        const track = this.#tracks.get(event.track);
        if (track?.updateReception(event.reception)) this.#room.tell("trackReceptionChanged", track);
        break;
      }
      case "quality": {
        const participant = this.#participants.get(event.participant);
        if (!participant) break;
        participant.connection = connectionQuality(event);
        this.#room.tell("connectionQualityChanged", participant);
        break;
      }
    }
  }

  #add(info: Participant): RemoteParticipant {
    const participant = new RemoteParticipant(info, this.#room);
    this.#participants.set(participant.id, participant);
    for (const track of participant.tracks.values()) this.#follow(track);
    return participant;
  }

  #remove(id: ParticipantId, reason: LeaveReason): void {
    const participant = this.#participants.get(id);
    if (!participant) return;
    this.#participants.delete(id);
    for (const track of [...participant.tracks.keys()]) {
      this.#tracks.delete(track);
      participant.removeTrack(track);
    }
    this.#room.tell("participantLeft", participant, reason);
  }

  #follow(track: RemoteTrack): void {
    this.#tracks.set(track.id, track);
    track.on("mediaChanged", () => this.#room.tell("trackMediaChanged", track));
    track.on("playbackBlocked", () => this.#room.playbackBlocked());
    track.bind(this.#room.receiver(track.id));
  }
}

/** What an event says of a connection. */
export function connectionQuality(event: Extract<Event, { kind: "quality" }>): ConnectionQuality {
  const { quality, loss, round_trip: roundTrip, jitter } = event;
  return { quality, loss, roundTrip, jitter };
}

/** The events that lead from one to the other. */
function differences(
  before: ReadonlyMap<ParticipantId, RemoteParticipant>,
  after: readonly Participant[],
): readonly Event[] {
  const events: Event[] = [];
  const present = new Set(after.map(({ id }) => id));
  for (const id of before.keys()) {
    if (!present.has(id)) events.push({ kind: "participant_left", participant: id, reason: "left" });
  }
  for (const participant of after) {
    const { id, name, tracks } = participant;
    const known = before.get(id);
    if (!known) {
      events.push({ kind: "participant_joined", participant });
      continue;
    }
    if (known.name !== name) events.push({ kind: "participant_changed", participant: id, name });
    const published = new Set(tracks.map((track) => track.id));
    for (const track of known.tracks.keys()) {
      if (!published.has(track)) events.push({ kind: "track_unpublished", participant: id, track });
    }
    for (const track of tracks) {
      const { muted } = known.tracks.get(track.id) ?? {};
      if (muted === undefined) events.push({ kind: "track_published", participant: id, track });
      else if (muted !== track.muted) {
        events.push({ kind: "track_muted", participant: id, track: track.id, muted: track.muted });
      }
    }
  }
  return events;
}
