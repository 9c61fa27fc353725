import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

import { SendIcon } from "../icons.js";
import type { ChatEntry, Meeting } from "../meeting.js";
import { linkPieces } from "../text.js";
import { SidePanel } from "./panel.js";

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
/** Pixels from its end at which a list still counts as being read at the end. */
const NEAR_END = 80;

/** What was said, and a box to say something. */
export function ChatPanel({ meeting }: { meeting: Meeting }) {
  const [text, setText] = useState("");
  const input = useRef<HTMLInputElement>(null);
  const list = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  useEffect(() => input.current?.focus(), []);
  useLayoutEffect(() => {
    // Whoever has scrolled back to read stays there.
    if (atEnd.current) list.current?.scrollTo({ top: list.current.scrollHeight });
  }, [meeting.chat, meeting.unsent]);
  const send = async (event: SubmitEvent) => {
    event.preventDefault();
    const said = text.trim();
    if (said === "") return;
    setText("");
    atEnd.current = true;
    await meeting.say(said).catch(() => setText((typed) => typed || said));
  };
  return (
    <SidePanel meeting={meeting} title="Chat">
      <div
        ref={list}
        class="chat-log"
        role="log"
        aria-label="Messages"
        tabIndex={0}
        onScroll={({ currentTarget: { scrollHeight, scrollTop, clientHeight } }) => {
          atEnd.current = scrollHeight - scrollTop - clientHeight < NEAR_END;
        }}
      >
        <ol class="chat-list">
          {meeting.chat.length + meeting.unsent.length === 0 && (
            <li class="chat-empty">
              Nothing said yet. Messages go to everybody in the room and are gone when you leave.
            </li>
          )}
          {meeting.chat.map((entry, index) => (
            <Entry key={entry.key} entry={entry} previous={meeting.chat[index - 1]} />
          ))}
          {/* Sent at once when all is well: shown only if it has to wait. */}
          {meeting.room?.outage?.signaling &&
            meeting.unsent.map(({ key, text }) => (
              <li key={key} class="chat-entry chat-mine chat-unsent">
                <p class="chat-meta">Sent when you are connected again</p>
                <p class="chat-text" dir="auto">
                  {text}
                </p>
              </li>
            ))}
        </ol>
      </div>
      {meeting.room?.grants?.data === false ? (
        <p class="chat-empty">You can read what others say here.</p>
      ) : (
        <form class="chat-form" onSubmit={(event) => void send(event)}>
          <input
            ref={input}
            class="input"
            aria-label="Message"
            placeholder="Message everybody"
            autocomplete="off"
            maxLength={1000}
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
          <button type="submit" class="icon-button icon-button-primary" aria-label="Send">
            <SendIcon />
          </button>
        </form>
      )}
    </SidePanel>
  );
}

function Entry({ entry, previous }: { entry: ChatEntry; previous: ChatEntry | undefined }) {
  const time = CLOCK.format(entry.at);
  const continues = previous?.name === entry.name && previous.mine === entry.mine && CLOCK.format(previous.at) === time;
  return (
    <li class={`chat-entry${entry.mine ? " chat-mine" : ""}${continues ? " chat-continues" : ""}`}>
      {!continues && (
        <p class="chat-meta">
          <b dir="auto">{entry.mine ? "You" : entry.name}</b> <time dateTime={entry.at.toISOString()}>{time}</time>
        </p>
      )}
      <p class="chat-text" dir="auto">
        {linkPieces(entry.text).map(({ text, href }, index) =>
          href === undefined ? (
            text
          ) : (
            <a key={index} href={href} target="_blank" rel="noopener noreferrer">
              {text}
            </a>
          ),
        )}
      </p>
    </li>
  );
}
