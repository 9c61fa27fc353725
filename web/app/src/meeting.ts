import {
  Emitter,
  type Grants,
  LocalTrack,
  openDevices,
  type ParticipantId,
  Room,
  SwitchyardError,
} from "@switchyard/sdk";

import { explain, explainDevice, type Explanation } from "./explain.js";
import { explainInterruption, type Interruption, interruptionOf, UNNOTICED } from "./interruption.js";
import { Moderation } from "./moderation.js";
import { closingText, guestsText, movedText, revokedText, settingsText, speakerText } from "./text.js";
import { takeToken } from "./token.js";

declare global {
  interface Window {
    /** The room this page is in, for the console: `switchyard.peerConnection.getStats()`, `switchyard.participants`. */
    switchyard?: Room;
  }
}

/**
 * Where a visit to a room is: choosing a name and devices, joining, waiting to be let in, in it (also while the connection
 * is being repaired), gone by one's own will, gone because it goes on somewhere else, or refused.
 */
export type Stage = "preparing" | "joining" | "waiting" | "joined" | "left" | "elsewhere" | "refused";

/** Why the room's password has to be typed, or typed again. */
export type PasswordError = "password_required" | "wrong_password" | "rate_limited";

/** What stands beside the meeting. */
export type Panel = "chat" | "room";

/** A line of the chat. */
export interface ChatEntry {
  /** Unique in the list. */
  key: number;
  /** Who said it, by the name they had then. */
  name: string;
  mine: boolean;
  text: string;
  at: Date;
}

/** Something the user has said that the server has not heard yet. */
export interface Unsent {
  key: number;
  text: string;
}

/** A short message that goes away by itself. */
export interface Notice {
  key: number;
  tone: "info" | "error";
  text: string;
}

/** Lines of chat that are kept: more than anybody scrolls back, little enough for a phone. */
const MAX_CHAT = 500;
/** Notices shown at a time; older ones give way. */
const MAX_NOTICES = 3;
/** Milliseconds that a notice stays: time to read two short sentences. */
const NOTICE_TIME = 7_000;
/** Milliseconds for which it is shown that everything is well again. */
const BACK_TIME = 3_000;
/** Where the name is kept for the next time. */
const NAME_KEY = "switchyard.name";

/** One visit to a room: the devices, the room, the chat, and what there is to say to the user. */
export class Meeting extends Emitter<{ changed: []; announced: [text: string] }> {
  readonly roomId: string;
  name = localStorage.getItem(NAME_KEY) ?? "";
  stage: Stage = "preparing";
  /** The user has been in the room before, on this visit. */
  again = false;
  camera = LocalTrack.camera();
  microphone = LocalTrack.microphone();
  /** Why the camera or the microphone is off although it was to be on. */
  deviceErrors: Partial<Record<"camera" | "microphone", SwitchyardError>> = {};
  /** The browser is asking the user for devices. */
  asking = false;
  room: Room | null = null;
  /** Why the room was refused or lost. */
  error: SwitchyardError | null = null;
  /** The room's password, as the user has typed it. */
  password = "";
  /** The room has a password, and what was typed is not it. */
  passwordError: PasswordError | null = null;
  /** What a moderator can do. */
  moderation: Moderation | null = null;
  /** What of the meeting is interrupted, once that is worth a word. */
  interruption: Interruption | null = null;
  /** It was interrupted a moment ago, and is no longer. */
  back = false;
  chat: ChatEntry[] = [];
  unsent: Unsent[] = [];
  unread = 0;
  notices: Notice[] = [];
  #panel: Panel | null = null;
  #nextKey = 1;
  /** Until an interruption is worth a word. */
  #noticeTimer: ReturnType<typeof setTimeout> | undefined;
  /** Until it is no longer shown that one is over. */
  #backTimer: ReturnType<typeof setTimeout> | undefined;
  /** The room that is being joined. */
  #entering: Room | null = null;
  /** The devices whose changes are shown. */
  readonly #followed = new WeakSet<LocalTrack>();
  /** Which devices were on when they were released. */
  #wasOn = { camera: false, microphone: false };

  constructor(roomId: string) {
    super();
    this.roomId = roomId;
    this.#followDevices();
  }

  get panel(): Panel | null {
    return this.#panel;
  }

