import type { TrackId, TrackView } from "./protocol.js";

/** Milliseconds from a change of what is shown to telling the server: tiles are laid out one after the other. */
const VIEW_DELAY = 50;
/** Milliseconds between two messages about it: a window that is being resized changes with every frame. */
const VIEW_INTERVAL = 250;
/** Sizes are rounded up to whole blocks of so many pixels, so that not every pixel is told. */
const BLOCK = 16;
/** What is wanted of a track whose size can't be seen, because there is no page to look at: as much as there is. */
const FULL = 65_535;

interface Size {
  readonly width: number;
  readonly height: number;
}

interface Shown {
  readonly track: TrackId;
  /** Of the element's content, in CSS pixels; null: not known yet. */
  size: Size | null;
  /** Whether any of it is within what the page shows. */
  inSight: boolean;
}

/**
 * What this page shows of others' video: observes the media elements that tracks are attached to, and tells the server
 * which tracks are in sight and how large. What nobody can see (scrolled away, in a hidden tab, without an element) is
 * not sent.
 */
export class View {
  readonly #tell: (tracks: TrackView[]) => Promise<unknown>;
  readonly #elements = new Map<Element, Shown>();
  readonly #pinned = new Set<TrackId>();
  #resizes: ResizeObserver | null = null;
  #sights: IntersectionObserver | null = null;
  /** Holds as long as a pixel of CSS is as many of the screen as now. */
  #ratio: MediaQueryList | null = null;
  #used = false;
  /** What the server knows, as it was sent. */
  #told: string | null = null;
  #toldAt = -Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `tell` replaces all that was told before. */
  constructor(tell: (tracks: TrackView[]) => Promise<unknown>) {
    this.#tell = tell;
  }

  /** Whether anything was ever attached: until then the server decides what is sent. */
  get used(): boolean {
    return this.#used;
  }

  /** Whether a track is in sight, as far as is known. */
  shows(track: TrackId): boolean {
    return !this.#used || this.#tracks().some((shown) => shown.track === track);
  }

  /** A track is shown in an element from now on. */
  attach(track: TrackId, element: Element): void {
    const observable = this.#observe();
    this.#used = true;
    this.#elements.set(element, { track, size: observable ? null : { width: FULL, height: FULL }, inSight: true });
    // A video element tells by this that its picture has another size.
    element.addEventListener?.("resize", this.#changedOutside);
    this.#resizes?.observe(element);
    this.#sights?.observe(element);
    this.#changed();
  }

  /** An element shows nothing any more. */
  detach(element: Element): void {
    if (!this.#elements.delete(element)) return;
    element.removeEventListener?.("resize", this.#changedOutside);
    this.#resizes?.unobserve(element);
    this.#sights?.unobserve(element);
    this.#changed();
  }

  /** What is pinned comes first where not everything can be sent. */
  pin(track: TrackId, pinned: boolean): void {
    if (pinned) this.#pinned.add(track);
    else this.#pinned.delete(track);
    this.#changed();
  }

  /** Another session: the server knows nothing, and the tracks are others. */
  restart(): void {
    this.#told = null;
    this.#pinned.clear();
    this.#changed();
  }

  /** Stops. */
  close(): void {
    clearTimeout(this.#timer);
    this.#resizes?.disconnect();
    this.#sights?.disconnect();
    if (typeof document !== "undefined") document.removeEventListener("visibilitychange", this.#changedOutside);
    this.#ratio?.removeEventListener("change", this.#ratioChanged);
    for (const element of this.#elements.keys()) element.removeEventListener?.("resize", this.#changedOutside);
    this.#elements.clear();
    this.#used = false;
  }

  #observe(): boolean {
    if (typeof ResizeObserver === "undefined" || typeof IntersectionObserver === "undefined") return false;
    if (this.#resizes) return true;
    this.#resizes = new ResizeObserver((entries) => {
      for (const { target, contentRect } of entries) {
        const shown = this.#elements.get(target);
        if (shown) shown.size = { width: contentRect.width, height: contentRect.height };
      }
      this.#changed();
    });
    this.#sights = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const shown = this.#elements.get(target);
        if (shown) shown.inSight = isIntersecting;
      }
      this.#changed();
    });
    document.addEventListener("visibilitychange", this.#changedOutside);
    this.#watchRatio();
    return true;
  }

  readonly #changedOutside = () => this.#changed();

  /** The window has come to a screen of other pixels, which changes no size in CSS pixels. */
  readonly #ratioChanged = () => {
    this.#watchRatio();
    this.#changed();
  };

  #watchRatio(): void {
    if (typeof matchMedia === "undefined") return;
    this.#ratio?.removeEventListener("change", this.#ratioChanged);
    this.#ratio = matchMedia(`(resolution: ${devicePixelRatio}dppx)`);
    this.#ratio.addEventListener("change", this.#ratioChanged);
  }

  #changed(): void {
    if (!this.#used || this.#timer !== undefined) return;
    const wait = Math.max(VIEW_DELAY, this.#toldAt + VIEW_INTERVAL - performance.now());
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#send();
    }, wait);
  }

  #send(): void {
    const tracks = this.#tracks();
    const view = JSON.stringify(tracks);
    if (view === this.#told) return;
    this.#told = view;
    this.#toldAt = performance.now();
    this.#tell(tracks).catch(() => {
      // Lost with its session, or refused: the next change says it all again.
      if (this.#told === view) this.#told = null;
    });
  }

  /** Each track that is in sight, at the largest size at which its picture is. */
  #tracks(): TrackView[] {
    const views = new Map<TrackId, TrackView>();
    for (const [element, { track, size, inSight }] of this.#elements) {
      if (!size || size.width === 0 || size.height === 0 || !(inSight && onScreen(element))) continue;
      const drawn = pictureOf(element, size);
      const [width, height] = [pixels(drawn.width), pixels(drawn.height)];
      const before = views.get(track);
      if (before && before.width * before.height >= width * height) continue;
      views.set(track, { track, width, height, pinned: this.#pinned.has(track) });
    }
    return [...views.values()];
  }
}

/** Whether the page is seen, or at least this element, in a window of its own. */
function onScreen(element: Element): boolean {
  if (typeof document === "undefined") return true;
  return document.visibilityState === "visible" || document.pictureInPictureElement === element;
}

/**
 * How large a picture is drawn in an element of this size, in CSS pixels, with what the element cuts off: a portrait tile that
 * a landscape fills needs many more pixels than the tile has. Until there is a picture, as large as the element.
 */
function pictureOf(element: Element, size: Size): Size {
  const { videoWidth = 0, videoHeight = 0 } = element as Partial<HTMLVideoElement>;
  if (videoWidth === 0 || videoHeight === 0) return size;
  const { objectFit } = getComputedStyle(element);
  const scales = [size.width / videoWidth, size.height / videoHeight];
  if (objectFit === "fill") return size;
  const scale = objectFit === "cover" ? Math.max(...scales) : Math.min(...scales);
  return { width: videoWidth * scale, height: videoHeight * scale };
}

function pixels(css: number): number {
  const ratio = typeof devicePixelRatio === "undefined" ? 1 : devicePixelRatio;
  return Math.min(FULL, Math.ceil((css * ratio) / BLOCK) * BLOCK);
}
