/** Tiles on one page at most: more faces than that are looked at by nobody, and each costs the browser a decoder. */
const MOST_TILES = 25;
/** Tiles on one page at least, even if they have to be small. */
const LEAST_TILES = 4;
/** Pixels of the area for each tile, with its share of the gaps: faces in smaller ones can't be read. */
const TILE_AREA = 170 * 110;

/** How many tiles one page of an area holds. */
export function pageSize(area: { width: number; height: number }): number {
  const fit = Math.floor((area.width * area.height) / TILE_AREA);
  return Math.max(LEAST_TILES, Math.min(MOST_TILES, fit));
}

/**
 * The order of tiles in which whoever speaks is on the first page, so that nobody else there moves: a speaker from a
 * later page takes the place of whoever on the first has not spoken for longest. Those who came go to the end.
 */
export class Order {
  #keys: readonly string[] = [];
  /** When each spoke last, in turns. */
  readonly #spoke = new Map<string, number>();
  #turn = 0;

  /** The present keys in their order. The first of them, which is the user's own, stays where it is. */
  arrange(present: readonly string[], speaking: readonly string[], firstPage: number): readonly string[] {
    const known = new Set(this.#keys);
    const there = new Set(present);
    const keys = [...this.#keys.filter((key) => there.has(key)), ...present.filter((key) => !known.has(key))];
    for (const key of this.#spoke.keys()) if (!there.has(key)) this.#spoke.delete(key);
    // The loudest last, so that it has spoken last.
    for (const key of [...speaking].reverse()) if (there.has(key)) this.#spoke.set(key, (this.#turn += 1));
    for (const key of speaking) {
      const at = keys.indexOf(key);
      if (at < firstPage) continue;
      const [first, ...others] = keys.slice(0, firstPage);
      const silent = others.filter((other) => !speaking.includes(other));
      if (first === undefined || silent.length === 0) break;
      const longest = silent.reduce((one, other) => (this.#last(other) <= this.#last(one) ? other : one));
      const place = keys.indexOf(longest);
      [keys[place], keys[at]] = [key, longest];
    }
    return (this.#keys = keys);
  }

  #last(key: string): number {
    return this.#spoke.get(key) ?? 0;
  }
}
