// Where the browsers are.
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";

/** The program that an environment variable names, or the first of `names` that `PATH` has. */
export function findProgram(variable, names) {
  if (process.env[variable]) return process.env[variable];
  const folders = (process.env.PATH ?? "").split(delimiter);
  const found = names.flatMap((name) => folders.map((folder) => join(folder, name))).find((path) => existsSync(path));
  if (!found) throw new Error(`none of ${names.join(", ")} is installed; run \`cargo xtask setup\` or set ${variable}`);
  return found;
}
