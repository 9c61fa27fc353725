import type { VideoCodec } from "./protocol.js";

/** What those decode who may receive a track: whoever sends one codec of every set is seen by everybody. */
export type CodecSets = readonly (readonly VideoCodec[])[];

/** An encoding may have another codec than what is negotiated first (W3C webrtc-extensions), which TypeScript's types don't know. */
interface Encoding extends RTCRtpEncodingParameters {
  codec?: RTCRtpCodec;
}

/** What a track is to be sent in, and in what once more for those who don't decode that. */
export interface Choice {
  readonly codec: VideoCodec;
  readonly backup: VideoCodec | null;
}

/**
 * The first codec of `order` that everybody decodes. Where there is none, the first that leaves out only people who have a codec in common, with that. With a `backup`
 * the first of `order` is sent as long as anybody decodes it, and the backup to the others.
 */
export function choose(
  sets: CodecSets,
  order: readonly VideoCodec[],
  backup: VideoCodec | null = null,
): Choice | undefined {
  const [first] = order;
  if (!first) return undefined;
  const lacking = (codec: VideoCodec) => sets.filter((set) => !set.includes(codec));
  const common = order.find((codec) => lacking(codec).length === 0);
  const divides = common !== first && backup !== null && lacking(first).length < sets.length;
  if (common && !divides) return { codec: common, backup: null };
  for (const codec of order) {
    const covers = (other: VideoCodec) => lacking(codec).every((set) => set.includes(other));
    const second = [...order.filter((other) => other === backup), ...order].find(covers);
    if (second) return { codec, backup: second };
  }
  return { codec: first, backup: null };
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
export function preferCodec(transceiver: RTCRtpTransceiver, codec: VideoCodec): void {
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
