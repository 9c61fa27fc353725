import { describe, expect, test } from "vitest";

import { type Page, takeToken } from "./token.js";

function page(hash: string, kept: Record<string, string> = {}) {
  const urls: string[] = [];
  const storage = new Map(Object.entries(kept));
  const stand: Page = {
    location: { hash, pathname: "/r/demo", search: "?x=1" },
    history: {
      state: null,
      replaceState: (_state: unknown, _unused: string, url?: string | URL | null) => urls.push(String(url)),
    },
    sessionStorage: {
      getItem: (key: string) => storage.get(key) ?? null,
      setItem: (key: string, value: string) => void storage.set(key, value),
    },
  };
  return { stand, urls, storage };
}

describe("an access token", () => {
  test("is taken out of the address and kept for the tab", () => {
    const { stand, urls, storage } = page("#token=aaa.bbb-_.ccc");
    expect(takeToken("demo", stand)).toBe("aaa.bbb-_.ccc");
    expect(urls).toEqual(["/r/demo?x=1"]);
    expect([...storage]).toEqual([["switchyard.token.demo", "aaa.bbb-_.ccc"]]);
  });

  test("is there after a reload, for its room only", () => {
    const { stand, urls } = page("", { "switchyard.token.demo": "aaa" });
    expect(takeToken("demo", stand)).toBe("aaa");
    expect(takeToken("other", stand)).toBeUndefined();
    expect(urls).toEqual([]);
  });

  test("gives way to a newer one", () => {
    const { stand } = page("#token=new", { "switchyard.token.demo": "old" });
    expect(takeToken("demo", stand)).toBe("new");
  });

  test("is nothing else that stands behind a hash", () => {
    const { stand, urls } = page("#chapter");
    expect(takeToken("demo", stand)).toBeUndefined();
    expect(urls).toEqual([]);
  });
});
