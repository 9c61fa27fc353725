import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { Network } from "./network.js";

let page: EventTarget;
let view: EventTarget & { visibilityState: string };
let connection: EventTarget & { type?: string };
let device: { onLine: boolean; connection?: EventTarget };
let network: Network;
let told: string[];

function follow(): void {
  network = new Network();
  told = [];
  network.onAny((name) => told.push(name));
}

beforeEach(() => {
  page = new EventTarget();
  view = Object.assign(new EventTarget(), { visibilityState: "visible" });
  connection = Object.assign(new EventTarget(), { type: "wifi" });
  device = { onLine: true, connection };
  vi.stubGlobal("window", page);
  vi.stubGlobal("document", view);
  vi.stubGlobal("navigator", device);
  follow();
});
afterEach(() => {
  network.close();
  vi.unstubAllGlobals();
});

test("a network that is back is another one", () => {
  device.onLine = false;
  page.dispatchEvent(new Event("offline"));
  expect(network.offline).toBe(true);
  device.onLine = true;
  page.dispatchEvent(new Event("online"));
  expect(network.offline).toBe(false);
  expect(told).toEqual(["offlineChanged", "offlineChanged", "changed"]);
});

test("from Wi-Fi to the mobile network is a change, another estimate of the speed a doubt", () => {
  connection.dispatchEvent(new Event("change"));
  connection.type = "cellular";
  connection.dispatchEvent(new Event("change"));
  connection.dispatchEvent(new Event("change"));
  expect(told).toEqual(["doubted", "changed", "doubted"]);
});

test("a page that is shown again has reason to doubt, one that is hidden has not", () => {
  view.visibilityState = "hidden";
  view.dispatchEvent(new Event("visibilitychange"));
  expect(told).toEqual([]);
  view.visibilityState = "visible";
  view.dispatchEvent(new Event("visibilitychange"));
  page.dispatchEvent(new Event("pageshow"));
  expect(told).toEqual(["doubted", "doubted"]);
});

test("nothing is told after the end", () => {
  network.close();
  page.dispatchEvent(new Event("online"));
  view.dispatchEvent(new Event("visibilitychange"));
  connection.dispatchEvent(new Event("change"));
  expect(told).toEqual([]);
});

test("browsers that tell less are no trouble", () => {
  network.close();
  vi.stubGlobal("navigator", { onLine: true });
  follow();
  page.dispatchEvent(new Event("online"));
  expect(told).toEqual(["offlineChanged", "changed"]);
});
