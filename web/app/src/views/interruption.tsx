import type { Room } from "@switchyard/sdk";
import { useEffect, useReducer } from "preact/hooks";

import { CheckIcon, OfflineIcon } from "../icons.js";
import { explainInterruption } from "../interruption.js";
import type { Meeting } from "../meeting.js";

/** Milliseconds between two looks at the clock, while there is one to look at. */
const TICK = 500;

/** What of the meeting is interrupted and what happens next; for a moment, that it is over. It is read out as it changes, but not here: by {@link Meeting.announce}. */
export function InterruptionBanner({ meeting, room }: { meeting: Meeting; room: Room }) {
  const { outage } = room;
  const waiting = meeting.interruption !== null && outage !== null;
  const [, tick] = useReducer((count: number) => count + 1, 0);
  useEffect(() => {
    if (!waiting) return undefined;
    const timer = setInterval(() => tick(undefined), TICK);
    return () => clearInterval(timer);
  }, [waiting]);
  if (!waiting) {
    if (!meeting.back) return null;
    return (
      <div class="banner banner-good interruption">
        <CheckIcon />
        <p>
          <strong>Connected again.</strong>
        </p>
      </div>
    );
  }
  const { what, next, attempt } = explainInterruption(outage, Date.now());
  return (
    <div class="banner banner-warning interruption">
      {outage.offline ? <OfflineIcon /> : <span class="spinner" aria-hidden="true" />}
      <p>
        <strong>{what}</strong> {next} {attempt && <span class="interruption-attempt">{attempt}</span>}
      </p>
      {attempt && (
        <button type="button" class="button button-small" onClick={() => room.reconnectNow()}>
          Try now
        </button>
      )}
    </div>
  );
}
