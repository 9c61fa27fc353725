import { describe, expect, test } from "vitest";

import { Order, pageSize } from "./order.js";

describe("the order of tiles", () => {
  const people = ["me", "a", "b", "c", "d", "e"];

  test("is that of coming in, whoever speaks, as long as all fit", () => {
    const order = new Order();
    expect(order.arrange(people, ["e"], 6)).toEqual(people);
    expect(order.arrange(["me", "b", "c", "f"], [], 6)).toEqual(["me", "b", "c", "f"]);
  });

  test("brings a speaker to the first page in place of whoever was silent for longest", () => {
    const order = new Order();
    order.arrange(people, ["a"], 4);
    order.arrange(people, ["c"], 4);
    expect(order.arrange(people, ["e"], 4)).toEqual(["me", "a", "e", "c", "d", "b"]);
    expect(order.arrange(people, ["d"], 4)).toEqual(["me", "d", "e", "c", "a", "b"]);
    expect(order.arrange(people, [], 4), "and stays").toEqual(["me", "d", "e", "c", "a", "b"]);
  });

  test("moves nobody who speaks, nor oneself", () => {
    const order = new Order();
    expect(order.arrange(people, ["a", "b", "c", "e"], 4)).toEqual(people);
    expect(new Order().arrange(people, ["e"], 1)).toEqual(people);
  });

  test("forgets who has left", () => {
    const order = new Order();
    order.arrange(people, ["e"], 4);
    expect(order.arrange(["me", "a", "b"], ["e"], 4)).toEqual(["me", "a", "b"]);
  });
});

test("a page holds as many tiles as can be read, and not more than 25", () => {
  expect(pageSize({ width: 1880, height: 900 })).toBe(25);
  expect(pageSize({ width: 800, height: 500 })).toBe(21);
  expect(pageSize({ width: 360, height: 560 })).toBe(10);
  expect(pageSize({ width: 200, height: 200 })).toBe(4);
});
