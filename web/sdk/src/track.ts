import { Emitter } from "./emitter.js";
import type { Kind, Source } from "./protocol.js";

/** The events of every track. */
export interface TrackEvents {
  /** Muted or no longer. */
  mutedChanged: [muted: boolean];
  /** The media is another `MediaStreamTrack` now, or none. */
  mediaChanged: [media: MediaStreamTrack | null];
  /** The browser refuses to play it before the user has clicked something. */
  playbackBlocked: [element: HTMLMediaElement];
  /** Of local tracks: the device is gone, or the user ended it by the browser's own control; the track is muted now. */
  ended: [];
}

/** Something to see or to hear, of this participant or of another. Shows itself in any number of media elements. */
export abstract class Track extends Emitter<TrackEvents> {
  /** Audio or video. */
  readonly kind: Kind;
  /** What it shows. */
  readonly source: Source;
  readonly #elements = new Set<HTMLMediaElement>();
  #media: MediaStreamTrack | null = null;
  #muted: boolean;

  protected constructor(source: Source, muted: boolean) {
    super();
    this.source = source;
    this.kind = kindOf(source);
    this.#muted = muted;
  }

  /** Whether whoever publishes it has muted it. */
  get muted(): boolean {
    return this.#muted;
  }

  /** The media; null while there is none: a camera that is off, a track that is in no slot yet. */
  get mediaStreamTrack(): MediaStreamTrack | null {
    return this.#media;
  }

  /** Where the track is shown. */
  get elements(): readonly HTMLMediaElement[] {
    return [...this.#elements];
  }

  /** Shows the track in an element, from now on and whatever media it has, until {@link detach}. */
  attach(element: HTMLMediaElement): void {
    this.#elements.add(element);
    element.autoplay = true;
    if (this.kind === "video") (element as HTMLVideoElement).playsInline = true;
    this.#show(element);
  }

  /** Undoes {@link attach}; without an element, everywhere. */
  detach(element?: HTMLMediaElement): void {
    for (const each of element ? [element] : [...this.#elements]) {
      if (this.#elements.delete(each)) each.srcObject = null;
    }
  }

  /** Plays again what the browser refused to play. Has to be called while a click is handled. */
  resume(): void {
    for (const element of this.#elements) this.#play(element);
  }

  protected setMedia(media: MediaStreamTrack | null): void {
    if (media === this.#media) return;
    this.#media = media;
    for (const element of this.#elements) this.#show(element);
    this.emit("mediaChanged", media);
  }

  protected markMuted(muted: boolean): void {
    if (muted === this.#muted) return;
    this.#muted = muted;
    this.emit("mutedChanged", muted);
  }

  #show(element: HTMLMediaElement): void {
    element.srcObject = this.#media ? new MediaStream([this.#media]) : null;
    if (this.#media) this.#play(element);
  }

  #play(element: HTMLMediaElement): void {
    if (!element.srcObject) return;
    element.play().catch((error: unknown) => {
      // Other failures are interruptions: the element got another source or was removed.
      if (error instanceof DOMException && error.name === "NotAllowedError") {
        this.emit("playbackBlocked", element);
      }
    });
  }
}

/** The kind of m-line that carries a source. */
export function kindOf(source: Source): Kind {
  return source === "camera" || source === "screen" ? "video" : "audio";
}
