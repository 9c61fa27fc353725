import { afterEach, beforeEach, expect, test, vi } from "vitest";

import type { TrackView } from "./protocol.js";
import { View } from "./view.js";

/** An observer that the test plays. */
class FakeObserver {
  static all: FakeObserver[] = [];
  readonly observed = new Set<Element>();
  constructor(readonly call: (entries: unknown[]) => void) {
    FakeObserver.all.push(this);
  }
  observe(element: Element) {
    this.observed.add(element);
  }
  unobserve(element: Element) {
    this.observed.delete(element);
  }
  disconnect() {
    this.observed.clear();
  }
}

let page: EventTarget & { visibilityState: string; pictureInPictureElement: Element | null };
let told: TrackView[][];
let refuse: boolean;
let view: View;

const element = () => ({}) as Element;
const resize = (target: Element, width: number, height: number) =>
  FakeObserver.all[0]?.call([{ target, contentRect: { width, height } }]);
const see = (target: Element, isIntersecting: boolean) => FakeObserver.all[1]?.call([{ target, isIntersecting }]);
const settle = () => vi.advanceTimersByTimeAsync(300);

beforeEach(() => {
  vi.useFakeTimers();
  FakeObserver.all = [];
  page = Object.assign(new EventTarget(), { visibilityState: "visible", pictureInPictureElement: null });
  vi.stubGlobal("document", page);
  vi.stubGlobal("devicePixelRatio", 2);
  vi.stubGlobal("ResizeObserver", FakeObserver);
  vi.stubGlobal("IntersectionObserver", FakeObserver);
  told = [];
  refuse = false;
  view = new View(async (tracks) => {
    told.push(tracks);
    if (refuse) throw new Error("refused");
  });
});
afterEach(() => {
  view.close();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("a page that attaches nothing tells nothing", async () => {
  view.restart();
  await settle();
  expect(told).toEqual([]);
  expect(view.shows(1)).toBe(true);
});

test("what is in sight is told once, at its largest size in pixels of the screen", async () => {
  const [small, large, other] = [element(), element(), element()];
  view.attach(1, small);
  view.attach(1, large);
  view.attach(2, other);
  resize(small, 100, 50);
  resize(large, 320, 180);
  resize(other, 64, 64);
  await settle();
  expect(told).toEqual([
    [
      { track: 1, width: 640, height: 368, pinned: false },
      { track: 2, width: 128, height: 128, pinned: false },
    ],
  ]);
  resize(large, 318, 180);
  await settle();
  expect(told.length, "a pixel more or less").toBe(1);
});

test("of a picture that fills its element what is cut off counts as well, and bars don't", async () => {
  const fits = new Map<Element, string>();
  vi.stubGlobal("getComputedStyle", (of: Element) => ({ objectFit: fits.get(of) }));
  const video = (fit: string, width: number, height: number) => {
    const video = Object.assign(new EventTarget(), { videoWidth: width, videoHeight: height }) as unknown as Element;
    fits.set(video, fit);
    return video;
  };
  const elements = [
    video("cover", 1280, 720),
    video("contain", 1280, 720),
    video("fill", 1280, 720),
    video("cover", 0, 0),
  ];
  elements.forEach((each, track) => view.attach(track, each));
  // A tile of 4:5, as on a phone.
  for (const each of elements) resize(each, 344, 432);
  await settle();
  const sizes = () => told.at(-1)?.map(({ width, height }) => [width, height]);
  expect(sizes()).toEqual([
    [1536, 864],
    [688, 400],
    [688, 864],
    [688, 864],
  ]);
  // The first picture has come, upright as the tile.
  Object.assign(elements[3]!, { videoWidth: 720, videoHeight: 900 });
  elements[3]!.dispatchEvent(new Event("resize"));
  fits.set(elements[0]!, "contain");
  await settle();
  expect(sizes()).toEqual([
    [688, 400],
    [688, 400],
    [688, 864],
    [704, 864],
  ]);
});

test("of two elements the one counts that draws the larger picture", async () => {
  const [portrait, landscape] = [0, 1].map(() => Object.assign(element(), { videoWidth: 1280, videoHeight: 720 }));
  vi.stubGlobal("getComputedStyle", () => ({ objectFit: "contain" }));
  for (const each of [portrait!, landscape!]) view.attach(1, each);
  resize(portrait!, 344, 432);
  resize(landscape!, 512, 288);
  await settle();
  expect(told.at(-1)).toEqual([{ track: 1, width: 1024, height: 576, pinned: false }]);
});

test("a window that comes to a screen of other pixels wants other sizes", async () => {
  const media = new EventTarget();
  vi.stubGlobal("matchMedia", () => media);
  const one = element();
  view.attach(1, one);
  resize(one, 320, 176);
  await settle();
  vi.stubGlobal("devicePixelRatio", 1);
  media.dispatchEvent(new Event("change"));
  await settle();
  expect(told.map(([each]) => [each?.width, each?.height])).toEqual([
    [640, 352],
    [320, 176],
  ]);
});

test("what is scrolled away, hidden or detached is not asked for, and is again when it is back", async () => {
  const [one, two] = [element(), element()];
  view.attach(1, one);
  view.attach(2, two);
  resize(one, 160, 96);
  resize(two, 160, 96);
  await settle();
  see(one, false);
  await settle();
  expect(told.at(-1)?.map(({ track }) => track)).toEqual([2]);
  expect([view.shows(1), view.shows(2)]).toEqual([false, true]);
  page.visibilityState = "hidden";
  page.dispatchEvent(new Event("visibilitychange"));
  await settle();
  expect(told.at(-1)).toEqual([]);
  page.pictureInPictureElement = two;
  page.dispatchEvent(new Event("visibilitychange"));
  await settle();
  expect(told.at(-1)?.map(({ track }) => track)).toEqual([2]);
  page.visibilityState = "visible";
  page.dispatchEvent(new Event("visibilitychange"));
  see(one, true);
  view.detach(two);
  await settle();
  expect(told.at(-1)?.map(({ track }) => track)).toEqual([1]);
});

test("changes are told four times a second at most", async () => {
  const one = element();
  view.attach(1, one);
  for (let width = 100; width < 600; width += 10) {
    resize(one, width, 100);
    await vi.advanceTimersByTimeAsync(20);
  }
  expect(told.length).toBeGreaterThan(2);
  expect(told.length).toBeLessThanOrEqual(5);
});

test("what was refused, and what the session before knew, is told again", async () => {
  const one = element();
  refuse = true;
  view.attach(1, one);
  resize(one, 160, 96);
  await settle();
  refuse = false;
  resize(one, 160, 96);
  await settle();
  expect(told.length).toBe(2);
  view.restart();
  await settle();
  expect(told.length).toBe(3);
  view.pin(1, true);
  await settle();
  expect(told.at(-1)?.[0]?.pinned).toBe(true);
});