  set panel(panel: Panel | null) {
    this.#panel = panel;
    if (panel === "chat") this.unread = 0;
    this.emit("changed");
  }

  /** Turns on camera and microphone for the preview. */
  async openDevices(): Promise<void> {
    const { camera, microphone } = this;
    this.asking = true;
    this.emit("changed");
    const errors = await openDevices(camera, microphone);
    this.asking = false;
    this.#deviceResult("camera", errors.get(camera));
    this.#deviceResult("microphone", errors.get(microphone));
  }

  /** Turns the camera or the microphone on or off. */
  async toggle(device: "camera" | "microphone"): Promise<void> {
    const track = this[device];
    const muted = !track.muted;
    try {
      await track.setMuted(muted);
      this.#deviceResult(device, undefined);
    } catch (cause) {
      const error = SwitchyardError.from(cause, "device_failed");
      this.#deviceResult(device, error);
      if (this.stage !== "preparing") this.#notify("error", explainDevice(device, error));
    }
  }

  /** Uses another camera or microphone. */
  async useDevice(device: "camera" | "microphone", id: string): Promise<void> {
    try {
      await this[device].useDevice(id);
      this.#deviceResult(device, undefined);
    } catch (cause) {
      this.#deviceResult(device, SwitchyardError.from(cause, "device_failed"));
    }
  }

  /** Shares the screen, or stops. */
  async toggleScreen(): Promise<void> {
    const local = this.room?.localParticipant;
    if (!local) return;
    try {
      if (local.track("screen")) {
        await local.stopSharing();
      } else {
        await local.shareScreen();
        this.announce("You are sharing your screen");
      }
    } catch (cause) {
      this.#notify("error", explainDevice("screen", SwitchyardError.from(cause, "device_failed")));
    }
    this.emit("changed");
  }

