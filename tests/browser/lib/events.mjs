// What happens in a page in front of which somebody sits, and what they are told of it.
import { until } from "./tab.mjs";

/**
 * Runs in the page: begins to keep in `window.roomEvents` what happens to the room's connections, and when (in milliseconds since 1970), and in `window.told` what the app says of
 * outages, each sentence that differs from the one before.
 */
export function recordEvents() {
  const room = window.switchyard;
  window.roomEvents = [];
  window.told = [];
  const event = (what) => {
    window.roomEvents.push([Date.now(), what]);
    if (window.roomEvents.length > 500) window.roomEvents.shift();
  };
  room.on("stateChanged", (state) => event(`room ${state}`));
  const followed = new WeakSet();
  const follow = () => {
    const connection = room.peerConnection;
    if (!connection || followed.has(connection)) return;
    followed.add(connection);
    for (const [name, property] of [["connectionstatechange", "connectionState"], ["iceconnectionstatechange", "iceConnectionState"], ["signalingstatechange", "signalingState"]]) {
      connection.addEventListener(name, () => event(`${property.replace("State", "")} ${connection[property]}`));
    }
  };
  follow();
  room.on("renewed", () => {
    event("another peer connection");
    follow();
  });
  room.on("stateChanged", follow);
  for (const name of ["online", "offline"]) window.addEventListener(name, () => event(name));
  window.wireEvents?.(event);
  const look = () => {
    const text = document.querySelector(".interruption p")?.textContent.trim() ?? "";
    if (text === (window.told.at(-1) ?? "")) return;
    window.told.push(text);
    event(`"${text}"`);
  };
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
}

/** What has happened at `person`'s from a minute before `since` on, in seconds from `since`. */
export async function timeline(person, since) {
  const { events, state } = await person.evaluate(() => ({ events: window.roomEvents, state: window.switchyard.state }));
  const said = events.filter(([at]) => at > since - 60_000).map(([at, what]) => `${((at - since) / 1000).toFixed(1)} ${what}`);
  return `${person.name} (${state} now): ${said.join(", ") || "nothing happened"}`;
}

/** Waits until `person` was told these sentences, in this order, after the first `before` that were. */
export async function isTold(person, sentences, before = 0, deadline = undefined) {
  const told = async () => (await person.evaluate(() => window.told)).slice(before);
  const heard = async () => {
    let next = 0;
    for (const text of await told()) if (next < sentences.length && text.includes(sentences[next])) next += 1;
    return next === sentences.length;
  };
  await until(`${person.name} is told ${sentences.join(", then ")}`, heard, deadline).catch(async (error) => {
    throw new Error(`${error.message}, but ${JSON.stringify(await told())}`);
  });
}
