import type { VideoCodec } from "./protocol.js";

/** What those decode who may receive a track: whoever sends one codec of every set is seen by everybody. */
export type CodecSets = readonly (readonly VideoCodec[])[];

/** An encoding may have another codec than what is negotiated first (W3C webrtc-extensions), which TypeScript's types don't know. */
interface Encoding extends RTCRtpEncodingParameters {
  codec?: RTCRtpCodec;
}

/** The first codec of `order` that everybody decodes; the first of all if there is none. */
export function choose(sets: CodecSets, order: readonly VideoCodec[]): VideoCodec | undefined {
  return order.find((codec) => sets.every((set) => set.includes(codec))) ?? order[0];
}

/** The codec of what an m-line sends. */
export class LineCodec {
  readonly #transceiver: RTCRtpTransceiver;
  /** What was negotiated first at the beginning. */
  #first: VideoCodec | undefined;
  /** What was asked for since. */
  #current: VideoCodec | undefined;

  constructor(transceiver: RTCRtpTransceiver) {
    this.#transceiver = transceiver;
  }

  /** What the browser can send here, what it sends unless told otherwise first; nothing before anything is negotiated. */
  get usable(): VideoCodec[] {
    this.#first ??= this.#negotiated.map(nameOf).find(isKnown);
    return this.#first ? [this.#first, ...capabilities().map(nameOf).filter(isKnown)] : [];
  }

  /**
   * Sends in one of {@link usable} from now on. Resolves with whether that takes an offer: browsers that know no codecs of
   * encodings send the only one that is negotiated.
   */
  async use(codec: VideoCodec): Promise<boolean> {
    if (codec === (this.#current ?? this.#first)) return false;
    const negotiated = this.#negotiated.find((each) => nameOf(each) === codec);
    const done = negotiated !== undefined && (await this.#encodeIn(negotiated));
    if (!done) preferCodec(this.#transceiver, codec);
    this.#current = codec;
    return !done;
  }

  get #negotiated(): readonly RTCRtpCodec[] {
    return this.#transceiver.sender.getParameters().codecs ?? [];
  }

  /** Whether the browser does. */
  async #encodeIn(codec: RTCRtpCodec): Promise<boolean> {
    const { sender } = this.#transceiver;
    const parameters = sender.getParameters();
    for (const encoding of parameters.encodings as Encoding[]) encoding.codec = codec;
    await sender.setParameters(parameters);
    return (sender.getParameters().encodings as Encoding[]).some((encoding) => encoding.codec);
  }
}

/** Has an m-line offered with this codec alone. */
function preferCodec(transceiver: RTCRtpTransceiver, codec: VideoCodec): void {
  const all = capabilities();
  const repairs = all.filter(({ mimeType }) => mimeType.toLowerCase() === "video/rtx");
  transceiver.setCodecPreferences([...all.filter((each) => nameOf(each) === codec), ...repairs]);
}

function capabilities(): readonly RTCRtpCodec[] {
  return RTCRtpSender.getCapabilities("video")?.codecs ?? [];
}

function nameOf({ mimeType }: RTCRtpCodec): VideoCodec | undefined {
  return /^video\/(vp8|vp9|h264|av1|h265)$/i.exec(mimeType)?.[1]?.toLowerCase() as VideoCodec | undefined;
}

function isKnown(codec: VideoCodec | undefined): codec is VideoCodec {
  return codec !== undefined;
}
