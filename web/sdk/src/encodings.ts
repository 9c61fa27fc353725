/** How large a track is shown at most, in pixels; 0 by 0: nowhere. */
export interface Wanted {
  readonly width: number;
  readonly height: number;
}

/** What holds until the server says something else: somebody takes it as large as it gets. */
export const EVERYTHING: Wanted = { width: 65_535, height: 65_535 };

/** An encoding may be smaller than what is wanted by this factor: nobody sees the difference. */
const CLOSE_ENOUGH = 0.9;

/**
 * Which encodings of a track of this size are worth sending: the smallest that covers what is wanted, and the smaller
 * ones, which are for those whose line carries no more. None, if nobody is shown the track.
 */
export function worthSending(
  encodings: readonly { scaleResolutionDownBy?: number | undefined }[],
  capture: { width?: number | undefined; height?: number | undefined },
  wanted: Wanted,
): boolean[] {
  if (wanted.width === 0 || wanted.height === 0) return encodings.map(() => false);
  const scales = encodings.map(({ scaleResolutionDownBy }) => scaleResolutionDownBy ?? 1);
  const covers = (scale: number) =>
    capture.width !== undefined &&
    capture.height !== undefined &&
    // The picture fills its tile in the direction in which it is larger for it.
    Math.min(capture.width / scale / wanted.width, capture.height / scale / wanted.height) >= CLOSE_ENOUGH;
  const enough = Math.max(...scales.filter(covers), Math.min(...scales));
  return scales.map((scale) => scale >= enough);
}
