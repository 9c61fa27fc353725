// What a page says to the server and hears from it.

/**
 * Runs in a page before anything else: keeps a line in `window.wire` for each message of signaling in JSON that has to do
 * with negotiation: `{ at, out, type, id?, kind? }`, milliseconds of `performance.now()`. Replies have the type of what they reply to. `window.wireSession`: what the
 * session is resumed with.
 */
export function recordWire() {
  const lines = [];
  window.wire = lines;
  let tell = () => {};
  const asked = new Map();
  const note = (out, data) => {
    if (typeof data !== "string") return;
    const message = JSON.parse(data);
    const type = message.type === "event" ? message.event.kind : message.type;
    if (type !== "reply" && type !== "chat") tell(out ? `→ ${type}` : `← ${message.error?.code ?? type}`);
    const at = performance.now();
    if (out) {
      asked.set(message.id, message.type);
      if (message.type === "offer" || message.type === "answer") lines.push({ at, out, type: message.type, id: message.id });
    } else if (message.type === "event") {
      if (message.event.kind === "offer") lines.push({ at, out, type: "offer", revision: message.event.revision });
    } else {
      if (message.result?.session) window.wireSession = message.result.session;
      const type = asked.get(message.id);
      asked.delete(message.id);
      if (type === "offer") lines.push({ at, out, type: "reply", id: message.id, kind: message.result?.kind ?? message.error?.code });
    }
  };
  /** Has `listener` told when WebSockets open and close, and of each message's type. */
  window.wireEvents = (listener) => {
    tell = listener;
  };
  const fetch = window.fetch.bind(window);
  /** Of requests by HTTP: how many there were. */
  let requests = 0;
  window.fetch = async (...options) => {
    const number = (requests += 1);
    tell(`request ${number}`);
    try {
      const response = await fetch(...options);
      tell(`request ${number} answered`);
      return response;
    } catch (error) {
      tell(`request ${number} ${error.name}`);
      throw error;
    }
  };
  const Native = window.WebSocket;
  window.WebSocket = class extends Native {
    constructor(...options) {
      super(...options);
      tell("socket new");
      this.addEventListener("message", ({ data }) => note(false, data));
      for (const name of ["open", "close"]) this.addEventListener(name, () => tell(`socket ${name}`));
    }

    send(data) {
      note(true, data);
      super.send(data);
    }
  };
}
