import { expect, test } from "vitest";

import { EVERYTHING, worthSending } from "./wanted.js";

const THREE = [{ scaleResolutionDownBy: 4 }, { scaleResolutionDownBy: 2 }, { scaleResolutionDownBy: 1 }];
const HD = { width: 1280, height: 720 };

test.each([
  [THREE, HD, EVERYTHING, [true, true, true]],
  [THREE, HD, { width: 1280, height: 720 }, [true, true, true]],
  [THREE, HD, { width: 656, height: 368 }, [true, true, false]],
  [THREE, HD, { width: 640, height: 560 }, [true, true, true]],
  [THREE, HD, { width: 320, height: 192 }, [true, false, false]],
  [THREE, HD, { width: 0, height: 0 }, [false, false, false]],
  [THREE, {}, { width: 16, height: 16 }, [true, true, true]],
  [[{}], HD, { width: 16, height: 16 }, [true]],
  [[{}], HD, { width: 0, height: 0 }, [false]],
  [[...THREE].reverse(), HD, { width: 320, height: 180 }, [false, false, true]],
])("of %j of %j at %j", (encodings, capture, wanted, expected) => {
  expect(worthSending(encodings, capture, wanted)).toEqual(expected);
});
