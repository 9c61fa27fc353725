// Certificates that browsers find right because of an authority that is known to the browsers of a test only.
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { isIP } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/**
 * Makes a certificate for names and addresses, by an authority of its own: the files with the `authority`, the `certificate` and its `key` (PEM), and the `options`
 * of a server that has it. `file` says where a file may lie.
 */
export async function makeCertificate(file, ...names) {
  const [authority, secret, certificate, key] = ["authority.pem", "authority.key", "certificate.pem", "key.pem"].map(file);
  const make = (name, key, out, ...more) =>
    run("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", `/CN=${name}`, "-keyout", key, "-out", out, ...more]);
  await make("tests", secret, authority);
  const alternatives = names.map((name) => `${isIP(name) ? "IP" : "DNS"}:${name}`).join(",");
  await make(names[0], key, certificate, "-CA", authority, "-CAkey", secret, "-addext", `subjectAltName=${alternatives}`, "-addext", "basicConstraints=critical,CA:FALSE");
  return { authority, certificate, key, options: ["--tls-certificate", certificate, "--tls-key", key] };
}

/** A fresh folder in which `place` is a database of certificates (NSS) that trusts an authority (PEM); `remove()` takes it away. */
export async function trusting(authority, place = ".") {
  const folder = await mkdtemp(join(tmpdir(), "switchyard-trust-"));
  const database = join(folder, place);
  await mkdir(database, { recursive: true });
  const certutil = (...options) => run("certutil", [...options, "-d", `sql:${database}`]);
  await certutil("-N", "--empty-password");
  await certutil("-A", "-n", "tests", "-t", "C,,", "-i", authority);
  return { folder, remove: () => rm(folder, { recursive: true, force: true, maxRetries: 5 }) };
}
