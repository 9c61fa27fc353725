import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { SwitchyardError } from "./errors.js";
import { type NegotiatingConnection, Negotiator } from "./negotiation.js";

/** A signaling state machine as WebRTC 1.0 §4.7.3 has it: every step takes a turn of the loop, wrong ones throw. */
class Connection implements NegotiatingConnection {
  signalingState: RTCSignalingState = "stable";
  localDescription: { sdp: string } | null = null;
  /** What both sides agreed on last. */
  agreed: { local: string; remote: string } | null = null;
  refuse: ((description: RTCSessionDescriptionInit) => boolean) | null = null;
  #offers = 0;
  #remote = "";

  async createOffer(options: RTCOfferOptions): Promise<RTCSessionDescriptionInit> {
    await turn();
    this.#offers += 1;
    return { type: "offer", sdp: `client offer ${this.#offers}${options.iceRestart ? " restart" : ""}` };
  }

  async setLocalDescription(description?: RTCSessionDescriptionInit): Promise<void> {
    await turn();
    if (!description && this.signalingState === "stable") description = await this.createOffer({});
    switch (description?.type ?? "answer") {
      case "offer":
        this.#move(["stable"], "have-local-offer");
        break;
      case "rollback":
        this.#move(["have-local-offer"], "stable");
        break;
      default:
        this.#move(["have-remote-offer"], "stable");
        description = { type: "answer", sdp: `client answer to ${this.#remote}` };
        this.agreed = { local: description.sdp ?? "", remote: this.#remote };
    }
    this.localDescription = { sdp: description?.sdp ?? "" };
  }

  async setRemoteDescription(description: RTCSessionDescriptionInit): Promise<void> {
    await turn();
    if (this.refuse?.(description)) throw new DOMException("no", "InvalidAccessError");
    const sdp = description.sdp ?? "";
    switch (description.type) {
      case "offer":
        this.#move(["stable"], "have-remote-offer");
        this.#remote = sdp;
        break;
      case "rollback":
        this.#move(["have-remote-offer"], "stable");
        break;
      default:
        this.#move(["have-local-offer"], "stable");
        this.agreed = { local: this.localDescription?.sdp ?? "", remote: sdp };
    }
  }

  #move(from: RTCSignalingState[], to: RTCSignalingState): void {
    if (!from.includes(this.signalingState)) {
      throw new DOMException(`${to} is not reached from ${this.signalingState}`, "InvalidStateError");
    }
    this.signalingState = to;
  }
}

type Reply = { kind: "answer"; sdp: string } | { kind: "ignored" };
type Sent = { kind: "offer"; sdp: string; reply(reply: Reply): void; refuse(error: Error): void } | Answer;
type Answer = { kind: "answer"; revision: number; sdp: string };

const turn = () => new Promise<void>((resolve) => setTimeout(resolve));

let connection: Connection;
let sent: Sent[];
let failures: SwitchyardError[];
let negotiator: Negotiator;

beforeEach(() => {
  vi.useFakeTimers();
  connection = new Connection();
  sent = [];
  failures = [];
  negotiator = new Negotiator(connection, {
    offer: (sdp) => new Promise((resolve, reject) => sent.push({ kind: "offer", sdp, reply: resolve, refuse: reject })),
    answer: async (revision, sdp) => void sent.push({ kind: "answer", revision, sdp }),
    applied: () => {},
    failed: (error) => failures.push(error),
  });
});
afterEach(() => void vi.useRealTimers());

const pass = (milliseconds = 100) => vi.advanceTimersByTimeAsync(milliseconds);
function offer(index: number) {
  const message = sent[index];
  if (message?.kind !== "offer") throw new Error(`message ${index} is not an offer: ${JSON.stringify(sent)}`);
  return message;
}

test("an offer is made and its answer applied", async () => {
  negotiator.negotiate();
  await pass();
  offer(0).reply({ kind: "answer", sdp: "server answer" });
  await pass();
  expect(connection.agreed).toEqual({ local: "client offer 1", remote: "server answer" });
  expect(sent).toHaveLength(1);
});

test("wishes during an offer are folded into one more", async () => {
  negotiator.negotiate();
  negotiator.negotiate();
  await pass();
  negotiator.negotiate();
  negotiator.negotiate();
  await pass();
  expect(sent).toHaveLength(1);
  offer(0).reply({ kind: "answer", sdp: "server answer 1" });
  await pass();
  offer(1).reply({ kind: "answer", sdp: "server answer 2" });
  await pass();
  expect(sent).toHaveLength(2);
  expect(connection.agreed).toEqual({ local: "client offer 2", remote: "server answer 2" });
});

