// Names that programs of a test know.
import { writeFile } from "node:fs/promises";

/** For browsers: has them run where `name` is at `address`, and all else as it is here. `file` says where a file may lie. */
export function knowing(file, name, address) {
  return {
    async within(program) {
      const [hosts, resolver, wrapper] = [file("hosts"), file("resolv.conf"), file(`knowing${program.replaceAll("/", "_")}`)];
      await writeFile(hosts, `127.0.0.1 localhost\n${address} ${name}\n`);
      // Nobody is there, which is known at once.
      await writeFile(resolver, "nameserver 127.0.0.254\n");
      await writeFile(wrapper, `#!/bin/sh\nexec unshare --mount sh -c 'mount --bind ${hosts} /etc/hosts && mount --bind ${resolver} /etc/resolv.conf && exec "$0" "$@"' '${program}' "$@"\n`, { mode: 0o755 });
      return wrapper;
    },
  };
}
