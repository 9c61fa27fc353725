// Meetings over a line: some people behind it, one not.
import { scene } from "../../browser/lib/scene.mjs";
import { lastingPort } from "../../browser/lib/server.mjs";
import { makeCertificate } from "../../browser/lib/trust.mjs";
import { writeCamera } from "./camera.mjs";
import { Line } from "./line.mjs";
import { writeVoice } from "./voice.mjs";

/**
 * Defines a test: Ada (Chromium) and Eve (Firefox) behind a line, Ben (Chromium) beside the server, all in one room; `play` gets the scene, the line and them.
 * The scene also has what `scene` gives it. `camera`: the size of Chromium's cameras, which then show something that takes bits.
 * `conditions`: the line's from the beginning; `blocked`: which protocol does not get through, from the beginning. `tls`: the server has a certificate, and media has the
 * number of HTTPS' port, as on a public host.
 */
export function meeting(name, { fps, timeout, who = ["Ada", "Eve"], camera, conditions, blocked, tls = false }, play) {
  scene(
    name,
    async (scene) => {
      const line = await Line.start();
      scene.last(() => line.stop());
      if (conditions) await line.say(`line ${conditions}`);
      if (blocked) await line.say(`cut ${blocked}`);
      const { authority, options: certificate = [] } = tls ? await makeCertificate((name) => line.file(name), line.far) : {};
      const port = tls ? String(await lastingPort()) : "0";
      const server = await scene.server("--http", `${line.far}:${port}`, "--advertise", line.far, ...(tls ? ["--media-port", port] : []), ...certificate);
      const voice = line.file("voice.wav");
      await writeVoice(voice);
      const film = camera && line.file("camera.y4m");
      if (film) await writeCamera(film, { ...camera, fps });
      const options = { ...(tls ? { authority } : { secure: server.origin }), fps, voice, camera, film };
      const behind = { ...options, within: (program) => line.within(program) };
      const browsers = {
        Ada: () => scene.chromium(behind),
        Eve: async () => scene.firefox({ ...behind, port: await line.relay() }),
        Ben: () => scene.chromium(options),
      };
      const people = {};
      for (const person of [...who, "Ben"]) people[person] = await scene.join(await browsers[person](), server, "demo", person);
      const all = Object.values(people);
      await Promise.all(all.map((person) => person.receives(...all.filter((other) => other !== person))));
      await play(scene, { line, server, ...people, behind: who.map((person) => people[person]) });
    },
    timeout,
  );
}

/** Of every line of an audience. */
const DELAY = "delay=20ms";

/**
 * Defines a test: everybody of `lines` (their rates) behind a line of their own (`browser`: whose), and Ben (Chromium), whom they watch, beside the server. `windows`: sizes that
 * aren't the usual. Only Ben has camera and microphone on.
 */
export function audience(name, { fps, timeout, lines, browser, windows = {}, camera }, play) {
  scene(
    name,
    async (scene) => {
      const ends = {};
      for (const person of Object.keys(lines)) {
        ends[person] = await Line.start();
        scene.last(() => ends[person].stop());
        // Nobody's path becomes longer while they are there.
        await ends[person].say(`line ${DELAY}`);
      }
      const [line] = Object.values(ends);
      const server = await scene.server("--http", "0.0.0.0:0", ...Object.values(ends).flatMap(({ far }) => ["--advertise", far]));
      const port = new URL(server.origin).port;
      const voice = line.file("voice.wav");
      await writeVoice(voice);
      const film = line.file("camera.y4m");
      await writeCamera(film, { ...camera, fps });
      const people = {};
      const enter = async (person, end) => {
        const origin = `http://${(end ?? line).far}:${port}`;
        const options = { secure: origin, fps, size: windows[person] };
        if (end) options.within = (program) => end.within(program);
        else Object.assign(options, { voice, film, camera });
        const launched = end && browser[person] === "firefox" ? await scene.firefox({ ...options, port: await end.relay() }) : await scene.chromium(options);
        people[person] = await scene.join(launched, { origin }, "demo", person);
      };
      await enter("Ben");
      for (const [person, end] of Object.entries(ends)) {
        await enter(person, end);
        await people[person].tab.click("Camera off");
        await people[person].tab.click("Mute");
        await people[person].sees("Ben");
        await end.say(`line ${DELAY},rate=${lines[person]}`);
      }
      await play(scene, { server, ...people });
    },
    timeout,
  );
}
