// A participant that speaks signaling and nothing else: it publishes tracks that never carry a packet.
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import WebSocket from "ws";

/** The m-lines of its offer, and the sources that it publishes on them. */
const LINES = new Map([
  ["1", "camera"],
  ["2", "screen"],
]);

export class Bot {
  #socket;
  #nextId = 1;
  #waiting = new Map();
  #tracks = new Map();
  /** Its end of a transport that is never set up. */
  #transport = [
    `a=ice-ufrag:${randomBytes(4).toString("hex")}`,
    `a=ice-pwd:${randomBytes(16).toString("hex")}`,
    `a=fingerprint:sha-256 ${[...randomBytes(32)].map((byte) => byte.toString(16).padStart(2, "0").toUpperCase()).join(":")}`,
  ];

  /** Joins and has its m-lines negotiated. */
  static async join(server, room, name) {
    const socket = new WebSocket(`${server.origin.replace("http", "ws")}/v1/ws`, "switchyard.v1.json");
    const bot = new Bot(socket);
    await once(socket, "open");
    await bot.request({ type: "join", room, name });
    await bot.request({ type: "offer", sdp: bot.#offer() });
    return bot;
  }

  constructor(socket) {
    this.#socket = socket;
    socket.on("message", (data) => this.#take(JSON.parse(data)));
    socket.on("close", () => {
      for (const { reject } of this.#waiting.values()) reject(new Error("the server closed the connection"));
      this.#waiting.clear();
    });
  }

  /** Sends a request; resolves with the result, rejects with the error. */
  request(request) {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#socket.send(JSON.stringify({ id, ...request }));
    });
  }

  /** Publishes camera and screen: two groups of tracks, for which everybody else needs two slots. */
  async publish() {
    await Promise.all(
      [...LINES].map(async ([mid, source]) => {
        const { track } = await this.request({ type: "publish", mid, source, muted: true });
        this.#tracks.set(source, track);
      }),
    );
  }

  async unpublish() {
    const tracks = [...this.#tracks.values()];
    this.#tracks.clear();
    await Promise.all(tracks.map((track) => this.request({ type: "unpublish", track })));
  }

  async close() {
    if (this.#socket.readyState === WebSocket.CLOSED) return;
    const closed = once(this.#socket, "close");
    this.#socket.close(1000);
    await closed;
  }

  #take(message) {
    if (message.type === "event") {
      // The answer is not waited for: one that comes too late belongs to an offer that is void.
      if (message.event.kind === "offer") this.#answer(message.event).catch(() => {});
      return;
    }
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.type === "reply") waiting?.resolve(message.result);
    else waiting?.reject(new Error(`${message.error.code}: ${message.error.message}`));
  }

  #offer() {
    const media = [...LINES.keys()].flatMap((mid) => [
      "m=video 9 UDP/TLS/RTP/SAVPF 96",
      "c=IN IP4 0.0.0.0",
      ...this.#transport,
      "a=setup:actpass",
      `a=mid:${mid}`,
      "a=sendonly",
      `a=msid:bot ${mid}`,
      "a=rtcp-mux",
      "a=rtpmap:96 VP8/90000",
    ]);
    const lines = [...session(["0", ...LINES.keys()]), "m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "c=IN IP4 0.0.0.0", ...this.#transport];
    lines.push("a=setup:actpass", "a=mid:0", "a=sctp-port:5000", "a=max-message-size:262144", ...media);
    return `${lines.join("\r\n")}\r\n`;
  }

  async #answer({ revision, sdp }) {
    await this.request({ type: "answer", revision, sdp: answer(sdp, this.#transport) });
  }
}

/** The top of a description with these m-lines. */
function session(mids) {
  return ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", `a=group:BUNDLE ${mids.join(" ")}`, "a=msid-semantic: WMS *"];
}

/** Accepts all that an offer offers, in the opposite direction. */
export function answer(offer, transport) {
  const [, ...sections] = offer.split(/^(?=m=)/m);
  const mids = [];
  const answered = sections.flatMap((section) => {
    const lines = section.trimEnd().split("\r\n");
    const rejected = /^m=\w+ 0 /.test(lines[0]) && !lines.includes("a=bundle-only");
    const mid = lines.find((line) => line.startsWith("a=mid:"));
    if (rejected) return [lines[0], "c=IN IP4 0.0.0.0", ...(mid ? [mid] : []), "a=inactive"];
    mids.push(mid.slice("a=mid:".length));
    const kept = lines.slice(1).filter((line) => /^a=(mid|rtpmap|fmtp|rtcp-fb|extmap|rtcp-mux|sctp-port|max-message-size)/.test(line));
    const direction = lines.find((line) => /^a=(sendrecv|sendonly|recvonly|inactive)$/.test(line));
    const opposite = { "a=sendonly": "a=recvonly", "a=recvonly": "a=sendonly" }[direction] ?? direction;
    return [lines[0].replace(/^(m=\w+) 0 /, "$1 9 "), "c=IN IP4 0.0.0.0", ...transport, "a=setup:active", ...(opposite ? [opposite] : []), ...kept];
  });
  return `${[...session(mids), ...answered].join("\r\n")}\r\n`;
}
