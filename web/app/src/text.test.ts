import { expect, test } from "vitest";

import {
  closingText,
  guestsText,
  hue,
  initials,
  linkPieces,
  missingText,
  movedText,
  randomRoom,
  revokedText,
  roomId,
  roomOfPath,
  settingsText,
  speakerText,
} from "./text.js";

test.each([
  ["Ada Lovelace", "AL"],
  ["grace", "G"],
  ["Jean Luc  Picard", "JP"],
  ["(Bob) [Admin]", "BA"],
  ["李小龙", "李"],
  ["👩‍🚀", "👩‍🚀"],
  ["  ", "?"],
])("%j has the initials %j", (name, expected) => expect(initials(name)).toBe(expected));

test("a name always has the same colour", () => {
  expect(hue("Ada")).toBe(hue("Ada"));
  expect(hue("Ada")).not.toBe(hue("Grace"));
});

test("web addresses become links, without the sentence's punctuation", () => {
  expect(linkPieces("see https://example.org/a?b=1. Or (http://x.test)!")).toEqual([
    { text: "see " },
    { text: "https://example.org/a?b=1", href: "https://example.org/a?b=1" },
    { text: ". Or (" },
    { text: "http://x.test", href: "http://x.test" },
    { text: ")!" },
  ]);
});

test.each(["javascript:alert(1)", "<b>bold</b>", "data:text/html,x", "https://"])("%j stays text", (text) => {
  expect(linkPieces(text)).toEqual([{ text }]);
});

test.each([
  ["Team meeting", "Team-meeting"],
  ["  Café / Zürich  ", "Cafe--Zurich"],
  ["../etc", "..etc"],
  ["🚂", ""],
])("%j typed as a room is %j", (typed, expected) => expect(roomId(typed)).toBe(expected));

test("rooms have a path of their own", () => {
  expect(roomOfPath("/r/demo")).toBe("demo");
  expect(roomOfPath("/r/demo/")).toBe("demo");
  for (const path of ["/", "/r/", "/r/a/b", "/r/a%20b", `/r/${"x".repeat(65)}`]) expect(roomOfPath(path)).toBeNull();
  expect(roomOfPath(`/r/${randomRoom()}`)).not.toBeNull();
});

test("that the server goes down is said in seconds or minutes", () => {
  const now = 1_000_000;
  const at = (seconds: number) => closingText(new Date(now + seconds * 1_000), now);
  expect(at(600)).toBe("This server goes down for maintenance. The meeting ends in 10\u00a0minutes.");
  expect(at(90)).toContain("2\u00a0minutes");
  expect(at(89)).toContain("89\u00a0seconds");
  expect(at(1)).toContain("1\u00a0second.");
  expect(at(-5)).toContain("0\u00a0seconds");
});

test("a change of the room is told in words, and only what has changed", () => {
  const before = { locked: false, lobby: false, password: false, max_participants: 9 };
  expect(settingsText(null, before)).toEqual([]);
  expect(settingsText(before, { ...before, locked: true, password: true })).toEqual([
    "The room is locked",
    "The room has a password",
  ]);
  expect(settingsText({ ...before, lobby: true }, { ...before, max_participants: 1 })).toEqual([
    "The waiting room is off",
    "The room is for 1 person",
  ]);
});

test("who waits is named if it is one", () => {
  expect(guestsText([{ id: 1, name: "Ben" }])).toBe("Ben wants to come in");
  expect(guestsText([1, 2].map((id) => ({ id, name: "Ben" })))).toBe("2 people want to come in");
});

test("what the server says is nobody's who left", () => {
  expect(speakerText(0, undefined)).toBe("The organizer");
  expect(speakerText(7, "Ben")).toBe("Ben");
  expect(speakerText(7, undefined)).toBe("Somebody who left");
});

test("who may not share any more is told what was turned off", () => {
  expect(revokedText("camera").what).toContain("Your camera");
  expect(revokedText("screen_audio").what).toContain("screen's sound");
});

test("of a picture that doesn't come it is said why", () => {
  expect(missingText("paused", false)).toBe("Paused: your connection is too slow for this picture");
  expect(missingText("undecodable", true)).toBe("Your browser can't show the format of this screen");
  expect([missingText("full", false), missingText("reduced", false)]).toEqual([null, null]);
});

test("who is in another room is told why", () => {
  expect(movedText("side", false)).toEqual({
    what: "You are in the room side now.",
    todo: "Whoever runs the meeting has moved you.",
  });
  expect(movedText("demo", true).todo).toBe("The other room didn't take you in again.");
});
