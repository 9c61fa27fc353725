import { type LocalTrack, type Quality, RemoteTrack, type Track } from "@switchyard/sdk";
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

import { useSpeaking } from "../hooks.js";
import { MicOffIcon, ScreenIcon, SignalIcon } from "../icons.js";
import { hue, initials, missingText } from "../text.js";

/** What a tile shows. */
export interface TileProps {
  /** What it is called: the display name, perhaps with more. */
  label: string;
  /** Whose it is, for the avatar. */
  name: string;
  video: LocalTrack | RemoteTrack | undefined;
  /** For the mark around somebody who speaks. */
  audio?: RemoteTrack | undefined;
  /** Whether to show that nothing can be heard of them. */
  silent: boolean;
  mirrored?: boolean;
  screen?: boolean;
  /** Whether the server hears them speak. */
  speaking?: boolean;
  /** What is shown is the last that came: there is no connection. */
  held?: boolean;
  /** How good their connection is; for people alone. */
  quality?: Quality;
  /** What can be done about them. */
  menu?: ComponentChildren;
}

/** What is said of a connection that is not good, and how many of three bars it has. */
const WEAK: Partial<Record<Quality, [words: string, bars: number]>> = {
  fair: ["weak connection", 2],
  poor: ["poor connection", 1],
  lost: ["no connection", 0],
};

/** Somebody, or somebody's screen. */
export function Tile(props: TileProps) {
  const { label, name, video, audio, silent, mirrored = false, screen = false, held = false, speaking = false } = props;
  const weak = props.quality && WEAK[props.quality];
  const tile = useRef<HTMLDivElement>(null);
  useSpeaking(tile, audio);
  const off = !video || video.muted;
  const missing = !off && video instanceof RemoteTrack ? missingText(video.reception, screen) : null;
  return (
    <div
      ref={tile}
      class={`tile${screen ? " tile-screen" : ""}${held || missing ? " tile-held" : ""}${speaking ? " tile-speaking" : ""}`}
      role="group"
      aria-label={label}
    >
      {(off || !video.mediaStreamTrack) && <Avatar name={name} />}
      <VideoSurface track={video} mirrored={mirrored} fit={screen ? "contain" : "cover"} />
      {missing && <p class="tile-notice">{missing}</p>}
      <div class="tile-caption">
        {screen && <ScreenIcon />}
        {silent && (
          <span class="tile-silent">
            <MicOffIcon />
            <span class="visually-hidden">muted</span>
          </span>
        )}
        <span class="tile-name" dir="auto">
          {label}
        </span>
        {weak && (
          <span class="tile-weak" title={weak[0]}>
            <SignalIcon bars={weak[1]} />
            <span class="visually-hidden">{weak[0]}</span>
          </span>
        )}
        {off && <span class="visually-hidden">camera off</span>}
      </div>
      {props.menu}
    </div>
  );
}

/** A video element that shows a track; invisible until there is a picture, and while there is none. */
export function VideoSurface(props: { track: Track | undefined; mirrored: boolean; fit: "cover" | "contain" }) {
  const { track, mirrored, fit } = props;
  const video = useRef<HTMLVideoElement>(null);
  const [hasPicture, setHasPicture] = useState(false);
  useLayoutEffect(() => {
    const { current } = video;
    if (!current || !track) return undefined;
    track.attach(current);
    return () => track.detach(current);
  }, [track]);
  const visible = hasPicture && !!track && !track.muted;
  return (
    <video
      ref={video}
      class={`surface surface-${fit}${mirrored ? " surface-mirrored" : ""}${visible ? " surface-visible" : ""}`}
      muted
      playsInline
      disablePictureInPicture={mirrored}
      onLoadedData={() => setHasPicture(true)}
      onEmptied={() => setHasPicture(false)}
    />
  );
}

/** Plays a track's sound. */
export function Sound({ track }: { track: RemoteTrack }) {
  const audio = useRef<HTMLAudioElement>(null);
  useEffect(() => {
    const { current } = audio;
    if (!current) return undefined;
    track.attach(current);
    return () => track.detach(current);
  }, [track]);
  return <audio ref={audio} />;
}

/** Somebody's initials in somebody's colour. */
export function Avatar({ name }: { name: string }) {
  return (
    <div class="avatar" aria-hidden="true">
      <span class="avatar-disc" style={{ "--hue": String(hue(name)) }}>
        {initials(name)}
      </span>
    </div>
  );
}