test("the server's offer is answered with its revision", async () => {
  negotiator.handleOffer({ revision: 3, sdp: "server offer 3" });
  await pass();
  expect(sent).toEqual([{ kind: "answer", revision: 3, sdp: "client answer to server offer 3" }]);
});

test("of several unanswered offers of the server only the latest counts", async () => {
  negotiator.handleOffer({ revision: 3, sdp: "server offer 3" });
  negotiator.handleOffer({ revision: 4, sdp: "server offer 4" });
  await pass();
  expect(sent).toEqual([{ kind: "answer", revision: 4, sdp: "client answer to server offer 4" }]);
});

describe("when both offer at once", () => {
  test("an ignored offer is rolled back, the server's answered, and the client's made again", async () => {
    negotiator.negotiate();
    await pass();
    negotiator.handleOffer({ revision: 1, sdp: "server offer" });
    await pass();
    offer(0).reply({ kind: "ignored" });
    await pass();
    expect(sent[1]).toEqual({ kind: "answer", revision: 1, sdp: "client answer to server offer" });
    offer(2).reply({ kind: "answer", sdp: "server answer" });
    await pass();
    expect(connection.signalingState).toBe("stable");
    expect(connection.agreed).toEqual({ local: "client offer 2", remote: "server answer" });
  });

  test("an offer the server took is finished before the server's, which came after it", async () => {
    negotiator.negotiate();
    await pass();
    offer(0).reply({ kind: "answer", sdp: "server answer" });
    negotiator.handleOffer({ revision: 1, sdp: "server offer" });
    await pass();
    expect(sent[1]).toEqual({ kind: "answer", revision: 1, sdp: "client answer to server offer" });
    expect(sent).toHaveLength(2);
    expect(failures).toEqual([]);
  });

  test("an ignored offer isn't made again before the server's own has come", async () => {
    negotiator.negotiate();
    await pass();
    offer(0).reply({ kind: "ignored" });
    await pass();
    expect(sent).toHaveLength(1);
    negotiator.handleOffer({ revision: 1, sdp: "server offer" });
    await pass();
    expect(sent[1]).toMatchObject({ kind: "answer", revision: 1 });
    expect(sent[2]).toMatchObject({ kind: "offer" });
  });

  test("an ignored offer is made again after a while even if the server's never comes", async () => {
    negotiator.negotiate();
    await pass();
    offer(0).reply({ kind: "ignored" });
    await pass(3_100);
    expect(sent).toHaveLength(2);
  });

  test("an ICE restart survives being ignored, and happens once", async () => {
    negotiator.restartIce();
    await pass();
    expect(offer(0).sdp).toBe("client offer 1 restart");
    negotiator.handleOffer({ revision: 1, sdp: "server offer" });
    offer(0).reply({ kind: "ignored" });
    await pass();
    expect(offer(2).sdp).toBe("client offer 2 restart");
    offer(2).reply({ kind: "answer", sdp: "server answer" });
    negotiator.negotiate();
    await pass();
    expect(offer(3).sdp).toBe("client offer 3");
  });
});

describe("when something fails", () => {
  test("a refused offer leaves the connection stable and is told", async () => {
    negotiator.negotiate();
    await pass();
    offer(0).refuse(new SwitchyardError("invalid_sdp", "no"));
    await pass();
    expect(connection.signalingState).toBe("stable");
    expect(failures).toMatchObject([{ code: "invalid_sdp" }]);
    expect(sent).toHaveLength(1);
  });

  test("an offer refused for the moment is tried again, a few times", async () => {
    negotiator.negotiate();
    for (let index = 0; index < 4; index += 1) {
      await pass(1_100);
      offer(index).refuse(new SwitchyardError("rate_limited", "slowly", { retryable: true }));
    }
    await pass(10_000);
    expect(sent).toHaveLength(4);
    expect(failures).toMatchObject([{ code: "rate_limited" }]);
  });

  test("an offer of the server's that the browser refuses is told, and the next one works", async () => {
    connection.refuse = ({ sdp }) => sdp === "bad";
    negotiator.handleOffer({ revision: 1, sdp: "bad" });
    await pass();
    expect(failures).toMatchObject([{ code: "negotiation_failed" }]);
    negotiator.handleOffer({ revision: 2, sdp: "good" });
    await pass();
    expect(sent).toEqual([{ kind: "answer", revision: 2, sdp: "client answer to good" }]);
  });

  test("an answer that the browser refuses leaves the connection stable", async () => {
    connection.refuse = ({ sdp }) => sdp === "bad";
    negotiator.negotiate();
    await pass();
    offer(0).reply({ kind: "answer", sdp: "bad" });
    await pass();
    expect(connection.signalingState).toBe("stable");
    expect(failures).toMatchObject([{ code: "negotiation_failed" }]);
  });
});

