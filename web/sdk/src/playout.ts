/** Milliseconds between two looks. */
export const LOOK_INTERVAL = 1_000;
/** The part of what a look finds that has to have come too late for the look to count as bad: half a packet of sound of 20 ms in a second, any picture. */
const LATE = 0.01;
/** Bad looks of the last {@link RECENT} that make the buffer longer: one alone comes of a hiccup. */
const BAD_LOOKS = 2;
/** Looks that are remembered. */
const RECENT = 10;
/** Looks from one lengthening to the next: buffers need some time to grow. */
const GROWING = 2;
/** Milliseconds by which the buffer becomes longer than it was: one more request for a lost packet and its answer, on most lines. */
const STEP = 80;
/** Milliseconds that it is made at most. Beyond that people talk at the same time (ITU-T G.114: up to 400 ms from mouth to ear is acceptable). */
export const LONGEST = 250;
/** Looks without a bad one after which the buffer may be shorter again. */
export const QUIET = 30;
/** Looks from one shortening to the next, */
const SHORTENING = 5;
/** each by so many milliseconds, which nobody hears. */
const SHORTER = 20;

/** What a browser has counted of one stream, from its beginning on. */
export interface Received {
  /** Of sound: samples played. Of a picture: those shown and those left out. */
  due: number;
  /** Of those, what was not there in time: samples made up, not counting silence; pictures left out. */
  missed: number;
  /** Packets. Lost are those that have not come so far, less those that came twice. */
  received: number;
  lost: number;
  /** How many packets were asked for again; undefined where nobody counts them. Pictures are also left out for want of a processor. */
  asked: number | undefined;
  /** Seconds that all samples or pictures together have waited in the buffer, and how many did. */
  waited: number;
  emitted: number;
}

/**
 * How long one stream is to wait in its jitter buffer, at least.
 *
 * Browsers size the buffer by how late packets usually are. Of a line that loses few of them most come at once, and those that were asked
 * for and sent again come a round trip later, for which the buffer grows late or never. So where sound has to be made up though its
 * packets come, or pictures that no others need are left out, the buffer is made longer, step by step, until that ends; and shorter again
 * when it has for a while. Sound whose packets don't come at all would gain nothing and is left alone.
 */
export class Playout {
  #before: Received | null = null;
  #looks: boolean[] = [];
  #sinceChange = 0;
  #quiet = 0;
  #target: number | null = null;

  /** Milliseconds that the buffer is to hold at least; null leaves it to the browser. */
  get target(): number | null {
    return this.#target;
  }

  /** Takes what was counted; to be called every {@link LOOK_INTERVAL}. */
  look(now: Received): void {
    const before = this.#before;
    this.#before = now;
    // A stream that begins anew counts from zero.
    if (!before || now.due <= before.due || now.received <= before.received) return;
    this.#sinceChange += 1;
    const bad = isLate(before, now);
    this.#looks = [...this.#looks, bad].slice(-RECENT);
    this.#quiet = bad ? 0 : this.#quiet + 1;
    if (this.#looks.filter((each) => each).length >= BAD_LOOKS && this.#sinceChange >= GROWING)
      this.#lengthen(before, now);
    else if (this.#quiet >= QUIET && this.#sinceChange >= SHORTENING) this.#shorten();
  }

  #lengthen(before: Received, now: Received): void {
    const wait = (1_000 * (now.waited - before.waited)) / Math.max(now.emitted - before.emitted, 1);
    const target = Math.min(Math.max(wait, this.#target ?? 0) + STEP, LONGEST);
    this.#target = Math.max(Math.round(target), this.#target ?? 0);
    // The bad looks have had their effect.
    this.#looks = [];
    this.#sinceChange = 0;
  }

  #shorten(): void {
    if (this.#target === null) return;
    this.#target -= SHORTER;
    if (this.#target < STEP) this.#target = null;
    this.#sinceChange = 0;
  }
}

/** Whether enough of what was due between two counts came too late. */
function isLate(before: Received, now: Received): boolean {
  if (now.asked !== undefined && now.asked === before.asked) return false;
  const missed = (now.missed - before.missed) / (now.due - before.due);
  const lost = Math.max(now.lost - before.lost, 0);
  const missing = lost / (now.received - before.received + lost);
  // Half of it, because what is counted as lost at one look is made up at another.
  return missed - missing >= Math.max(LATE, missed / 2);
}

/** Reads the counts out of a receiver's statistics; null if nothing has come yet. */
export function readReceived(report: RTCStatsReport): Received | null {
  const streams = ([...report.values()] as (RTCStats & Partial<RTCInboundRtpStreamStats>)[]).filter(
    ({ type }) => type === "inbound-rtp",
  );
  // A receiver may have had streams before the present one.
  const stream = streams.sort((a, b) => (b.lastPacketReceivedTimestamp ?? 0) - (a.lastPacketReceivedTimestamp ?? 0))[0];
  if (!stream?.packetsReceived) return null;
  const { packetsReceived, packetsLost, nackCount, framesDecoded = 0, framesDropped = 0 } = stream;
  const isPicture = stream.kind === "video";
  return {
    due: isPicture ? framesDecoded + framesDropped : (stream.totalSamplesReceived ?? 0),
    missed: isPicture ? framesDropped : (stream.concealedSamples ?? 0) - (stream.silentConcealedSamples ?? 0),
    received: packetsReceived,
    // A packet of a picture that is lost for good takes others with it; that is not judged by counting packets.
    lost: isPicture ? 0 : (packetsLost ?? 0),
    asked: isPicture ? (nackCount ?? 0) : undefined,
    waited: stream.jitterBufferDelay ?? 0,
    emitted: stream.jitterBufferEmittedCount ?? 0,
  };
}

/** Looks after the jitter buffers of all that is received. */
export class Playouts {
  readonly #receivers: () => Iterable<RTCRtpReceiver>;
  readonly #playouts = new WeakMap<RTCRtpReceiver, Playout>();
  readonly #timer: ReturnType<typeof setInterval>;
  #closed = false;

  /** `receivers` says what receives something at the moment. */
  constructor(receivers: () => Iterable<RTCRtpReceiver>) {
    this.#receivers = receivers;
    this.#timer = setInterval(() => void this.#look(), LOOK_INTERVAL);
  }

  /** Stops. */
  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    await Promise.all([...this.#receivers()].map((receiver) => this.#lookAt(receiver).catch(() => {})));
  }

  async #lookAt(receiver: RTCRtpReceiver): Promise<void> {
    // Browsers without it size their buffers alone.
    if (!("jitterBufferTarget" in receiver)) return;
    const received = readReceived(await receiver.getStats());
    if (!received || this.#closed) return;
    let playout = this.#playouts.get(receiver);
    if (!playout) this.#playouts.set(receiver, (playout = new Playout()));
    playout.look(received);
    if (receiver.jitterBufferTarget !== playout.target) receiver.jitterBufferTarget = playout.target;
  }
}
