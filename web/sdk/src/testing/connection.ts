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
  readonly channels: string[] = [];
  readonly #transceivers: FakeTransceiver[] = [];

  constructor() {
    super();
    FakeConnection.latest = this;
  }

  createDataChannel(label: string): unknown {
    this.channels.push(label);
    return Object.assign(new EventTarget(), { readyState: "connecting" });
  }

  addTransceiver(kind: string, { direction }: { direction: RTCRtpTransceiverDirection }): FakeTransceiver {
    const transceiver = new FakeTransceiver(kind, direction);
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
  }

  gather(candidate: string | null, sdpMid: string | null = null): void {
    const event = new Event("icecandidate");
    this.dispatchEvent(Object.assign(event, { candidate: candidate === null ? null : { candidate, sdpMid } }));
  }

  become(state: RTCPeerConnectionState): void {
    this.connectionState = state;
    this.dispatchEvent(new Event("connectionstatechange"));
  }

  #settle(): void {
    this.signalingState = "stable";
    this.currentLocalDescription = this.localDescription;
    for (const transceiver of this.#transceivers) transceiver.currentDirection = transceiver.direction;
  }
}

class FakeTransceiver {
  mid: string | null = null;
  currentDirection: RTCRtpTransceiverDirection | null = null;
  readonly receiver: { track: { id: string } | null } = { track: null };
  readonly sender = { replaceTrack: async () => {} };

  constructor(
    readonly kind: string,
    public direction: RTCRtpTransceiverDirection,
  ) {}
}
