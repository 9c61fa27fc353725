import { expect, test } from "vitest";

import { packData, unpackData } from "./data.js";

test("text begins with who it is for", () => {
  expect(packData("hello\nthere", null)).toBe("*\nhello\nthere");
  expect(packData("hello", 42)).toBe("42\nhello");
});

test("bytes begin with who they are for, big-endian", () => {
  expect(packData(new Uint8Array([1, 2]), null)).toEqual(new Uint8Array([255, 255, 255, 255, 1, 2]));
  expect(packData(new Uint8Array([1, 2]), 258)).toEqual(new Uint8Array([0, 0, 1, 2, 1, 2]));
});

test("what arrives says who sent it", () => {
  expect(unpackData("7\nhello\nthere")).toEqual({ from: 7, payload: "hello\nthere" });
  expect(unpackData("7\n")).toEqual({ from: 7, payload: "" });
  const { buffer } = new Uint8Array([0, 0, 1, 2, 9]);
  expect(unpackData(buffer)).toEqual({ from: 258, payload: new Uint8Array([9]) });
});

test.each(["", "hello", "\nhello", "x\nhello", "-1\nhello", new ArrayBuffer(3), null, 5])(
  "%j is no message",
  (message) => expect(unpackData(message)).toBeUndefined(),
);
