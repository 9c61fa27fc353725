import { useEffect, useMemo, useState } from "preact/hooks";

import { useEvents } from "./hooks.js";
import { Meeting } from "./meeting.js";
import { roomOfPath } from "./text.js";
import { takeToken } from "./token.js";
import { LandingView } from "./views/landing.js";
import { LiveRegion } from "./views/live.js";
import { ElsewhereView, JoiningView, LeftView, RefusedView } from "./views/end.js";
import { MeetingView } from "./views/meeting.js";
import { LobbyView } from "./views/lobby.js";
import { WaitingView } from "./views/waiting.js";

/** The page: the landing, or a room. */
export function App() {
  const [path, setPath] = useState(location.pathname);
  useEffect(() => {
    const follow = () => setPath(location.pathname);
    // A link with another token, opened in this tab, changes nothing but what stands behind the hash.
    const take = () => {
      const room = roomOfPath(location.pathname);
      if (room !== null) takeToken(room);
    };
    take();
    addEventListener("popstate", follow);
    addEventListener("hashchange", take);
    return () => {
      removeEventListener("popstate", follow);
      removeEventListener("hashchange", take);
    };
  }, []);
  const go = (to: string) => {
    history.pushState(null, "", to);
    setPath(to);
  };
  const room = roomOfPath(path);
  if (room !== null) return <RoomPage key={room} room={room} go={go} />;
  return <LandingView go={go} lost={path !== "/"} />;
}

function RoomPage({ room, go }: { room: string; go(to: string): void }) {
  const meeting = useMemo(() => new Meeting(room), [room]);
  useEvents(meeting);
  useEffect(() => {
    document.title = `${room} · Switchyard`;
    void meeting.openDevices();
    return () => meeting.leave();
  }, [meeting]);
  return (
    <>
      <Stage meeting={meeting} go={go} />
      <LiveRegion meeting={meeting} />
    </>
  );
}

function Stage({ meeting, go }: { meeting: Meeting; go(to: string): void }) {
  const { room } = meeting;
  switch (meeting.stage) {
    case "preparing":
      return <LobbyView meeting={meeting} go={go} />;
    case "joining":
      return meeting.again ? <JoiningView meeting={meeting} /> : <LobbyView meeting={meeting} go={go} />;
    case "waiting":
      return <WaitingView meeting={meeting} />;
    case "joined":
      return room && <MeetingView meeting={meeting} room={room} />;
    case "left":
      return <LeftView meeting={meeting} go={go} />;
    case "elsewhere":
      return <ElsewhereView meeting={meeting} go={go} />;
    case "refused":
      return <RefusedView meeting={meeting} go={go} />;
  }
}