test("settled waits for what is wanted and for what is under way", async () => {
  let settled = false;
  negotiator.negotiate();
  void negotiator.settled().then(() => (settled = true));
  await pass();
  expect(settled).toBe(false);
  offer(0).reply({ kind: "answer", sdp: "server answer" });
  await pass();
  expect(settled).toBe(true);
});

test("a closed negotiator does nothing more and lets nobody wait", async () => {
  negotiator.negotiate();
  await pass();
  const settled = negotiator.settled();
  negotiator.close();
  await settled;
  offer(0).reply({ kind: "answer", sdp: "server answer" });
  negotiator.negotiate();
  await pass();
  expect(connection.agreed).toBeNull();
  expect(sent).toHaveLength(1);
});

/** The impolite side, at the other end of a line that keeps order and takes its time. */
class Server {
  revision = 0;
  inFlight: { revision: number; sdp: string } | null = null;
  wanted = 0;
  ignored = 0;
  agreed: { local: string; remote: string } | null = null;
  readonly #random: () => number;
  #toClient: Promise<unknown> = Promise.resolve();
  #toServer: Promise<unknown> = Promise.resolve();

  constructor(random: () => number) {
    this.#random = random;
  }

  change(): void {
    this.wanted += 1;
    this.#offer();
  }

  fromClient(message: Sent): void {
    this.#toServer = this.#travel(this.#toServer, () => this.#take(message));
  }

  #take(message: Sent): void {
    if (message.kind === "answer") {
      expect(message.revision).toBe(this.inFlight?.revision);
      this.agreed = { local: this.inFlight?.sdp ?? "", remote: message.sdp };
      this.inFlight = null;
      this.#offer();
    } else if (this.inFlight) {
      this.ignored += 1;
      this.#send(() => message.reply({ kind: "ignored" }));
    } else {
      const sdp = `server answer to ${message.sdp}`;
      this.agreed = { local: sdp, remote: message.sdp };
      this.#send(() => message.reply({ kind: "answer", sdp }));
      this.#offer();
    }
  }

  #offer(): void {
    if (this.inFlight || this.wanted === 0) return;
    this.wanted = 0;
    this.revision += 1;
    const offered = { revision: this.revision, sdp: `server offer ${this.revision}` };
    this.inFlight = offered;
    this.#send(() => negotiator.handleOffer(offered));
  }

  #send(deliver: () => void): void {
    this.#toClient = this.#travel(this.#toClient, deliver);
  }

  #travel(line: Promise<unknown>, deliver: () => void): Promise<unknown> {
    const arrives = new Promise((resolve) => setTimeout(resolve, Math.floor(this.#random() * 12)));
    return Promise.all([line, arrives]).then(deliver);
  }
}

test("hundreds of collisions in random order end stable, with both sides agreed on the same", async () => {
  let ignored = 0;
  for (let seed = 1; seed <= 40; seed += 1) {
    const random = seeded(seed);
    const server = new Server(random);
    connection = new Connection();
    negotiator = new Negotiator(connection, {
      offer: (sdp) => new Promise((reply, refuse) => server.fromClient({ kind: "offer", sdp, reply, refuse })),
      answer: async (revision, sdp) => server.fromClient({ kind: "answer", revision, sdp }),
      applied: () => {},
      failed: (error) => failures.push(error),
    });
    for (let round = 0; round < 30; round += 1) {
      if (random() < 0.7) negotiator.negotiate();
      if (random() < 0.7) server.change();
      await pass(Math.floor(random() * 25));
    }
    negotiator.negotiate();
    await pass(1_000);
    expect(failures).toEqual([]);
    expect(connection.signalingState).toBe("stable");
    expect(server.inFlight).toBeNull();
    expect(server.agreed).toEqual({ local: connection.agreed?.remote, remote: connection.agreed?.local });
    ignored += server.ignored;
  }
  expect(ignored).toBeGreaterThan(100);
});

function seeded(state: number): () => number {
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
