import type { Room } from "@switchyard/sdk";
import { useEffect, useReducer } from "preact/hooks";

import { closingText } from "../text.js";

/** Milliseconds between two looks at the clock. */
const TICK = 1_000;

/** That the server will go down, and when. */
export function ClosingBanner({ room }: { room: Room }) {
  const { closesAt } = room;
  const [, tick] = useReducer((count: number) => count + 1, 0);
  useEffect(() => {
    if (!closesAt) return undefined;
    const timer = setInterval(() => tick(undefined), TICK);
    return () => clearInterval(timer);
  }, [closesAt]);
  if (!closesAt) return null;
  return (
    <div class="banner banner-warning">
      <p>{closingText(closesAt, Date.now())}</p>
    </div>
  );
}
