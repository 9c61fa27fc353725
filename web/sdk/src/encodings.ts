import type { Source } from "./protocol.js";

/** How large a track is shown at most, in pixels; 0 by 0: nowhere. */
export interface Wanted {
  readonly width: number;
  readonly height: number;
}

/** The size that a track is captured at, as far as it is known. */
export interface Capture {
  readonly width?: number | undefined;
  readonly height?: number | undefined;
}

/** What changes of an encoding while it is negotiated. */
export interface Sending {
  active: boolean;
  scaleResolutionDownBy: number;
  maxBitrate: number;
}

/** What holds until the server says something else: somebody takes it as large as it gets. */
export const EVERYTHING: Wanted = { width: 65_535, height: 65_535 };

/** What is wanted of a track that has no picture. */
export const NOTHING: Wanted = { width: 0, height: 0 };

/** A camera's encodings, the smallest first: browsers leave out the last ones where a picture is too small for all of them. */
const CAMERA_RIDS = ["q", "h", "f"];
/** Pixels that a camera's picture has at least for so many encodings: browsers send no more of one that is smaller. */
const CAMERA_ENCODINGS: readonly (readonly [pixels: number, encodings: number])[] = [
  [960 * 540, 3],
  [480 * 270, 2],
  [0, 1],
];
/**
 * Of every encoding (W3C webrtc-svc, which TypeScript's types don't have yet): three temporal layers, of which a line may
 * carry fewer. Without this Chromium takes the encodings of VP9 and AV1 for layers of one.
 */
const SCALABILITY: object = { scalabilityMode: "L1T3" };
/** What a camera's picture is taken for until its size is known. */
const HD = { width: 1280, height: 720 };
/** Bits per second of a camera at {@link HD}. Others have as many more or fewer as experience with video codecs has it: pixels to the power of 0.75. */
const HD_BITRATE = 1_700_000;
/** Of a screen there is one encoding, in bits per second: its text is no good any smaller. */
const SCREEN_BITRATE = 2_500_000;
/** An encoding may be smaller than what is wanted by this factor: nobody sees the difference. The server says the same. */
const CLOSE_ENOUGH = 8 / 9;

/** What an m-line of a source is to be negotiated with; undefined for sound. */
export function sendEncodings(source: Source): RTCRtpEncodingParameters[] | undefined {
  if (source === "screen") return [{ maxBitrate: SCREEN_BITRATE, ...SCALABILITY }];
  if (source !== "camera") return undefined;
  return sending("camera", CAMERA_RIDS.length, {}, EVERYTHING).map((encoding, at) => ({
    rid: CAMERA_RIDS[at]!,
    ...SCALABILITY,
    ...encoding,
  }));
}

/**
 * How `count` encodings of a track are to be sent, the smallest first: each half as wide and high as the next one, down
 * from the size that it is captured at. Active are the smallest that covers what is wanted and the smaller ones, which are
 * for those whose line carries no more; none, if nobody is shown the track.
 */
export function sending(source: Source, count: number, capture: Capture, wanted: Wanted): Sending[] {
  const { width, height } = { width: capture.width ?? HD.width, height: capture.height ?? HD.height };
  const most = CAMERA_ENCODINGS.find(([pixels]) => width * height >= pixels)?.[1] ?? 1;
  const used = source === "camera" ? Math.min(count, most) : count;
  const shown = wanted.width > 0 && wanted.height > 0;
  // As the server has it: in one direction is enough, because the picture is cropped in the other or has bars beside it.
  const covers = (scale: number) =>
    Math.max(width / scale / wanted.width, height / scale / wanted.height) >= CLOSE_ENOUGH &&
    capture.width !== undefined;
  return Array.from({ length: count }, (_, at) => {
    const scale = 2 ** Math.max(used - 1 - at, 0);
    const smallerIsEnough = at > 0 && covers(scale * 2);
    const pixels = (width * height) / scale ** 2;
    return {
      active: shown && at < used && !smallerIsEnough,
      scaleResolutionDownBy: scale,
      maxBitrate:
        source === "screen" ? SCREEN_BITRATE : Math.round(HD_BITRATE * (pixels / (HD.width * HD.height)) ** 0.75),
    };
  });
}
