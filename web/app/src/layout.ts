/** How tiles of one size fill an area. */
export interface Grid {
  /** Columns. */
  columns: number;
  /** Pixels. */
  width: number;
  /** Pixels. */
  height: number;
  /** Whether the tiles don't fit without becoming too small, so that the area has to scroll. */
  scrolls: boolean;
}

/** Tiles are at most this wide for their height: what cameras make. */
const WIDEST = 16 / 9;
/** Tiles are at most this narrow: of a picture from a camera the middle two thirds are left. */
const NARROWEST = 6 / 5;
/** The same in an area that is higher than wide: a face still fits, and a phone held upright is filled. */
const NARROWEST_UPRIGHT = 4 / 5;
/** Pixels. Faces in narrower tiles can't be read; the area scrolls instead. */
const SMALLEST = 132;

/** The number of columns that makes `count` tiles as large as they can be. */
export function bestGrid(area: { width: number; height: number }, count: number, gap: number): Grid {
  const narrowest = area.height > area.width ? NARROWEST_UPRIGHT : NARROWEST;
  let best: Grid = { columns: 1, width: 0, height: 0, scrolls: false };
  for (let columns = 1; columns <= count; columns += 1) {
    const rows = Math.ceil(count / columns);
    const cell = {
      width: (area.width - gap * (columns - 1)) / columns,
      height: (area.height - gap * (rows - 1)) / rows,
    };
    if (cell.width <= 0 || cell.height <= 0) continue;
    const width = Math.floor(Math.min(cell.width, cell.height * WIDEST));
    const height = Math.floor(Math.min(cell.height, cell.width / narrowest));
    if (width * height > best.width * best.height) best = { columns, width, height, scrolls: false };
  }
  if (best.width >= SMALLEST || count === 0) return best;
  const columns = Math.max(1, Math.min(count, Math.floor((area.width + gap) / (SMALLEST + gap))));
  const width = Math.max(0, Math.floor((area.width - gap * (columns - 1)) / columns));
  return { columns, width, height: Math.floor((width * 3) / 4), scrolls: true };
}
