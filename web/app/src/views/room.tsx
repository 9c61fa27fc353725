import type { Guest, Room } from "@switchyard/sdk";
import { useEffect, useId, useRef, useState } from "preact/hooks";

import { DoorIcon } from "../icons.js";
import type { Meeting } from "../meeting.js";
import type { Moderation } from "../moderation.js";
import { guestsText, hue, initials } from "../text.js";
import { SidePanel } from "./panel.js";

interface RoomProps {
  meeting: Meeting;
  room: Room;
  moderation: Moderation;
}

/** For moderators: who waits, how the room is set, and who was removed. */
export function RoomPanel({ meeting, room, moderation }: RoomProps) {
  const close = useRef<HTMLButtonElement>(null);
  useEffect(() => close.current?.focus(), []);
  return (
    <SidePanel meeting={meeting} title="Room" kind="room-panel" closeButton={close}>
      <div class="room-panel-body">
        <WaitingList guests={room.guests} moderation={moderation} />
        <Settings room={room} moderation={moderation} />
        {moderation.removed.length > 0 && (
          <section aria-labelledby="removed-title">
            <h3 id="removed-title">Removed</h3>
            <ul class="people-list">
              {moderation.removed.map(({ identity, name }) => (
                <Person key={identity} name={name}>
                  <button
                    type="button"
                    class="button button-small"
                    aria-label={`Let ${name} back in`}
                    onClick={() => void moderation.letBack(identity)}
                  >
                    Let back in
                  </button>
                </Person>
              ))}
            </ul>
          </section>
        )}
      </div>
    </SidePanel>
  );
}

function WaitingList({ guests, moderation }: { guests: readonly Guest[]; moderation: Moderation }) {
  if (guests.length === 0) return null;
  return (
    <section aria-labelledby="guests-title">
      <div class="room-panel-title">
        <h3 id="guests-title">Waiting ({guests.length})</h3>
        {guests.length > 1 && (
          <button type="button" class="button button-small" onClick={() => void moderation.admit()}>
            Admit all
          </button>
        )}
      </div>
      <ul class="people-list">
        {guests.map(({ id, name, identity }) => (
          <Person key={id} name={name} detail={identity === name ? undefined : identity}>
            <button
              type="button"
              class="button button-small button-quiet"
              aria-label={`Deny ${name}`}
              onClick={() => void moderation.deny(id)}
            >
              Deny
            </button>
            <button
              type="button"
              class="button button-small button-primary"
              aria-label={`Admit ${name}`}
              onClick={() => void moderation.admit(id)}
            >
              Admit
            </button>
          </Person>
        ))}
      </ul>
    </section>
  );
}

function Person(props: { name: string; detail?: string | undefined; children: preact.ComponentChildren }) {
  const { name, detail, children } = props;
  return (
    <li class="person">
      <span class="person-disc" aria-hidden="true" style={{ "--hue": String(hue(name)) }}>
        {initials(name)}
      </span>
      <span class="person-name">
        <span dir="auto">{name}</span>
        {detail !== undefined && <span class="person-detail">{detail}</span>}
      </span>
      <span class="person-actions">{children}</span>
    </li>
  );
}

function Settings({ room, moderation }: { room: Room; moderation: Moderation }) {
  const { settings } = room;
  if (!settings) return null;
  return (
    <section aria-labelledby="settings-title">
      <h3 id="settings-title">Who comes in</h3>
      <Switch
        label="Waiting room"
        note="Whoever comes waits until you let them in."
        on={settings.lobby}
        onChange={(lobby) => void moderation.configure({ lobby })}
      />
      <Switch
        label="Locked"
        note="Nobody new comes in."
        on={settings.locked}
        onChange={(locked) => void moderation.configure({ locked })}
      />
      <Password isSet={settings.password} moderation={moderation} />
      <MostPeople most={settings.max_participants} moderation={moderation} />
    </section>
  );
}

function Switch(props: { label: string; note: string; on: boolean; onChange(on: boolean): void }) {
  const { label, note, on, onChange } = props;
  const id = useId();
  return (
    <label class="switch">
      <span>
        <span class="switch-label">{label}</span>
        <span id={id} class="hint">
          {note}
        </span>
      </span>
      <input
        type="checkbox"
        role="switch"
        aria-label={label}
        aria-describedby={id}
        checked={on}
        onChange={(event) => {
          const wanted = event.currentTarget.checked;
          // What counts is what the server says.
          event.currentTarget.checked = on;
          onChange(wanted);
        }}
      />
    </label>
  );
}

function Password({ isSet, moderation }: { isSet: boolean; moderation: Moderation }) {
  const [password, setPassword] = useState("");
  const input = useRef<HTMLInputElement>(null);
  const id = useId();
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    if (password !== "" && (await moderation.configure({ password }))) setPassword("");
  };
  const clear = async () => {
    if (await moderation.configure({ password: "" })) input.current?.focus();
  };
  return (
    <form class="setting" onSubmit={(event) => void submit(event)}>
      <label class="field">
        <span class="switch-label">Password</span>
        <span id={id} class="hint">
          {isSet ? "Whoever comes needs it." : "None: whoever has the link needs none."}
        </span>
        <input
          ref={input}
          aria-label={isSet ? "New password" : "Password"}
          aria-describedby={id}
          class="input"
          value={password}
          maxLength={128}
          autocomplete="off"
          placeholder={isSet ? "New password" : "Password"}
          onInput={(event) => setPassword(event.currentTarget.value)}
        />
      </label>
      <div class="setting-actions">
        {isSet && (
          <button
            type="button"
            class="button button-small button-quiet"
            aria-label="Remove password"
            onClick={() => void clear()}
          >
            Remove
          </button>
        )}
        <button
          type="submit"
          class="button button-small"
          aria-label={isSet ? "Change password" : "Set password"}
          aria-disabled={password === ""}
        >
          {isSet ? "Change" : "Set"}
        </button>
      </div>
    </form>
  );
}

function MostPeople({ most, moderation }: { most: number; moderation: Moderation }) {
  const id = useId();
  return (
    <label class="field setting">
      <span class="switch-label">Most people</span>
      <span id={id} class="hint">
        People at the same time, players included.
      </span>
      <input
        class="input"
        type="number"
        aria-label="Most people"
        aria-describedby={id}
        inputMode="numeric"
        min={1}
        value={most}
        onChange={(event) => {
          const { currentTarget } = event;
          const wanted = Number(currentTarget.value);
          currentTarget.value = String(most);
          if (Number.isInteger(wanted) && wanted > 0) void moderation.configure({ max_participants: wanted });
        }}
      />
    </label>
  );
}

/** Somebody wants to come in. */
export function GuestsBanner({ meeting, room, moderation }: RoomProps) {
  const { guests } = room;
  const [first] = guests;
  if (!first || meeting.panel === "room") return null;
  return (
    <div class="banner guests-banner">
      <DoorIcon />
      <p>{guestsText(guests)}</p>
      {guests.length === 1 ? (
        <>
          <button type="button" class="button button-small" onClick={() => void moderation.deny(first.id)}>
            Deny
          </button>
          <button
            type="button"
            class="button button-small button-primary"
            onClick={() => void moderation.admit(first.id)}
          >
            Admit
          </button>
        </>
      ) : (
        <button
          type="button"
          class="button button-small button-primary"
          onClick={() => {
            meeting.panel = "room";
          }}
        >
          Who is it?
        </button>
      )}
    </div>
  );
}
