import type { Room, Source } from "@switchyard/sdk";
import type { ComponentChildren, Ref } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import {
  CameraIcon,
  CameraOffIcon,
  ChatIcon,
  CheckIcon,
  LeaveIcon,
  LinkIcon,
  MicIcon,
  MicOffIcon,
  ScreenIcon,
  ScreenOffIcon,
} from "../icons.js";
import type { Meeting } from "../meeting.js";

/** The bar at the bottom of a meeting. */
export function ControlBar(props: { meeting: Meeting; room: Room; chatButton: Ref<HTMLButtonElement> }) {
  const { meeting, room, chatButton } = props;
  const sharing = room.localParticipant.track("screen") !== undefined;
  const may = (source: Source) => room.grants?.publish.includes(source) ?? false;
  const canShare = may("screen") && "getDisplayMedia" in (navigator.mediaDevices ?? {});
  return (
    <footer class="control-bar">
      {may("microphone") && <MicrophoneButton meeting={meeting} />}
      {may("camera") && <CameraButton meeting={meeting} />}
      {canShare && (
        <Control
          label={sharing ? "Stop" : "Share"}
          rest={sharing ? "sharing" : "screen"}
          tone={sharing ? "on" : "plain"}
          onClick={() => void meeting.toggleScreen()}
        >
          {sharing ? <ScreenOffIcon /> : <ScreenIcon />}
        </Control>
      )}
      <Control
        label="Chat"
        tone={meeting.panel === "chat" ? "on" : "plain"}
        expanded={meeting.panel === "chat"}
        buttonRef={chatButton}
        onClick={() => (meeting.panel = meeting.panel === "chat" ? null : "chat")}
      >
        <ChatIcon />
        {meeting.unread > 0 && <span class="badge">{meeting.unread > 9 ? "9+" : meeting.unread}</span>}
      </Control>
      <Control label="Leave" tone="danger" onClick={() => meeting.leave()}>
        <LeaveIcon />
      </Control>
    </footer>
  );
}

export function MicrophoneButton({ meeting }: { meeting: Meeting }) {
  const off = meeting.microphone.muted;
  return (
    <Control
      label={off ? "Unmute" : "Mute"}
      tone={off ? "off" : "plain"}
      onClick={() => void meeting.toggle("microphone")}
    >
      {off ? <MicOffIcon /> : <MicIcon />}
    </Control>
  );
}

export function CameraButton({ meeting }: { meeting: Meeting }) {
  const off = meeting.camera.muted;
  return (
    <Control
      label={off ? "Camera on" : "Camera off"}
      tone={off ? "off" : "plain"}
      onClick={() => void meeting.toggle("camera")}
    >
      {off ? <CameraOffIcon /> : <CameraIcon />}
    </Control>
  );
}

interface ControlProps {
  /** The accessible name, written below the icon: what pressing it does. */
  label: string;
  /** More of the name, written only where there is room. */
  rest?: string;
  tone: "plain" | "on" | "off" | "danger";
  expanded?: boolean;
  buttonRef?: Ref<HTMLButtonElement>;
  onClick(): void;
  children: ComponentChildren;
}

function Control({ label, rest, tone, expanded, buttonRef, onClick, children }: ControlProps) {
  return (
    <button
      ref={buttonRef ?? null}
      type="button"
      class={`control control-${tone}`}
      aria-expanded={expanded}
      onClick={onClick}
    >
      <span class="control-icon" aria-hidden="true">
        {children}
      </span>
      <span class="control-label">
        {label}
        {rest !== undefined && <span class="control-label-rest"> {rest}</span>}
      </span>
    </button>
  );
}

/** Milliseconds that the button says so after the link was copied. */
const COPIED_TIME = 2_000;

/** Copies the room's address. */
export function CopyLinkButton({ meeting }: { meeting: Meeting }) {
  const [copied, setCopied] = useState(false);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = async () => {
    if (!(await meeting.copyLink())) return;
    setCopied(true);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setCopied(false), COPIED_TIME);
  };
  return (
    <button type="button" class="button button-quiet copy-link" onClick={() => void copy()}>
      {copied ? <CheckIcon /> : <LinkIcon />}
      <span>{copied ? "Copied" : "Copy link"}</span>
    </button>
  );
}