  /** Joins under the name that was chosen, again if need be. */
  async join(): Promise<void> {
    localStorage.setItem(NAME_KEY, this.name);
    this.#renewDevices();
    this.again = this.stage !== "preparing";
    this.stage = "joining";
    this.error = null;
    this.emit("changed");
    this.#entering?.leave();
    const room = new Room();
    this.#entering = room;
    this.#follow(room);
    try {
      const tracks = [this.microphone, this.camera];
      const token = takeToken(this.roomId);
      await room.connect(signalingUrl(), {
        room: this.roomId,
        name: this.name,
        tracks,
        ...(this.password === "" ? {} : { password: this.password }),
        ...(token === undefined ? {} : { token: () => takeToken(this.roomId) ?? token }),
      });
    } catch (cause) {
      if (room === this.#entering) this.#ended(SwitchyardError.from(cause, "connection_failed"));
    }
  }

  /** Does not wait any longer to be let in. */
  stopWaiting(): void {
    const room = this.#entering;
    this.#entering = null;
    room?.leave();
    this.prepareAgain();
  }

  /** Leaves and releases the devices. */
  leave(): void {
    this.stage = "left";
    this.#entering?.leave();
    this.room?.leave();
    this.#releaseDevices();
    this.emit("changed");
  }

  /** Goes back to choosing a name and devices. */
  prepareAgain(): void {
    this.#renewDevices();
    this.stage = "preparing";
    this.error = null;
    this.emit("changed");
  }

  /** Says something to everybody, later if there is no connection. Rejects if it could not be sent. */
  async say(text: string): Promise<void> {
    const unsent: Unsent = { key: this.#nextKey++, text };
    this.unsent = [...this.unsent, unsent];
    this.emit("changed");
    try {
      await this.room?.sendChat(text);
    } catch (cause) {
      const error = SwitchyardError.from(cause, "not_connected");
      this.#notify("error", explain(error));
      throw error;
    } finally {
      this.unsent = this.unsent.filter((each) => each !== unsent);
      this.emit("changed");
    }
  }

  /** The room that the user is in, which is another than was asked for if they were moved; or that one. */
  get where(): string {
    return this.room?.id ?? this.roomId;
  }

  /** Copies the room's address. */
  async copyLink(): Promise<boolean> {
    const address = `${location.origin}/r/${this.where}`;
    try {
      await navigator.clipboard.writeText(address);
      this.announce("Link copied");
      return true;
    } catch {
      this.#notify("error", { what: "The link could not be copied.", todo: `Copy it yourself: ${address}` });
      return false;
    }
  }

  /** Has a screen reader say something. */
  announce(text: string): void {
    this.emit("announced", text);
  }

  /** Takes a notice away. */
  dismiss(key: number): void {
    this.notices = this.notices.filter((notice) => notice.key !== key);
    this.emit("changed");
  }

  #follow(room: Room): void {
    room.onAny(() => {
      if (room === this.room) this.emit("changed");
    });
    room.on("stateChanged", (state) => {
      if (state !== "connected" || room !== this.#entering) return;
      this.#entering = null;
      this.room = room;
      this.passwordError = null;
      this.#moderate(room, room.grants?.moderate ?? false);
      this.name = room.localParticipant.name;
      this.#releaseUngranted(room);
      window.switchyard = room;
      this.announce(`You are in the room ${this.roomId}`);
      this.stage = "joined";
    });
    room.on("outageChanged", () => {
      if (room === this.room) this.#interrupted(room);
    });
    room.on("disconnected", (error) => {
      if (room !== this.room) return;
      this.#interrupted(room);
      if (error) this.#ended(error);
      // Left by the room itself: the page was put aside, and may be shown again.
      else if (this.stage === "joined") this.leave();
    });
    room.on("grantsChanged", (grants, ended) => {
      if (room === this.room) this.#regranted(room, grants, ended);
    });
    room.on("rejoined", () => {
      if (room === this.room && room.grants) this.#regranted(room, room.grants, []);
    });
    room.on("moved", (where) => this.#notify("info", movedText(where, where === this.roomId)));
    room.on("draining", (closesAt) => this.announce(closingText(closesAt, Date.now())));
    room.on("mutedByModerator", ({ source }) => {
      const device = source === "camera" ? "camera" : source === "microphone" ? "microphone" : "screen";
      this.#notify("info", { what: `A moderator has muted your ${device}.`, todo: "You can turn it on again." });
    });
    room.on("waitingChanged", (waiting) => {
      if (!waiting || room !== this.#entering) return;
      this.stage = "waiting";
      this.announce("Waiting for the host to let you in");
      this.emit("changed");
    });
    let { settings } = room;
    room.on("settingsChanged", (changed) => {
      for (const text of settingsText(settings, changed)) this.announce(text);
      settings = changed;
    });
    let known = new Set<number>();
    room.on("guestsChanged", (guests) => {
      const came = guests.filter(({ id }) => !known.has(id));
      known = new Set(guests.map(({ id }) => id));
      if (came.length > 0) this.announce(guestsText(came));
    });
    room.on("participantJoined", ({ name }) => this.announce(`${name} joined`));
    room.on("participantLeft", ({ name }) => this.announce(`${name} left`));
    room.on("trackPublished", (track) => {
      if (track.source === "screen") this.announce(`${track.participant.name} is sharing their screen`);
    });
    room.on("chat", ({ from, text, at }) => this.#heard(room, from, text, at));
    room.on("error", (error) => {
      if (room === this.room) this.#notify("error", explain(error));
    });
  }

  #moderate(room: Room, moderates: boolean): void {
    if (!moderates) {
      this.moderation = null;
      if (this.#panel === "room") this.#panel = null;
    } else {
      this.moderation ??= new Moderation(room, (action) => this.#attempt(action));
    }
  }

  /** The user may do something else from now on. What they may publish again, or for the first time, is off until they turn it on. */
  #regranted(room: Room, grants: Grants, ended: readonly LocalTrack[]): void {
    this.#moderate(room, grants.moderate);
    for (const track of ended) this.#notify("info", revokedText(track.source));
    if (this.camera.stopped) this.camera = LocalTrack.camera();
    if (this.microphone.stopped) this.microphone = LocalTrack.microphone();
    for (const track of [this.camera, this.microphone]) {
      if (!grants.publish.includes(track.source) || room.localParticipant.track(track.source) === track) continue;
      this.#followDevice(track);
      // What fails says so by itself, and is published again once the connection is back.
      room.localParticipant.publish(track).catch(() => {});
    }
    this.emit("changed");
  }

  #ended(error: SwitchyardError): void {
    if (this.stage === "left") return;
    const { code } = error;
    if (
      code === "password_required" ||
      code === "wrong_password" ||
      (code === "rate_limited" && this.password !== "")
    ) {
      // With what was typed, and the devices as they are.
      this.passwordError = code;
      this.stage = "preparing";
      this.#renewDevices();
      this.emit("changed");
      return;
    }
    this.error = error;
    this.stage = error.code === "resumed_elsewhere" ? "elsewhere" : "refused";
    this.#releaseDevices();
    this.emit("changed");
  }

  /** Shows and tells what is interrupted, and that it no longer is. */
  #interrupted(room: Room): void {
    const { outage } = room;
    const interruption = outage && interruptionOf(outage);
    const before = this.interruption;
    clearTimeout(this.#noticeTimer);
    if (interruption === before) return;
    const unnoticed = (outage?.since.getTime() ?? 0) + UNNOTICED - Date.now();
    if (interruption === "messages" && !before && unnoticed > 0) {
      this.#noticeTimer = setTimeout(() => this.#interrupted(room), unnoticed);
      return;
    }
    this.interruption = interruption;
    this.#setBack(!interruption && room.state === "connected");
    if (outage) {
      const { what, next } = explainInterruption(outage, Date.now());
      this.announce(`${what} ${next}`);
    } else if (this.back) {
      this.announce("Connected again");
    }
    this.emit("changed");
  }

  #setBack(back: boolean): void {
    clearTimeout(this.#backTimer);
    this.back = back;
    if (!back) return;
    this.#backTimer = setTimeout(() => {
      this.back = false;
      this.emit("changed");
    }, BACK_TIME);
  }

  #heard(room: Room, from: ParticipantId, text: string, at: number): void {
    const mine = from === room.localParticipant.id;
    const name = mine ? this.name : speakerText(from, room.participants.get(from)?.name);
    this.chat = [...this.chat, { key: this.#nextKey++, name, mine, text, at: new Date(at) }].slice(-MAX_CHAT);
    if (this.#panel !== "chat" && !mine) {
      this.unread += 1;
      this.announce(`${name} says: ${text}`);
    }
    this.emit("changed");
  }

  /** Whether it was done; if not, the user is told why. */
  async #attempt(action: Promise<void>): Promise<boolean> {
    try {
      await action;
      this.emit("changed");
      return true;
    } catch (cause) {
      this.#notify("error", explain(SwitchyardError.from(cause, "not_connected")));
      return false;
    }
  }

  #notify(tone: Notice["tone"], { what, todo }: Explanation): void {
    const notice: Notice = { key: this.#nextKey++, tone, text: `${what} ${todo}` };
    this.notices = [...this.notices.filter(({ text }) => text !== notice.text), notice].slice(-MAX_NOTICES);
    this.announce(notice.text);
    setTimeout(() => this.dismiss(notice.key), NOTICE_TIME);
    this.emit("changed");
  }

  #deviceResult(device: "camera" | "microphone", error: SwitchyardError | undefined): void {
    const { [device]: _, ...others } = this.deviceErrors;
    this.deviceErrors = error ? { ...others, [device]: error } : others;
    this.emit("changed");
  }

  #followDevices(): void {
    for (const track of [this.camera, this.microphone]) this.#followDevice(track);
  }

