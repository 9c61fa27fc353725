import { useEffect, useRef } from "preact/hooks";

import { Logo } from "../icons.js";
import type { Meeting } from "../meeting.js";
import { Preview } from "./lobby.js";

/** Until a moderator lets one in: a look at oneself, and that there is nothing to do. */
export function WaitingView({ meeting }: { meeting: Meeting }) {
  const title = useRef<HTMLHeadingElement>(null);
  useEffect(() => title.current?.focus(), []);
  return (
    <main class="lobby">
      <header class="lobby-header">
        <span class="brand">
          <Logo /> Switchyard
        </span>
      </header>
      <div class="lobby-body">
        <Preview meeting={meeting} />
        <section class="lobby-form waiting" aria-labelledby="waiting-title">
          <p class="waiting-state">
            <span class="spinner" aria-hidden="true" />
            Waiting for the host
          </p>
          <h1 id="waiting-title" ref={title} class="room-title" tabIndex={-1}>
            The host will let you in
          </h1>
          <p class="waiting-text">
            You are at the door of <strong>{meeting.roomId}</strong> as <strong dir="auto">{meeting.name}</strong>. Stay
            here: you go in by yourself as soon as somebody opens. Nobody sees or hears you yet.
          </p>
          <button type="button" class="button button-large button-wide" onClick={() => meeting.stopWaiting()}>
            Stop waiting
          </button>
        </section>
      </div>
    </main>
  );
}
