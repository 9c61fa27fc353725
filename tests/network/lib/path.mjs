// The path that media takes, and when browsers look for another.
import { until } from "../../browser/lib/tab.mjs";

/**
 * Runs in a page: the path that media takes, if there is one: its `type` and `protocol` at this end, the `relayProtocol` to a TURN server, and the `remote` address.
 */
export async function path() {
  const stats = await window.switchyard.peerConnection.getStats();
  const all = [...stats.values()];
  const transport = all.find(({ type }) => type === "transport");
  const pair = transport?.selectedCandidatePairId ? stats.get(transport.selectedCandidatePairId) : all.find(({ type, nominated, state }) => type === "candidate-pair" && nominated && state === "succeeded");
  const [local, remote] = [stats.get(pair?.localCandidateId), stats.get(pair?.remoteCandidateId)];
  return local && { type: local.candidateType, protocol: local.protocol, relayProtocol: local.relayProtocol, remote: remote?.address };
}

/** Runs in a page: whether no direct path over UDP is checked any more. For half a minute browsers find by themselves that there is one. */
export async function hasGivenUpUdp() {
  const stats = await window.switchyard.peerConnection.getStats();
  const isDirect = (local) => local?.protocol === "udp" && local.candidateType !== "relay";
  const pairs = [...stats.values()].filter(({ type, localCandidateId }) => type === "candidate-pair" && isDirect(stats.get(localCandidateId)));
  return pairs.every(({ state }) => state === "failed");
}

/** Runs in a page: what is another one after each ICE restart. */
function generation() {
  return /^a=ice-ufrag:(.*)$/mu.exec(window.switchyard.peerConnection.localDescription.sdp)[1];
}

/** Waits for an ICE restart; resolves with the time right before it. */
export async function restart(person, deadline) {
  const before = await person.evaluate(generation);
  let since = Date.now();
  const look = async () => {
    const now = Date.now();
    if ((await person.evaluate(generation)) !== before) return true;
    since = now;
    return false;
  };
  await until("ICE is restarted", look, deadline);
  return since;
}

/** Milliseconds from the beginning of a detour over TCP or a TURN server until UDP is tried, and from then until it is tried once more: `FIRST_INTERVAL` of the SDK, and twice that. */
export const TRIED = [20_000, 40_000];
/** Milliseconds that a try may take, on a busy machine. */
export const TRY = 10_000;
