import type { Emitter, RemoteTrack } from "@switchyard/sdk";
import type { RefObject } from "preact";
import { useEffect, useLayoutEffect, useReducer, useState } from "preact/hooks";

/** Draws the component again at every event of an emitter. */
export function useEvents<Events extends { [Name in keyof Events]: unknown[] }>(emitter: Emitter<Events>): void {
  const [, redraw] = useReducer((count: number) => count + 1, 0);
  useEffect(() => emitter.onAny(() => redraw(undefined)), [emitter]);
}

/** An element's size in pixels, as it changes. */
export function useSize(element: RefObject<HTMLElement | null>): { width: number; height: number } {
  const [size, setSize] = useState({ width: 0, height: 0 });
  useLayoutEffect(() => {
    const { current } = element;
    if (!current) return undefined;
    const observer = new ResizeObserver(([entry]) => {
      if (entry) setSize({ width: entry.contentRect.width, height: entry.contentRect.height });
    });
    observer.observe(current);
    return () => observer.disconnect();
  }, []);
  return size;
}

/** Milliseconds between two looks at who speaks. */
const LOOK = 150;
/** From this level on somebody speaks; below is breath and fans. */
const SPEAKS = 0.02;

/** Marks an element with `data-speaking` while a track is heard, without drawing anything again. */
export function useSpeaking(element: RefObject<HTMLElement | null>, track: RemoteTrack | undefined): void {
  useEffect(() => {
    if (!track) return undefined;
    const timer = setInterval(() => {
      element.current?.toggleAttribute("data-speaking", track.audioLevel > SPEAKS);
    }, LOOK);
    return () => {
      clearInterval(timer);
      element.current?.removeAttribute("data-speaking");
    };
  }, [track]);
}
