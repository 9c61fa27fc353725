import { deviceError, SwitchyardError } from "./errors.js";
import type { Kind, Source } from "./protocol.js";
import { Track } from "./track.js";

/** What a camera is asked for unless told otherwise: as much as a meeting's tile can use. */
const CAMERA: MediaTrackConstraints = {
  width: { ideal: 1280 },
  height: { ideal: 720 },
  frameRate: { ideal: 30, max: 30 },
};

/** What a microphone is asked for unless told otherwise: speech. */
const MICROPHONE: MediaTrackConstraints = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

/**
 * A camera, a microphone, a screen, or anything else with a `MediaStreamTrack`, published or not.
 *
 * A muted camera is released (its light goes out) and taken again when it is unmuted. A muted microphone is silenced
 * but kept, so that unmuting is instant.
 */
export class LocalTrack extends Track {
  readonly #constraints: MediaTrackConstraints | null;
  #stopped = false;
  /** Mute, unmute and the like, one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  private constructor(source: Source, constraints: MediaTrackConstraints | null) {
    super(source, true);
    this.#constraints = constraints;
  }

  /** The camera, off: {@link setMuted} or {@link openDevices} turn it on. */
  static camera(constraints: MediaTrackConstraints = {}): LocalTrack {
    return new LocalTrack("camera", { ...CAMERA, ...constraints });
  }

  /** The microphone, off: {@link setMuted} or {@link openDevices} turn it on. */
  static microphone(constraints: MediaTrackConstraints = {}): LocalTrack {
    return new LocalTrack("microphone", { ...MICROPHONE, ...constraints });
  }

  /** Media of the caller's own making. Muting disables it but doesn't release its device. */
  static from(media: MediaStreamTrack, source: Source): LocalTrack {
    const track = new LocalTrack(source, null);
    track.#adopt(media);
    return track;
  }

  /** Asks the user for a screen, a window or a tab; with its sound where the browser has it. */
  static async screen(): Promise<LocalTrack[]> {
    const devices = mediaDevices();
    if (!("getDisplayMedia" in devices)) {
      throw new SwitchyardError("unsupported", "This browser can't share the screen.");
    }
    try {
      const stream = await devices.getDisplayMedia({ video: { frameRate: { ideal: 15, max: 30 } }, audio: true });
      return stream.getTracks().map((media) => {
        // Text has to stay sharp; the frame rate may fall.
        if (media.kind === "video") media.contentHint = "detail";
        return LocalTrack.from(media, media.kind === "video" ? "screen" : "screen_audio");
      });
    } catch (cause) {
      throw deviceError(cause);
    }
  }

  /** Whether {@link stop} was called; a stopped track stays so. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** Mutes or unmutes. Unmuting may have to ask the user for the device, and then rejects with a device error. */
  setMuted(muted: boolean): Promise<void> {
    return this.#next(async () => {
      if (this.#stopped || muted === this.muted) return;
      if (muted) this.#mute();
      else await this.#unmute();
    });
  }

  /** Takes the media from another device, at once if the track isn't muted. For cameras and microphones. */
  useDevice(deviceId: string): Promise<void> {
    return this.#next(async () => {
      if (this.#stopped || !this.#constraints) return;
      this.#constraints.deviceId = { exact: deviceId };
      const muted = this.muted;
      this.#release();
      this.markMuted(true);
      if (!muted) await this.#unmute();
    });
  }

  /** Releases the device for good. */
  stop(): void {
    this.#stopped = true;
    this.#release();
    this.markMuted(true);
  }

  /** @internal What {@link openDevices} asks for. */
  get constraints(): MediaTrackConstraints | null {
    return this.#constraints;
  }

  /** @internal Unmutes with media of a stream that is being opened. */
  openFrom(stream: Promise<MediaStream>): Promise<void> {
    return this.#next(async () => {
      let media: MediaStreamTrack;
      try {
        media = first(await stream, this.kind);
      } catch (cause) {
        if (!(await worthAskingAlone(this.kind, cause))) throw deviceError(cause);
        await this.#unmute();
        return;
      }
      if (this.#stopped || !this.muted) media.stop();
      else this.#adopt(media);
    });
  }

  #next(operation: () => Promise<void>): Promise<void> {
    const done = this.#last.then(operation);
    this.#last = done.catch(() => {});
    return done;
  }

  #mute(): void {
    if (this.source === "camera" && this.#constraints) this.#release();
    else if (this.mediaStreamTrack) this.mediaStreamTrack.enabled = false;
    this.markMuted(true);
  }

  async #unmute(): Promise<void> {
    const media = this.mediaStreamTrack;
    if (media && media.readyState === "live") {
      media.enabled = true;
      this.markMuted(false);
    } else if (this.#constraints) {
      const opened = await openOne(this.kind, this.#constraints);
      if (this.#stopped) opened.stop();
      else this.#adopt(opened);
    } else {
      throw new SwitchyardError("device_not_found", "What was shared has ended.");
    }
  }

  #adopt(media: MediaStreamTrack): void {
    // Not fired by stop(): only when the device, the user or the browser ends it.
    media.addEventListener("ended", () => {
      if (media !== this.mediaStreamTrack) return;
      this.#release();
      this.markMuted(true);
      this.emit("ended");
    });
    this.setMedia(media);
    this.markMuted(false);
  }

  #release(): void {
    const media = this.mediaStreamTrack;
    this.setMedia(null);
    media?.stop();
  }
}

/**
 * Turns on a camera and a microphone with one question to the user. If one of the two can't be had the other is turned
 * on alone. Resolves with the error of each that stays off.
 */
export async function openDevices(
  camera: LocalTrack,
  microphone: LocalTrack,
): Promise<Map<LocalTrack, SwitchyardError>> {
  const errors = new Map<LocalTrack, SwitchyardError>();
  const ask = async () => {
    const constraints = { video: camera.constraints ?? true, audio: microphone.constraints ?? true };
    return await mediaDevices().getUserMedia(constraints);
  };
  const stream = ask();
  await Promise.all(
    [camera, microphone].map((track) =>
      track.openFrom(stream).catch((cause: unknown) => void errors.set(track, deviceError(cause))),
    ),
  );
  return errors;
}

/** Whether one device may be had although both together could not: never if that would ask the user a second time. */
async function worthAskingAlone(kind: Kind, cause: unknown): Promise<boolean> {
  if (deviceError(cause).code !== "permission_denied") return true;
  try {
    const name = (kind === "video" ? "camera" : "microphone") as PermissionName;
    return (await navigator.permissions.query({ name })).state === "granted";
  } catch {
    return false; // This browser doesn't tell.
  }
}

async function openOne(kind: Kind, constraints: MediaTrackConstraints): Promise<MediaStreamTrack> {
  try {
    return first(await mediaDevices().getUserMedia({ [kind]: constraints }), kind);
  } catch (cause) {
    throw deviceError(cause);
  }
}

function first(stream: MediaStream, kind: Kind): MediaStreamTrack {
  const [media] = kind === "audio" ? stream.getAudioTracks() : stream.getVideoTracks();
  if (!media) throw new SwitchyardError("device_not_found", "No such device was found.");
  return media;
}

function mediaDevices(): MediaDevices {
  if (typeof navigator !== "undefined" && navigator.mediaDevices) return navigator.mediaDevices;
  throw new SwitchyardError("insecure_context", "Cameras and microphones work on https: and on localhost only.");
}
