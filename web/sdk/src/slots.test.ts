import { expect, test } from "vitest";

import { Slots } from "./slots.js";

const receiver = (name: string) => ({ name }) as unknown as RTCRtpReceiver;
const first = receiver("first");
const second = receiver("second");
const lines = [
  { mid: "a", receiver: first },
  { mid: "b", receiver: second },
];

test("an assignment that comes before its m-line applies when the m-line appears", () => {
  const slots = new Slots();
  expect(slots.assign([{ mid: "a", track: 7 }])).toEqual(new Set([7]));
  expect(slots.receiver(7)).toBeNull();
  expect(slots.update(lines)).toEqual(new Set([7]));
  expect(slots.receiver(7)).toBe(first);
});

test("an m-line that comes before its assignment waits for it", () => {
  const slots = new Slots();
  expect(slots.update(lines)).toEqual(new Set());
  slots.assign([{ mid: "b", track: 7 }]);
  expect(slots.receiver(7)).toBe(second);
});

test("a slot that gets another track takes it from the one before", () => {
  const slots = new Slots();
  slots.update(lines);
  slots.assign([{ mid: "a", track: 7 }]);
  expect(slots.assign([{ mid: "a", track: 8 }])).toEqual(new Set([7, 8]));
  expect(slots.receiver(7)).toBeNull();
  expect(slots.receiver(8)).toBe(first);
});

test("a track that moves keeps its new slot when the old one is emptied afterwards", () => {
  const slots = new Slots();
  slots.update(lines);
  slots.assign([{ mid: "a", track: 7 }]);
  slots.assign([{ mid: "b", track: 7 }]);
  slots.assign([{ mid: "a" }]);
  expect(slots.receiver(7)).toBe(second);
  expect(slots.mid(7)).toBe("b");
});

test("two tracks can change places in one message", () => {
  const slots = new Slots();
  slots.update(lines);
  slots.assign([
    { mid: "a", track: 7 },
    { mid: "b", track: 8 },
  ]);
  slots.assign([
    { mid: "a", track: 8 },
    { mid: "b", track: 7 },
  ]);
  expect(slots.receiver(8)).toBe(first);
  expect(slots.receiver(7)).toBe(second);
});

test("an m-line that goes takes its receiver with it, and a recycled one brings another", () => {
  const slots = new Slots();
  slots.update(lines);
  slots.assign([{ mid: "a", track: 7 }]);
  expect(slots.update([])).toEqual(new Set([7]));
  expect(slots.receiver(7)).toBeNull();
  expect(slots.update([{ mid: "a", receiver: second }])).toEqual(new Set([7]));
  expect(slots.receiver(7)).toBe(second);
});

test("a negotiation that changes nothing touches nothing", () => {
  const slots = new Slots();
  slots.update(lines);
  slots.assign([{ mid: "a", track: 7 }]);
  expect(slots.update(lines)).toEqual(new Set());
});

test("what receives something is known while it is used", () => {
  const slots = new Slots();
  slots.update(lines);
  slots.assign([
    { mid: "b", track: 7 },
    { mid: "not negotiated", track: 9 },
  ]);
  expect(slots.receivers()).toEqual([second]);
});
