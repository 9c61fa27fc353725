import type { SlotAssignment, TrackId } from "./protocol.js";

/** One receiving m-line as the peer connection has it. */
export interface ReceivingLine {
  mid: string;
  /** What it receives. */
  receiver: RTCRtpReceiver;
}

/**
 * Which receiving m-line carries which track.
 *
 * The server's assignments and the peer connection's m-lines come in either order: an assignment for a mid that isn't
 * negotiated yet is kept until it is. Tracks are found by mid alone, for not every browser keeps the track ids of SDP.
 */
export class Slots {
  readonly #trackByMid = new Map<string, TrackId>();
  readonly #midByTrack = new Map<TrackId, string>();
  #receivers = new Map<string, RTCRtpReceiver>();

  /** Takes assignments. Returns the tracks whose receiver may be another one now. */
  assign(assignments: readonly SlotAssignment[]): Set<TrackId> {
    const touched = new Set<TrackId>();
    for (const { mid, track } of assignments) {
      const previous = this.#trackByMid.get(mid);
      if (previous !== undefined) {
        touched.add(previous);
        this.#trackByMid.delete(mid);
        this.#midByTrack.delete(previous);
      }
      if (track === undefined) continue;
      touched.add(track);
      // A track is in one slot at a time: the latest.
      const elsewhere = this.#midByTrack.get(track);
      if (elsewhere !== undefined) this.#trackByMid.delete(elsewhere);
      this.#trackByMid.set(mid, track);
      this.#midByTrack.set(track, mid);
    }
    return touched;
  }

  /** Takes the m-lines as they are after a negotiation. Returns the tracks whose receiver is another one now. */
  update(lines: readonly ReceivingLine[]): Set<TrackId> {
    const receivers = new Map(lines.map(({ mid, receiver }) => [mid, receiver]));
    const touched = new Set<TrackId>();
    for (const [mid, track] of this.#trackByMid) {
      if (receivers.get(mid) !== this.#receivers.get(mid)) touched.add(track);
    }
    this.#receivers = receivers;
    return touched;
  }

  /** What receives a track, if it is in a slot that is negotiated. */
  receiver(track: TrackId): RTCRtpReceiver | null {
    const mid = this.#midByTrack.get(track);
    return (mid !== undefined && this.#receivers.get(mid)) || null;
  }

  /** What receives the tracks that are in slots. */
  receivers(): RTCRtpReceiver[] {
    return this.mids()
      .map((mid) => this.#receivers.get(mid))
      .filter((receiver) => receiver !== undefined);
  }

  /** The m-lines that carry something, negotiated or not. */
  mids(): string[] {
    return [...this.#trackByMid.keys()];
  }

  /** The m-line that carries a track, negotiated or not. */
  mid(track: TrackId): string | null {
    return this.#midByTrack.get(track) ?? null;
  }
}
