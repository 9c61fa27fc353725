import type { GuestId, RemoteParticipant, RemoteTrack, Room, RoomSettingsChange } from "@switchyard/sdk";

/** Somebody who was removed and may be let back in. */
export interface Removed {
  identity: string;
  name: string;
}

/** What a moderator does in a room. Each resolves with whether it was done; if not, the user has been told. */
export class Moderation {
  readonly #room: Room;
  readonly #attempt: (action: Promise<void>) => Promise<boolean>;
  /** Whom this moderator has removed, on this visit. */
  removed: readonly Removed[] = [];

  /** `attempt` tells the user of what fails. */
  constructor(room: Room, attempt: (action: Promise<void>) => Promise<boolean>) {
    this.#room = room;
    this.#attempt = attempt;
  }

  mute(track: RemoteTrack): Promise<boolean> {
    return this.#attempt(this.#room.muteRemote(track));
  }

  remove({ id, identity, name }: RemoteParticipant): Promise<boolean> {
    const removing = this.#room.remove(id).then(() => {
      if (identity !== null) this.removed = [...this.#others(identity), { identity, name }];
    });
    return this.#attempt(removing);
  }

  letBack(identity: string): Promise<boolean> {
    return this.#attempt(
      this.#room.ban(identity, false).then(() => {
        this.removed = this.#others(identity);
      }),
    );
  }

  #others(identity: string): Removed[] {
    return this.removed.filter((each) => each.identity !== identity);
  }

  configure(settings: RoomSettingsChange): Promise<boolean> {
    return this.#attempt(this.#room.configure(settings));
  }

  /** Lets in who waits, or this one alone. */
  admit(guest?: GuestId): Promise<boolean> {
    return this.#attempt(this.#room.admit(guest));
  }

  /** Sends away who waits, or this one alone. */
  deny(guest?: GuestId): Promise<boolean> {
    return this.#attempt(this.#room.deny(guest));
  }
}
