import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

import { explain } from "../explain.js";
import { Logo, WarningIcon } from "../icons.js";
import type { Meeting } from "../meeting.js";

interface EndProps {
  meeting: Meeting;
  go(to: string): void;
}

/** After leaving. */
export function LeftView({ meeting, go }: EndProps) {
  return (
    <EndCard title="You left" action="Rejoin" onAction={() => void meeting.join()} go={go}>
      <p>
        Your camera and microphone are off. The room <strong>{meeting.roomId}</strong> is still there.
      </p>
    </EndCard>
  );
}

/** When the meeting goes on over another connection. */
export function ElsewhereView({ meeting, go }: EndProps) {
  return (
    <EndCard title="The meeting goes on elsewhere" action="Use it here" onAction={() => void meeting.join()} go={go}>
      <p>
        You are in <strong>{meeting.roomId}</strong> in another window or on another device. Your camera and microphone
        are off here.
      </p>
    </EndCard>
  );
}

/** On the way back in. */
export function JoiningView({ meeting }: { meeting: Meeting }) {
  return (
    <main class="end">
      <div class="end-card">
        <span class="spinner spinner-large" aria-hidden="true" />
        <h1>Joining {meeting.roomId}…</h1>
      </div>
    </main>
  );
}

/** When the room can't be joined, or the server has ended the visit. */
export function RefusedView({ meeting, go }: EndProps) {
  const { what, todo } = meeting.error ? explain(meeting.error) : { what: "Something went wrong.", todo: "" };
  return (
    <EndCard
      title={what}
      action="Try again"
      warning
      onAction={() => void meeting.join()}
      second="Change name or devices"
      onSecond={() => meeting.prepareAgain()}
      go={go}
    >
      <p>{todo}</p>
    </EndCard>
  );
}

function EndCard(props: {
  title: string;
  action: string;
  warning?: boolean;
  second?: string;
  children: ComponentChildren;
  onAction(): void;
  onSecond?(): void;
  go(to: string): void;
}) {
  const action = useRef<HTMLButtonElement>(null);
  useEffect(() => action.current?.focus({ preventScroll: true }), []);
  return (
    <main class="end">
      <div class="end-card" role={props.warning ? "alert" : undefined}>
        {props.warning ? (
          <span class="end-warning">
            <WarningIcon />
          </span>
        ) : (
          <Logo />
        )}
        <h1>{props.title}</h1>
        {props.children}
        <div class="end-actions">
          <button ref={action} type="button" class="button button-primary button-large" onClick={props.onAction}>
            {props.action}
          </button>
          {props.second !== undefined && (
            <button type="button" class="button button-large" onClick={props.onSecond}>
              {props.second}
            </button>
          )}
        </div>
        <a
          class="end-home"
          href="/"
          onClick={(event) => {
            event.preventDefault();
            props.go("/");
          }}
        >
          Open another room
        </a>
      </div>
    </main>
  );
}
