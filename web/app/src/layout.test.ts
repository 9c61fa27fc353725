import { expect, test } from "vitest";

import { bestGrid } from "./layout.js";

const GAP = 10;
const desktop = { width: 1248, height: 640 };
const phone = { width: 344, height: 460 };

test.each([desktop, phone, { width: 1888, height: 920 }, { width: 700, height: 230 }])(
  "tiles fit into %j, or it scrolls",
  (area) => {
    for (let count = 1; count <= 60; count += 1) {
      const grid = bestGrid(area, count, GAP);
      const rows = Math.ceil(count / grid.columns);
      expect(grid.columns * grid.width + (grid.columns - 1) * GAP).toBeLessThanOrEqual(area.width);
      if (!grid.scrolls) expect(rows * grid.height + (rows - 1) * GAP).toBeLessThanOrEqual(area.height);
      expect(grid.width / grid.height).toBeGreaterThanOrEqual(4 / 5 - 0.02);
      expect(grid.width / grid.height).toBeLessThanOrEqual(16 / 9 + 0.02);
    }
  },
);

test("two people are side by side on a desktop and one above the other on a phone", () => {
  expect(bestGrid(desktop, 2, GAP).columns).toBe(2);
  expect(bestGrid(phone, 2, GAP).columns).toBe(1);
});

test("nine people make three rows of three on a desktop", () => {
  expect(bestGrid(desktop, 9, GAP).columns).toBe(3);
});

test("a crowd on a phone scrolls instead of becoming too small", () => {
  const grid = bestGrid(phone, 40, GAP);
  expect(grid.scrolls).toBe(true);
  expect(grid.width).toBeGreaterThan(130);
});

test("an area that isn't laid out yet makes no nonsense", () => {
  expect(bestGrid({ width: 0, height: 0 }, 3, GAP)).toMatchObject({ width: 0, height: 0 });
  expect(bestGrid(desktop, 0, GAP)).toMatchObject({ columns: 1, scrolls: false });
});
