import type { RemoteParticipant } from "@switchyard/sdk";
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";

import { MoreIcon } from "../icons.js";
import type { Moderation } from "../moderation.js";

/** Pixels that stay free at the window's edges. */
const EDGE = 8;

/** What a moderator can do about somebody, in a corner of their tile. */
export function ModerateMenu({ participant, moderation }: { participant: RemoteParticipant; moderation: Moderation }) {
  const [open, setOpen] = useState(false);
  const [asking, setAsking] = useState(false);
  const id = useId();
  const frame = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const menu = useRef<HTMLDivElement>(null);
  const { name } = participant;
  const close = () => {
    setOpen(false);
    setAsking(false);
    button.current?.focus();
  };
  // Above everything, because tiles may be smaller than it.
  useLayoutEffect(() => {
    const { current } = menu;
    const corner = button.current?.getBoundingClientRect();
    if (!current || !corner) return;
    current.showPopover();
    current.style.right = `${Math.max(innerWidth - corner.right, EDGE)}px`;
    current.style.top = `${Math.max(Math.min(corner.bottom + 4, innerHeight - current.offsetHeight - EDGE), EDGE)}px`;
    current.querySelector("button")?.focus();
  }, [open, asking]);
  useEffect(() => {
    if (!open) return undefined;
    const outside = (event: Event) => {
      if (event.target instanceof Node && frame.current?.contains(event.target)) return;
      setOpen(false);
      setAsking(false);
    };
    document.addEventListener("pointerdown", outside);
    document.addEventListener("focusin", outside);
    addEventListener("resize", outside);
    return () => {
      removeEventListener("resize", outside);
      document.removeEventListener("pointerdown", outside);
      document.removeEventListener("focusin", outside);
    };
  }, [open]);
  const mutes = [
    { label: "Mute microphone", track: participant.track("microphone") },
    { label: "Turn camera off", track: participant.track("camera") },
    { label: "Stop the shared screen", track: participant.track("screen") },
  ].filter(({ track }) => track && !track.muted);
  return (
    <div
      ref={frame}
      class="moderate"
      onKeyDown={(event) => {
        if (event.key === "Escape" && open) close();
      }}
    >
      <button
        ref={button}
        type="button"
        class="icon-button moderate-button"
        aria-label={`Moderate ${name}`}
        aria-haspopup="dialog"
        aria-expanded={open}
        aria-controls={open ? id : undefined}
        onClick={() => (open ? close() : setOpen(true))}
      >
        <MoreIcon />
      </button>
      {open && !asking && (
        <div
          ref={menu}
          key="choice"
          id={id}
          class="menu"
          popover="manual"
          role="dialog"
          aria-label={`Moderate ${name}`}
        >
          {mutes.map(({ label, track }) => (
            <button
              key={label}
              type="button"
              class="menu-item"
              onClick={() => {
                if (track) void moderation.mute(track);
                close();
              }}
            >
              {label}
            </button>
          ))}
          <button type="button" class="menu-item menu-danger" onClick={() => setAsking(true)}>
            Remove…
          </button>
        </div>
      )}
      {open && asking && (
        <div
          ref={menu}
          key="question"
          id={id}
          class="menu menu-question"
          popover="manual"
          role="dialog"
          aria-label={`Remove ${name}?`}
        >
          <p>
            <strong dir="auto">Remove {name}?</strong>{" "}
            {participant.identity === null
              ? "They have to leave at once."
              : "They have to leave at once, and can't come back until you let them."}
          </p>
          <div class="menu-actions">
            <button type="button" class="button button-small" onClick={close}>
              Cancel
            </button>
            <button
              type="button"
              class="button button-small button-danger"
              onClick={() => void moderation.remove(participant)}
            >
              Remove
            </button>
          </div>
        </div>
      )}
    </div>
  );
}
