/**
 * A peer connection without media: enough of one for a room. An offer of the other side names its m-lines,
 * `recv:s0,s1`; each becomes a transceiver that receives `media of s0` and so on.
 */
export class FakeConnection extends EventTarget {
  static latest: FakeConnection;
  signalingState: RTCSignalingState = "stable";
  connectionState: RTCPeerConnectionState = "new";
  localDescription: { sdp: string } | null = null;
  currentLocalDescription: { sdp: string } | null = null;
  closed = false;
  readonly channels: FakeChannel[] = [];
  /** As set last. */
  configuration: RTCConfiguration;
  /** What has come in, as {@link getStats} tells; a round trip of the loop adds to it where a test says so. */
  bytesReceived = 0;
  readonly #transceivers: FakeTransceiver[] = [];

  constructor(configuration: RTCConfiguration = {}) {
    super();
    this.configuration = configuration;
    FakeConnection.latest = this;
  }

  createDataChannel(label: string, options: RTCDataChannelInit = {}): FakeChannel {
    const channel = new FakeChannel(label, options);
    this.channels.push(channel);
    return channel;
  }

  getConfiguration(): RTCConfiguration {
    return this.configuration;
  }

  setConfiguration(configuration: RTCConfiguration): void {
    this.configuration = configuration;
  }

  async getStats(): Promise<Map<string, object>> {
    const { bytesReceived } = this;
    return new Map<string, object>([
      ["T", { id: "T", type: "transport", selectedCandidatePairId: "P" }],
      ["P", { id: "P", type: "candidate-pair", bytesReceived }],
    ]);
  }

  addTransceiver(
    kind: string,
    { direction, sendEncodings }: { direction: RTCRtpTransceiverDirection; sendEncodings?: RTCRtpEncodingParameters[] },
  ): FakeTransceiver {
    const transceiver = new FakeTransceiver(kind, direction, sendEncodings);
    this.#transceivers.push(transceiver);
    return transceiver;
  }

  getTransceivers(): FakeTransceiver[] {
    return this.#transceivers;
  }

  async createOffer({ iceRestart }: RTCOfferOptions): Promise<RTCSessionDescriptionInit> {
    return { type: "offer", sdp: iceRestart ? "offer restart" : "offer" };
  }

  async setLocalDescription(description?: RTCSessionDescriptionInit): Promise<void> {
    if (description?.type === "rollback") {
      this.signalingState = "stable";
    } else if (this.signalingState === "have-remote-offer") {
      this.localDescription = { sdp: "answer" };
      this.#settle();
    } else {
      this.localDescription = { sdp: description?.sdp ?? "offer" };
      this.signalingState = "have-local-offer";
      this.#transceivers.forEach((transceiver, index) => (transceiver.mid ??= String(index + 1)));
    }
  }

  async setRemoteDescription({ type, sdp }: RTCSessionDescriptionInit): Promise<void> {
    if (type === "answer") {
      this.#settle();
      return;
    }
    this.signalingState = "have-remote-offer";
    for (const mid of (sdp ?? "").replace("recv:", "").split(",")) {
      if (this.#transceivers.some((transceiver) => transceiver.mid === mid)) continue;
      const transceiver = new FakeTransceiver("video", "recvonly");
      transceiver.mid = mid;
      transceiver.receiver.track = { id: `media of ${mid}` };
      this.#transceivers.push(transceiver);
    }
  }

  close(): void {
    this.closed = true;
    for (const channel of this.channels) channel.become("closed");
  }

  gather(candidate: string | null, sdpMid: string | null = null): void {
    const event = new Event("icecandidate");
    this.dispatchEvent(Object.assign(event, { candidate: candidate === null ? null : { candidate, sdpMid } }));
  }

  become(state: RTCPeerConnectionState): void {
    this.connectionState = state;
    this.dispatchEvent(new Event("connectionstatechange"));
  }

  /** DTLS fails, and the connection with it. */
  fail(): void {
    for (const { sender } of this.#transceivers) sender.transport = { state: "failed" };
    this.become("failed");
  }

  #settle(): void {
    this.signalingState = "stable";
    this.currentLocalDescription = this.localDescription;
    for (const transceiver of this.#transceivers) {
      transceiver.currentDirection = transceiver.direction;
      if (transceiver.preferences) transceiver.sender.codecs = [...transceiver.preferences];
    }
  }
}

export class FakeTransceiver {
  mid: string | null = null;
  currentDirection: RTCRtpTransceiverDirection | null = null;
  readonly receiver: { track: { id: string } | null } = { track: null };
  readonly sender = {
    /** What is sent; undefined if nothing ever was. */
    track: undefined as unknown,
    /** DTLS. */
    transport: null as { state: RTCDtlsTransportState } | null,
    replaceTrack: async (track: unknown) => void (this.sender.track = track),
    getStats: async () => new Map<string, object>(),
    encodings: [] as (RTCRtpEncodingParameters & { codec?: RTCRtpCodec })[],
    /** As negotiated. */
    codecs: [] as RTCRtpCodec[],
    /** Whether encodings can have codecs. */
    encodesInAny: true,
    getParameters: () => ({
      encodings: this.sender.encodings.map((encoding) => ({ ...encoding })),
      codecs: this.sender.codecs,
    }),
    setParameters: async ({ encodings }: { encodings: (RTCRtpEncodingParameters & { codec?: RTCRtpCodec })[] }) => {
      this.sender.encodings = encodings.map(({ codec, ...encoding }) =>
        codec && this.sender.encodesInAny ? { ...encoding, codec } : encoding,
      );
    },
  };
  /** The codecs to be offered; null: all. */
  preferences: readonly RTCRtpCodec[] | null = null;

  constructor(
    readonly kind: string,
    public direction: RTCRtpTransceiverDirection,
    encodings: RTCRtpEncodingParameters[] = [{}],
  ) {
    this.sender.encodings = encodings.map((encoding) => ({ active: true, ...encoding }));
  }

  setCodecPreferences(codecs: readonly RTCRtpCodec[]): void {
    this.preferences = codecs;
  }
}

/** A data channel whose other end is the test. */
export class FakeChannel extends EventTarget {
  readyState: RTCDataChannelState = "connecting";
  binaryType = "blob";
  bufferedAmount = 0;
  bufferedAmountLowThreshold = 0;
  readonly sent: unknown[] = [];

  constructor(
    readonly label: string,
    readonly options: RTCDataChannelInit,
  ) {
    super();
  }

  send(message: unknown): void {
    this.sent.push(message);
  }

  become(state: "open" | "closed"): void {
    if (this.readyState === state) return;
    this.readyState = state;
    this.dispatchEvent(new Event(state === "open" ? "open" : "close"));
  }

  drain(): void {
    this.bufferedAmount = 0;
    this.dispatchEvent(new Event("bufferedamountlow"));
  }

  receive(data: unknown): void {
    this.dispatchEvent(Object.assign(new Event("message"), { data }));
  }
}
