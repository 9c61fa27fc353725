import type { Guest, Reception, RoomSettings, Source } from "@switchyard/sdk";

/** One or two letters that stand for a name. */
export function initials(name: string): string {
  const words = name.trim().split(/\s+/u).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : words;
  return (
    letters
      .map((word) => firstLetter(word ?? ""))
      .join("")
      .toLocaleUpperCase() || "?"
  );
}

// The first letter or digit, or whatever comes first: an emoji made of several code points stays whole.
function firstLetter(word: string): string {
  const letter = word.match(/[\p{L}\p{N}]/u);
  if (letter) return letter[0];
  const [first] = new Intl.Segmenter(undefined, { granularity: "grapheme" }).segment(word);
  return first?.segment ?? "";
}

/** An angle on the colour wheel that a name always gets. */
export function hue(name: string): number {
  let hash = 0x811c9dc5;
  for (const letter of name) hash = Math.imul(hash ^ (letter.codePointAt(0) ?? 0), 0x01000193);
  // Thirty steps are as many as can be told apart.
  return ((hash >>> 0) % 30) * 12;
}

/** A piece of a chat message: plain text, or a link. */
export type Piece = { text: string; href?: string };

/** Finds the web addresses in a chat message. Nothing but http: and https: becomes a link. */
export function linkPieces(text: string): Piece[] {
  const pieces: Piece[] = [];
  let end = 0;
  for (const match of text.matchAll(/https?:\/\/[^\s<>"]+/giu)) {
    // A sentence's punctuation isn't part of the address.
    const address = match[0].replace(/[.,;:!?)\]}'»”]+$/u, "");
    if (!URL.canParse(address)) continue;
    if (match.index > end) pieces.push({ text: text.slice(end, match.index) });
    pieces.push({ text: address, href: address });
    end = match.index + address.length;
  }
  if (end < text.length) pieces.push({ text: text.slice(end) });
  return pieces;
}

/** What somebody typed as a room's id: spaces become hyphens, what an id can't have is left out. */
export function roomId(typed: string): string {
  return typed
    .normalize("NFKD")
    .replace(/\p{M}/gu, "")
    .trim()
    .replace(/\s+/gu, "-")
    .replace(/[^A-Za-z0-9._-]/gu, "")
    .slice(0, 64);
}

/** The room that a path of this site names, or null for any other path. */
export function roomOfPath(path: string): string | null {
  const match = /^\/r\/([A-Za-z0-9._-]{1,64})\/?$/u.exec(path);
  return match?.[1] ?? null;
}

const FIRST = [
  "amber",
  "brisk",
  "calm",
  "clear",
  "early",
  "green",
  "north",
  "quiet",
  "river",
  "silver",
  "swift",
  "west",
];
const SECOND = [
  "bridge",
  "depot",
  "express",
  "junction",
  "lantern",
  "line",
  "platform",
  "rail",
  "signal",
  "station",
  "track",
  "yard",
];

/** A room's id that nobody is likely to have thought of. */
export function randomRoom(random: () => number = Math.random): string {
  const pick = (words: readonly string[]) => words[Math.floor(random() * words.length)];
  return `${pick(FIRST)}-${pick(SECOND)}-${1000 + Math.floor(random() * 9000)}`;
}

/** That the server will go down at `closesAt`, at the time `now` in milliseconds since 1970. */
export function closingText(closesAt: Date, now: number): string {
  const seconds = Math.max(0, Math.round((closesAt.getTime() - now) / 1_000));
  const time = seconds < 90 ? count(seconds, "second") : count(Math.round(seconds / 60), "minute");
  return `This server goes down for maintenance. The meeting ends in ${time}.`;
}

function count(number: number, unit: string): string {
  return `${number}\u00a0${unit}${number === 1 ? "" : "s"}`;
}

/** What is said of a room that is set otherwise, to who does not look. */
export function settingsText(before: RoomSettings | null, after: RoomSettings): string[] {
  const says: [changed: boolean, text: string][] = [
    [before?.locked !== after.locked, after.locked ? "The room is locked" : "The room is unlocked"],
    [before?.lobby !== after.lobby, after.lobby ? "The waiting room is on" : "The waiting room is off"],
    [before?.password !== after.password, after.password ? "The room has a password" : "The room has no password"],
    [
      before?.max_participants !== after.max_participants,
      `The room is for ${after.max_participants} ${after.max_participants === 1 ? "person" : "people"}`,
    ],
  ];
  return says.filter(([changed]) => before && changed).map(([, text]) => text);
}

/** Who wants to come in. */
export function guestsText(guests: readonly Guest[]): string {
  const [first] = guests;
  return guests.length === 1 && first ? `${first.name} wants to come in` : `${guests.length} people want to come in`;
}

/** Who says something in the chat: the server's API is 0. */
export function speakerText(id: number, name: string | undefined): string {
  if (id === 0) return "The organizer";
  return name ?? "Somebody who left";
}

/** That something of the user's was ended because they may not publish it any more. */
export function revokedText(source: Source): { what: string; todo: string } {
  const what = { camera: "camera", microphone: "microphone", screen: "screen", screen_audio: "screen's sound" }[source];
  return { what: `Your ${what} was turned off: you may not share it any more.`, todo: "Ask the host if you need it." };
}

/** That somebody is in another room, and why. */
export function movedText(room: string, back: boolean): { what: string; todo: string } {
  const todo = back ? "The other room didn't take you in again." : "Whoever runs the meeting has moved you.";
  return { what: `You are in the room ${room} now.`, todo };
}

/** Why nothing of a picture comes; null if something does. */
export function missingText(reception: Reception, screen: boolean): string | null {
  const picture = screen ? "screen" : "picture";
  switch (reception) {
    case "paused":
      return `Paused: your connection is too slow for this ${picture}`;
    case "undecodable":
      return `Your browser can't show the format of this ${picture}`;
    default:
      return null;
  }
}