  #followDevice(track: LocalTrack): void {
    if (this.#followed.has(track)) return;
    this.#followed.add(track);
    track.onAny(() => this.emit("changed"));
    track.on("ended", () => {
      const device = track.source === "camera" ? "camera" : "microphone";
      this.#notify("error", { what: `Your ${device} was disconnected.`, todo: "Plug it in, then turn it on again." });
    });
  }

  #releaseDevices(): void {
    this.#wasOn = { camera: !this.camera.muted, microphone: !this.microphone.muted };
    this.camera.stop();
    this.microphone.stop();
  }

  /** What may not be published needs no device. */
  #releaseUngranted(room: Room): void {
    for (const track of [this.camera, this.microphone]) {
      if (!room.grants?.publish.includes(track.source)) void track.setMuted(true);
    }
  }

  /** After a release, turns on again what was on. */
  #renewDevices(): void {
    if (!this.camera.stopped) return;
    this.camera = LocalTrack.camera();
    this.microphone = LocalTrack.microphone();
    this.#followDevices();
    if (this.#wasOn.camera && this.#wasOn.microphone) void this.openDevices();
    else if (this.#wasOn.camera) void this.toggle("camera");
    else if (this.#wasOn.microphone) void this.toggle("microphone");
  }
}

function signalingUrl(): string {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1/ws`;
}
