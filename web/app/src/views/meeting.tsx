import type { RemoteTrack, Room } from "@switchyard/sdk";
import { useEffect, useRef, useState } from "preact/hooks";

import { useSize } from "../hooks.js";
import { BackIcon, CloseIcon, ForwardIcon, Logo, PeopleIcon, SettingsIcon, SoundIcon } from "../icons.js";
import { bestGrid } from "../layout.js";
import type { Meeting, Panel } from "../meeting.js";
import { Order, pageSize } from "../order.js";
import { ChatPanel } from "./chat.js";
import { ControlBar, CopyLinkButton } from "./controls.js";
import { ClosingBanner } from "./closing.js";
import { InterruptionBanner } from "./interruption.js";
import { ModerateMenu } from "./moderate.js";
import { GuestsBanner, RoomPanel } from "./room.js";
import { Sound, Tile, type TileProps } from "./tile.js";

/** Pixels between tiles; the same as in the style sheet. */
const GAP = 10;

/** In the meeting. */
export function MeetingView({ meeting, room }: { meeting: Meeting; room: Room }) {
  const chatButton = useRef<HTMLButtonElement>(null);
  const roomButton = useRef<HTMLButtonElement>(null);
  const before = useRef<Panel | null>(null);
  const { panel, moderation } = meeting;
  useEffect(() => {
    if (!panel && before.current) (before.current === "chat" ? chatButton : roomButton).current?.focus();
    before.current = panel;
  }, [panel]);
  useWakeLock();
  const { screens, people, sounds } = contents(meeting, room);
  return (
    <div class={panel ? "meeting meeting-with-chat" : "meeting"}>
      <header class="meeting-header">
        <Logo />
        <h1 class="meeting-title">{meeting.where}</h1>
        <p class="meeting-count">
          <PeopleIcon />
          <span>{people.length}</span>
          <span class="visually-hidden">{people.length === 1 ? "person" : "people"} in the room</span>
        </p>
        <CopyLinkButton meeting={meeting} />
        {moderation && (
          <button
            ref={roomButton}
            type="button"
            class="icon-button room-button"
            aria-label={room.guests.length > 0 ? `Room settings, ${room.guests.length} waiting` : "Room settings"}
            aria-expanded={panel === "room"}
            onClick={() => {
              meeting.panel = panel === "room" ? null : "room";
            }}
          >
            <SettingsIcon />
            {room.guests.length > 0 && <span class="badge">{room.guests.length > 9 ? "9+" : room.guests.length}</span>}
          </button>
        )}
      </header>
      <Banners meeting={meeting} room={room} />
      <main class="meeting-main">
        {screens.length > 0 ? <Stage screens={screens} people={people} /> : <Grid tiles={people} />}
      </main>
      {panel === "chat" && <ChatPanel meeting={meeting} />}
      {panel === "room" && moderation && <RoomPanel meeting={meeting} room={room} moderation={moderation} />}
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
  const speaking = new Set(room.speakers.map(({ participant }) => participant));
  const people: KeyedTile[] = [
    {
      key: "me",
      label: `${meeting.name} (you)`,
      name: meeting.name,
      video: meeting.camera,
      silent: meeting.microphone.muted,
      mirrored: true,
      quality: room.localParticipant.connection.quality,
      speaking: room.localParticipant.id !== undefined && speaking.has(room.localParticipant.id),
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
      quality: participant.connection.quality,
      speaking: speaking.has(participant.id),
      menu: meeting.moderation && <ModerateMenu participant={participant} moderation={meeting.moderation} />,
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
    for (const track of participant.tracks.values())
      if (track.kind === "audio" && track.mediaStreamTrack) sounds.push(track);
  }
  return { people, screens, sounds };
}

/** Everybody the same size, as large as can be; in pages, if they are many. Whoever speaks is on the first one. */
function Grid({ tiles }: { tiles: KeyedTile[] }) {
  const frame = useRef<HTMLDivElement>(null);
  const size = useSize(frame);
  const perPage = pageSize(size);
  const ordered = useOrder(tiles, perPage);
  const pages = Math.ceil(ordered.length / perPage);
  const [wanted, setPage] = useState(0);
  const page = Math.min(wanted, pages - 1);
  const shown = ordered.slice(page * perPage, (page + 1) * perPage);
  return (
    <div ref={frame} class="pages">
      <Tiles tiles={shown} />
      {pages > 1 && (
        <nav class="pager" aria-label="Pages of people">
          <button
            type="button"
            class="icon-button"
            aria-label="Previous page"
            disabled={page === 0}
            onClick={() => setPage(page - 1)}
          >
            <BackIcon />
          </button>
          <span aria-live="polite">
            {page + 1} of {pages}
          </span>
          <button
            type="button"
            class="icon-button"
            aria-label="Next page"
            disabled={page === pages - 1}
            onClick={() => setPage(page + 1)}
          >
            <ForwardIcon />
          </button>
        </nav>
      )}
    </div>
  );
}

/** The tiles, with those who speak among the first. */
function useOrder(tiles: KeyedTile[], first: number): KeyedTile[] {
  const order = useRef<Order>(null);
  const byKey = new Map(tiles.map((tile) => [tile.key, tile]));
  const speaking = tiles.filter((tile) => tile.speaking).map(({ key }) => key);
  const keys = (order.current ??= new Order()).arrange([...byKey.keys()], speaking, first);
  return keys.map((key) => byKey.get(key)).filter((tile) => tile !== undefined);
}

function Tiles({ tiles }: { tiles: KeyedTile[] }) {
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

/** The people beside a screen that are looked after for who speaks: what fits there without scrolling. */
const BESIDE_SCREEN = 5;

/** The screens that are shared, large; the people beside them, those who speak first. */
function Stage({ screens, people }: { screens: KeyedTile[]; people: KeyedTile[] }) {
  const ordered = useOrder(people, BESIDE_SCREEN);
  return (
    <div class="stage">
      <div class="stage-screens">
        {screens.map(({ key, ...tile }) => (
          <Tile key={key} {...tile} />
        ))}
      </div>
      {/* It scrolls, so the keyboard has to get there. */}
      <section class="stage-people" aria-label="People" tabIndex={0}>
        {ordered.map(({ key, ...tile }) => (
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
      <ClosingBanner room={room} />
      {meeting.moderation && <GuestsBanner meeting={meeting} room={room} moderation={meeting.moderation} />}
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
