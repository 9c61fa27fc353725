import type { Ref } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

import { explainDevice } from "../explain.js";
import { Logo, WarningIcon } from "../icons.js";
import type { Meeting, PasswordError } from "../meeting.js";
import { Avatar, VideoSurface } from "./tile.js";
import { CameraButton, CopyLinkButton, MicrophoneButton } from "./controls.js";

/** Before the meeting: a name, a look at oneself, and the devices. */
export function LobbyView({ meeting, go }: { meeting: Meeting; go(to: string): void }) {
  const nameInput = useRef<HTMLInputElement>(null);
  const [nameMissing, setNameMissing] = useState(false);
  const joining = meeting.stage === "joining";
  const passwordInput = useRef<HTMLInputElement>(null);
  const { passwordError } = meeting;
  // Once for each answer of the server.
  useLayoutEffect(() => {
    if (!joining) (passwordError ? passwordInput : nameInput).current?.focus();
  }, [joining, passwordError]);
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    if (joining) return;
    meeting.name = meeting.name.trim();
    setNameMissing(meeting.name === "");
    if (meeting.name === "") nameInput.current?.focus();
    else void meeting.join();
  };
  return (
    <main class="lobby">
      <header class="lobby-header">
        <a
          class="brand"
          href="/"
          onClick={(event) => {
            event.preventDefault();
            go("/");
          }}
        >
          <Logo /> Switchyard
        </a>
      </header>
      <div class="lobby-body">
        <Preview meeting={meeting} />
        <section class="lobby-form" aria-labelledby="lobby-title">
          <p class="eyebrow">Ready to go in?</p>
          <h1 id="lobby-title" class="room-title">
            {meeting.roomId}
          </h1>
          <form onSubmit={submit} noValidate>
            <label class="field">
              <span class="field-label">Your name</span>
              <input
                ref={nameInput}
                class="input"
                value={meeting.name}
                maxLength={64}
                autocomplete="name"
                aria-invalid={nameMissing}
                aria-describedby={nameMissing ? "name-missing" : undefined}
                onInput={(event) => {
                  meeting.name = event.currentTarget.value;
                  setNameMissing(false);
                }}
              />
            </label>
            {nameMissing && (
              <p id="name-missing" class="field-error" role="alert">
                Enter a name, so that the others know who you are.
              </p>
            )}
            {passwordError && <PasswordField meeting={meeting} input={passwordInput} />}
            <DeviceChoice meeting={meeting} />
            <button class="button button-primary button-large button-wide" type="submit" aria-disabled={joining}>
              {joining ? "Joining…" : "Join"}
            </button>
            <DeviceGuide meeting={meeting} />
          </form>
          <div class="lobby-share">
            <CopyLinkButton meeting={meeting} />
          </div>
        </section>
      </div>
    </main>
  );
}

/** A look at oneself, and the devices. */
export function Preview({ meeting }: { meeting: Meeting }) {
  const { camera } = meeting;
  return (
    <section class="preview" aria-label="Preview">
      <div class="preview-picture">
        <VideoSurface track={camera} mirrored fit="cover" />
        {camera.muted && meeting.name.trim() !== "" && <Avatar name={meeting.name} />}
        {camera.muted && <p class="preview-note">{meeting.asking ? "Waiting for your camera…" : "Camera is off"}</p>}
      </div>
      <div class="preview-controls">
        <MicrophoneButton meeting={meeting} />
        <CameraButton meeting={meeting} />
      </div>
    </section>
  );
}

const WRONG: Partial<Record<PasswordError, string>> = {
  wrong_password: "That is not the password. Check it, then try again.",
  rate_limited: "Too many wrong passwords were tried. Wait a minute, then try again.",
};

/** The room's password, with what is wrong with the one that was tried. */
function PasswordField({ meeting, input }: { meeting: Meeting; input: Ref<HTMLInputElement> }) {
  const wrong = meeting.stage === "joining" ? undefined : WRONG[meeting.passwordError ?? "password_required"];
  return (
    <>
      <label class="field">
        <span class="field-label">Password of the room</span>
        <input
          ref={input}
          class="input"
          type="password"
          value={meeting.password}
          maxLength={128}
          autocomplete="off"
          required
          aria-invalid={wrong !== undefined}
          aria-describedby="password-note"
          onInput={(event) => {
            meeting.password = event.currentTarget.value;
          }}
        />
      </label>
      {wrong ? (
        <p id="password-note" class="field-error" role="alert">
          {wrong}
        </p>
      ) : (
        <p id="password-note" class="hint field-hint">
          This room has a password: whoever invited you knows it.
        </p>
      )}
    </>
  );
}

/** What to do when a device can't be had. */
function DeviceGuide({ meeting }: { meeting: Meeting }) {
  const { camera, microphone } = meeting.deviceErrors;
  if (meeting.asking) {
    return <p class="callout">Your browser asks for camera and microphone: allow them, or go in without.</p>;
  }
  if (!camera && !microphone) return null;
  const same = camera && microphone && camera.code === microphone.code;
  const lines = [
    camera && explainDevice("camera", camera),
    microphone && !same && explainDevice("microphone", microphone),
  ].filter((line) => !!line);
  const blocked = same && camera.code === "permission_denied";
  return (
    <div class="callout callout-warning" role="alert">
      <WarningIcon />
      <div>
        {blocked ? (
          <p>
            <strong>Your camera and microphone are blocked.</strong> Use the icon at the left end of the address bar to
            allow them for this page.
          </p>
        ) : (
          lines.map(({ what, todo }) => (
            <p key={what}>
              <strong>{what}</strong> {todo}
            </p>
          ))
        )}
        <p>You can go in without, too, and turn them on later.</p>
        <button class="button button-small" type="button" onClick={() => void meeting.openDevices()}>
          Ask again
        </button>
      </div>
    </div>
  );
}

/** Which camera and which microphone, when there is a choice. */
function DeviceChoice({ meeting }: { meeting: Meeting }) {
  const [devices, setDevices] = useState<MediaDeviceInfo[]>([]);
  useEffect(() => {
    const { mediaDevices } = navigator;
    if (!mediaDevices) return undefined;
    const list = () => void mediaDevices.enumerateDevices().then(setDevices, () => {});
    list();
    mediaDevices.addEventListener("devicechange", list);
    return () => mediaDevices.removeEventListener("devicechange", list);
  }, [meeting.asking]);
  const choices = [
    { device: "microphone" as const, label: "Microphone", kind: "audioinput" },
    { device: "camera" as const, label: "Camera", kind: "videoinput" },
  ];
  return (
    <div class="device-choice">
      {choices.map(({ device, label, kind }) => {
        // Without permission their names are empty.
        const known = devices.filter((each) => each.kind === kind && each.label !== "");
        const current = meeting[device].mediaStreamTrack?.getSettings().deviceId;
        if (known.length < 2) return null;
        return (
          <label class="field" key={device}>
            <span class="field-label">{label}</span>
            <select
              class="input select"
              value={current}
              onChange={(event) => void meeting.useDevice(device, event.currentTarget.value)}
            >
              {known.map((each) => (
                <option key={each.deviceId} value={each.deviceId}>
                  {each.label}
                </option>
              ))}
            </select>
          </label>
        );
      })}
    </div>
  );
}
