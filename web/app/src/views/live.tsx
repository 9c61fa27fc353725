import { useEffect, useState } from "preact/hooks";

import type { Meeting } from "../meeting.js";

/** Announcements that are read out together at most. */
const TOGETHER = 4;
/** Milliseconds until an announcement is taken away, so that nobody finds it later out of its time. */
const STAYS = 6_000;

/** What a screen reader says as it happens. */
export function LiveRegion({ meeting }: { meeting: Meeting }) {
  const [lines, setLines] = useState<{ key: number; text: string }[]>([]);
  useEffect(() => {
    let key = 0;
    const timers = new Set<ReturnType<typeof setTimeout>>();
    const stop = meeting.on("announced", (text) => {
      const line = { key: (key += 1), text };
      setLines((before) => [...before, line].slice(-TOGETHER));
      const timer = setTimeout(() => {
        timers.delete(timer);
        setLines((before) => before.filter((each) => each.key !== line.key));
      }, STAYS);
      timers.add(timer);
    });
    return () => {
      stop();
      for (const timer of timers) clearTimeout(timer);
    };
  }, [meeting]);
  return (
    <div class="visually-hidden" role="status" aria-live="polite">
      {lines.map(({ key, text }) => (
        <p key={key}>{text}</p>
      ))}
    </div>
  );
}
