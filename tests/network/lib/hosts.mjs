// Names that programs of a test know.
import { writeFile } from "node:fs/promises";

/** For browsers: has them run where `name` is at `address`, and all else as it is here. `file` says where a file may lie. */
export function knowing(file, name, address) {
  return {
    async within(program) {
      const [hosts, wrapper] = [file("hosts"), file(`knowing${program.replaceAll("/", "_")}`)];
      await writeFile(hosts, `127.0.0.1 localhost\n${address} ${name}\n`);
      await writeFile(wrapper, `#!/bin/sh\nexec unshare --mount sh -c 'mount --bind ${hosts} /etc/hosts && exec "$0" "$@"' '${program}' "$@"\n`, { mode: 0o755 });
      return wrapper;
    },
  };
}
