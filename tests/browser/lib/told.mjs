// What the app says of an outage.
import { until } from "./tab.mjs";

/** Runs in the page: begins to keep in `window.told` what the app says, when (in milliseconds since 1970) and each sentence that differs from the one before. */
export function recordTold() {
  window.told = [];
  const look = () => {
    const text = document.querySelector(".interruption p")?.textContent.trim() ?? "";
    if (text !== (window.told.at(-1)?.[1] ?? "")) window.told.push([Date.now(), text]);
  };
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
}

/** Waits until `person` was told these sentences, in this order, after the first `before` that were. */
export async function isTold(person, sentences, before = 0, deadline = undefined) {
  const told = async () => (await person.evaluate(() => window.told.map(([, text]) => text))).slice(before);
  const heard = async () => {
    let next = 0;
    for (const text of await told()) if (next < sentences.length && text.includes(sentences[next])) next += 1;
    return next === sentences.length;
  };
  await until(`${person.name} is told ${sentences.join(", then ")}`, heard, deadline).catch(async (error) => {
    throw new Error(`${error.message}, but ${JSON.stringify(await told())}`);
  });
}
