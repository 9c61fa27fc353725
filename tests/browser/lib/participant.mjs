// Somebody in front of the meeting app: what they do on the page and what they see and hear there.
import { until } from "./tab.mjs";
import { recordWire } from "./wire.mjs";

export class Participant {
  static async open(browser, server, room, name) {
    const tab = await browser.window(recordWire);
    return new Participant(tab, server, room, name);
  }

  constructor(tab, server, room, name) {
    this.tab = tab;
    this.url = `${server.origin}/r/${room}`;
    this.name = name;
  }

  /** Opens the room's address and goes in, with camera and microphone. */
  async enter() {
    await this.tab.goto(this.url);
    await this.goIn();
  }

  /** From the lobby into the meeting. */
  async goIn() {
    await this.tab.until("the lobby has the camera's picture", () => (document.querySelector("video")?.videoWidth ?? 0) > 0);
    await this.tab.fill("Your name", this.name);
    await this.tab.click("Join");
    await this.tab.until(`${this.name} is in the room`, () => window.switchyard?.state === "connected");
    this.id = await this.tab.evaluate(() => window.switchyard.localParticipant.id);
  }

  async leave() {
    await this.tab.click("Leave");
  }

  /** The tiles by accessible name: `{ picture, off, muted }`, as one sees them. */
  tiles() {
    return this.tab.evaluate(readTiles);
  }

  /** Waits for a tile; `state` has what is expected of it. */
  seesTile(label, state = {}, deadline) {
    return until(
      `${this.name} sees a tile "${label}" with ${JSON.stringify(state)}`,
      async () => {
        const tiles = (await this.tiles()).filter((tile) => tile.label === label);
        return tiles.length === 1 && Object.entries(state).every(([key, value]) => tiles[0][key] === value);
      },
      deadline,
    );
  }

  /** Waits until there is no tile with this name. */
  misses(label, deadline) {
    return until(
      `${this.name} no longer sees a tile "${label}"`,
      async () => (await this.tiles()).every((tile) => tile.label !== label),
      deadline,
    );
  }

  /** What is received of everybody else, by display name and source; from one report of the browser's. */
  received() {
    return this.tab.evaluate(readReceived);
  }

  /** Waits until another participant's picture from `source` is decoded anew, in some size. */
  async sees(name, source = "camera", deadline) {
    const frames = (report) => report[name]?.[source]?.framesDecoded ?? 0;
    let before = frames(await this.received());
    await until(
      `${this.name} decodes ${name}'s ${source}`,
      async () => {
        const report = await this.received();
        const { frameWidth, frameHeight } = report[name]?.[source] ?? {};
        // Another connection counts anew.
        before = Math.min(before, frames(report));
        return frames(report) >= before + 5 && frameWidth > 0 && frameHeight > 0 ? report : false;
      },
      deadline,
    );
  }

  /** Waits until something of another participant's microphone is heard anew, not silence. */
  async hears(name, source = "microphone", deadline) {
    const energy = (report) => report[name]?.[source]?.totalAudioEnergy ?? 0;
    let before = energy(await this.received());
    await until(
      `${this.name} hears ${name}'s ${source}`,
      async () => {
        const now = energy(await this.received());
        before = Math.min(before, now);
        return now > before;
      },
      deadline,
    );
  }

  /** As {@link sees} and {@link hears}, of several at once and with few looks: for machines that have other things to do. */
  async receivesAnew(pictures, sounds, deadline) {
    const read = async () => {
      const report = await this.received();
      const frames = pictures.map(({ name }) => Math.floor((report[name]?.camera?.framesDecoded ?? 0) / 5));
      return [...frames, ...sounds.map(({ name }) => report[name]?.microphone?.totalAudioEnergy ?? 0)];
    };
    let before = await read();
    await until(
      `${this.name} sees ${pictures.map(({ name }) => name)} and hears ${sounds.map(({ name }) => name)}`,
      async () => {
        const now = await read();
        before = before.map((value, index) => Math.min(value, now[index]));
        return now.every((value, index) => value > before[index]);
      },
      deadline,
      250,
    );
  }

  /** Sees and hears each of `others`. */
  async receives(...others) {
    await Promise.all(others.flatMap(({ name }) => [this.sees(name), this.hears(name)]));
  }

  /** The room's part of the console: runs `script` in the page. */
  evaluate(script, argument) {
    return this.tab.evaluate(script, argument);
  }
}

/** Runs in the page. */
function readTiles() {
  return [...document.querySelectorAll('[role="group"]')].map((tile) => {
    const video = tile.querySelector("video");
    const shown = !!video && video.videoWidth > 0 && !video.ended && getComputedStyle(video).opacity !== "0";
    const says = (words) => tile.innerText.includes(words) || [...tile.querySelectorAll("*")].some((part) => part.textContent === words);
    return {
      label: tile.getAttribute("aria-label"),
      picture: shown && !says("camera off"),
      off: says("camera off"),
      muted: says("muted"),
    };
  });
}

/** Runs in the page. One report for all, so that values of two tracks in it are of the same moment. */
async function readReceived() {
  const room = window.switchyard;
  if (!room?.peerConnection) return {};
  const streams = [...(await room.peerConnection.getStats()).values()].filter(({ type }) => type === "inbound-rtp");
  const result = {};
  for (const participant of room.participants.values()) {
    const sources = {};
    for (const track of participant.tracks.values()) {
      const mid = room.mid(track);
      // An m-line may have had streams before this one: the one that got the latest packet is the present one.
      const ofLine = streams.filter((stream) => stream.mid === mid && mid !== null);
      ofLine.sort((a, b) => (b.lastPacketReceivedTimestamp ?? 0) - (a.lastPacketReceivedTimestamp ?? 0));
      const [stream] = ofLine;
      sources[track.source] = stream
        ? {
            timestamp: stream.timestamp,
            packetsReceived: stream.packetsReceived,
            framesDecoded: stream.framesDecoded,
            framesPerSecond: stream.framesPerSecond,
            frameWidth: stream.frameWidth,
            frameHeight: stream.frameHeight,
            totalAudioEnergy: stream.totalAudioEnergy,
            estimatedPlayoutTimestamp: stream.estimatedPlayoutTimestamp,
          }
        : null;
    }
    result[participant.name] = sources;
  }
  return result;
}
