// The commands for Docker that a page of the documentation has; tests/docs.rs runs its others.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

export class Commands {
  #page;
  #sections;

  /** Those of a page, which is named as it lies in the checkout. */
  static async read(page) {
    return new Commands(page, await readFile(fileURLToPath(new URL(`../../../${page}`, import.meta.url)), "utf8"));
  }

  constructor(page, text) {
    this.#page = page;
    const parts = text.split(/^#+ /m).slice(1);
    const blocks = (part) => [...part.matchAll(/^```sh\n(docker .*?)^```$/gms)].map(([, commands]) => commands);
    this.#sections = new Map(parts.map((part) => [part.slice(0, part.indexOf("\n")), blocks(part)]));
  }

  /** The next block of a section, each once. */
  next(section) {
    const block = this.#sections.get(section)?.shift();
    if (!block) throw new Error(`${this.#page} has no further commands under "${section}"`);
    return block;
  }

  /** The sections with blocks that are left. */
  get left() {
    return [...this.#sections].filter(([, blocks]) => blocks.length > 0).map(([section]) => section);
  }
}
