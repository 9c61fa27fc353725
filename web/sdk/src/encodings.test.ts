import { expect, test } from "vitest";

import { EVERYTHING, sendEncodings, sending, type Capture, type Wanted } from "./encodings.js";

const HD = { width: 1280, height: 720 };
const NHD = { width: 640, height: 360 };
const SMALL = { width: 320, height: 180 };

/** The active encodings' scales. */
function scales(count: number, capture: Capture, wanted: Wanted): (number | null)[] {
  return sending("camera", count, capture, wanted).map(({ active, scaleResolutionDownBy }) =>
    active ? scaleResolutionDownBy : null,
  );
}

test.each([
  ["everything of a large picture", 3, HD, EVERYTHING, [4, 2, 1]],
  ["its own size", 3, HD, HD, [4, 2, 1]],
  ["half of it, and what is rounded up", 3, HD, { width: 656, height: 368 }, [4, 2, null]],
  ["a higher tile", 3, HD, { width: 640, height: 560 }, [4, 2, null]],
  ["more in both directions", 3, HD, { width: 736, height: 560 }, [4, 2, 1]],
  ["a small tile", 3, HD, { width: 320, height: 192 }, [4, null, null]],
  ["nothing", 3, HD, { width: 0, height: 0 }, [null, null, null]],
  ["a size that is not known yet", 3, {}, { width: 16, height: 16 }, [4, 2, 1]],
  ["a picture that browsers send in two encodings at most", 3, NHD, EVERYTHING, [2, 1, null]],
  ["a small tile of it", 3, NHD, { width: 320, height: 180 }, [2, null, null]],
  ["a picture that browsers send in one", 3, SMALL, EVERYTHING, [1, null, null]],
  ["the only encoding", 1, HD, { width: 16, height: 16 }, [1]],
  ["nothing of the only encoding", 1, HD, { width: 0, height: 0 }, [null]],
])("%s", (_, count, capture, wanted, expected) => {
  expect(scales(count, capture, wanted)).toEqual(expected);
});

test("the bitrate follows the size", () => {
  const rates = (capture: Capture) =>
    sending("camera", 3, capture, EVERYTHING).map(({ maxBitrate }) => Math.round(maxBitrate / 1000));
  expect(rates(HD)).toEqual([213, 601, 1700]);
  expect(rates(NHD).slice(0, 2)).toEqual([213, 601]);
});

test("a screen has one encoding in its own size, sound has none", () => {
  expect(sendEncodings("screen")).toEqual([{ maxBitrate: 2_500_000, scalabilityMode: "L1T3" }]);
  expect(sending("screen", 1, { width: 200, height: 100 }, EVERYTHING)).toEqual([
    { active: true, scaleResolutionDownBy: 1, maxBitrate: 2_500_000 },
  ]);
  expect(sendEncodings("microphone")).toBeUndefined();
  expect(sendEncodings("camera")?.map(({ rid, scaleResolutionDownBy }) => [rid, scaleResolutionDownBy])).toEqual([
    ["q", 4],
    ["h", 2],
    ["f", 1],
  ]);
});
