import type { RemoteTrack, Room } from "@switchyard/sdk";
import { useEffect, useRef } from "preact/hooks";

import { useSize } from "../hooks.js";
import { CloseIcon, Logo, PeopleIcon, SoundIcon } from "../icons.js";
import { bestGrid } from "../layout.js";
import type { Meeting } from "../meeting.js";
import { ChatPanel } from "./chat.js";
import { ControlBar, CopyLinkButton } from "./controls.js";
import { InterruptionBanner } from "./interruption.js";
import { Sound, Tile, type TileProps } from "./tile.js";

/** Pixels between tiles; the same as in the style sheet. */
const GAP = 10;

/** In the meeting. */
export function MeetingView({ meeting, room }: { meeting: Meeting; room: Room }) {
  const chatButton = useRef<HTMLButtonElement>(null);
  const wasOpen = useRef(false);
  useEffect(() => {
    if (wasOpen.current && !meeting.chatOpen) chatButton.current?.focus();
    wasOpen.current = meeting.chatOpen;
  }, [meeting.chatOpen]);
  useWakeLock();
  const { screens, people, sounds } = contents(meeting, room);
  return (
    <div class={meeting.chatOpen ? "meeting meeting-with-chat" : "meeting"}>
      <header class="meeting-header">
        <Logo />
        <h1 class="meeting-title">{meeting.roomId}</h1>
        <p class="meeting-count">
          <PeopleIcon />
          <span>{people.length}</span>
          <span class="visually-hidden">{people.length === 1 ? "person" : "people"} in the room</span>
        </p>
        <CopyLinkButton meeting={meeting} />
      </header>
      <Banners meeting={meeting} room={room} />
      <main class="meeting-main">
        {screens.length > 0 ? <Stage screens={screens} people={people} /> : <Grid tiles={people} />}
      </main>
      {meeting.chatOpen && <ChatPanel meeting={meeting} />}
      <ControlBar meeting={meeting} room={room} chatButton={chatButton} />
      <div hidden>
        {sounds.map((track) => (
          <Sound key={track.id} track={track} />
        ))}
      </div>
      <Notices meeting={meeting} />
    </div>
  );
}

type KeyedTile = TileProps & { key: string };

function contents(meeting: Meeting, room: Room) {
  const people: KeyedTile[] = [
    {
      key: "me",
      label: `${meeting.name} (you)`,
      name: meeting.name,
      video: meeting.camera,
      silent: meeting.microphone.muted,
      mirrored: true,
    },
  ];
  const screens: KeyedTile[] = [];
  const sounds: RemoteTrack[] = [];
  const held = room.outage?.media ?? false;
  for (const participant of room.participants.values()) {
    const voice = participant.track("microphone");
    people.push({
      key: `p${participant.id}`,
      label: participant.name,
      name: participant.name,
      video: participant.track("camera"),
      audio: voice,
      silent: !voice || voice.muted,
      held,
    });
    const screen = participant.track("screen");
    if (screen) {
      screens.push({
        key: `s${screen.id}`,
        label: `${participant.name}'s screen`,
        name: participant.name,
        video: screen,
        silent: false,
        screen: true,
        held,
      });
    }
    for (const track of participant.tracks.values()) if (track.kind === "audio") sounds.push(track);
  }
  return { people, screens, sounds };
}

/** Everybody the same size, as large as can be. */
function Grid({ tiles }: { tiles: KeyedTile[] }) {
  const area = useRef<HTMLDivElement>(null);
  const size = useSize(area);
  const grid = bestGrid(size, tiles.length, GAP);
  return (
    <div
      ref={area}
      class={grid.scrolls ? "grid grid-scrolls" : "grid"}
      tabIndex={grid.scrolls ? 0 : undefined}
      style={{
        "--tile-width": `${grid.width}px`,
        "--tile-height": `${grid.height}px`,
        "--columns": String(grid.columns),
      }}
    >
      <div class="grid-tiles">
        {tiles.map(({ key, ...tile }) => (
          <Tile key={key} {...tile} />
        ))}
      </div>
    </div>
  );
}

/** The screens that are shared, large; the people beside them. */
function Stage({ screens, people }: { screens: KeyedTile[]; people: KeyedTile[] }) {
  return (
    <div class="stage">
      <div class="stage-screens">
        {screens.map(({ key, ...tile }) => (
          <Tile key={key} {...tile} />
        ))}
      </div>
      {/* It scrolls, so the keyboard has to get there. */}
      <section class="stage-people" aria-label="People" tabIndex={0}>
        {people.map(({ key, ...tile }) => (
          <Tile key={key} {...tile} />
        ))}
      </section>
    </div>
  );
}

/** What concerns the whole meeting. */
function Banners({ meeting, room }: { meeting: Meeting; room: Room }) {
  return (
    <div class="banners">
      <InterruptionBanner meeting={meeting} room={room} />
      {room.playbackBlocked && (
        <div class="banner">
          <SoundIcon />
          <p>Your browser keeps the sound off until you say so.</p>
          <button type="button" class="button button-small button-primary" onClick={() => room.resumePlayback()}>
            Click to hear
          </button>
        </div>
      )}
      {room.localParticipant.track("screen") && (
        <div class="banner banner-quiet">
          <p>You are sharing your screen with everybody.</p>
        </div>
      )}
    </div>
  );
}

/** What went wrong just now. */
function Notices({ meeting }: { meeting: Meeting }) {
  return (
    <ul class="notices">
      {meeting.notices.map(({ key, tone, text }) => (
        <li key={key} class={`notice notice-${tone}`}>
          <p>{text}</p>
          <button type="button" class="icon-button" aria-label="Dismiss" onClick={() => meeting.dismiss(key)}>
            <CloseIcon />
          </button>
        </li>
      ))}
    </ul>
  );
}

/** Keeps a phone's screen from going dark. */
function useWakeLock(): void {
  useEffect(() => {
    let lock: WakeLockSentinel | undefined;
    let done = false;
    const take = async () => {
      // Browsers drop the lock when the page is hidden, and refuse it then: nothing is lost.
      if (done || document.visibilityState !== "visible" || !("wakeLock" in navigator)) return;
      lock = await navigator.wakeLock.request("screen").catch(() => undefined);
      if (done) await lock?.release();
    };
    void take();
    document.addEventListener("visibilitychange", take);
    return () => {
      done = true;
      document.removeEventListener("visibilitychange", take);
      void lock?.release();
    };
  }, []);
}
