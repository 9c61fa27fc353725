/** Where a room's access token is kept for as long as the tab is open, so that a reload needs no new link. */
const key = (room: string) => `switchyard.token.${room}`;

/** The parts of a page that a token passes through. */
export interface Page {
  readonly location: Pick<Location, "hash" | "pathname" | "search">;
  readonly history: Pick<History, "replaceState" | "state">;
  readonly sessionStorage: Pick<Storage, "getItem" | "setItem">;
}

/**
 * The access token for a room: the one behind `#token=` in the address, or else the one from before. A fragment is sent to no
 * server, neither as part of a request nor as its Referer; it is taken out of the address at once, so that it doesn't
 * stand on the screen, in bookmarks and in links that are copied.
 */
export function takeToken(room: string, page: Page = window): string | undefined {
  const { location, history, sessionStorage } = page;
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token !== null) {
    sessionStorage.setItem(key(room), token);
    history.replaceState(history.state, "", location.pathname + location.search);
  }
  return sessionStorage.getItem(key(room)) ?? undefined;
}
