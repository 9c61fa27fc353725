// Meetings over a line: some people behind it, one not.
import { scene } from "../../browser/lib/scene.mjs";
import { writeCamera } from "./camera.mjs";
import { Line } from "./line.mjs";
import { writeVoice } from "./voice.mjs";

/**
 * Defines a test: Ada (Chromium) and Eve (Firefox) behind a line, Ben (Chromium) beside the server, all in one room; `play` gets the scene, the line and them.
 * The scene also has what `scene` gives it. `camera`: the size of Chromium's cameras, which then show something that takes bits.
 */
export function meeting(name, { fps, timeout, who = ["Ada", "Eve"], camera }, play) {
  scene(
    name,
    async (scene) => {
      const line = await Line.start();
      scene.last(() => line.stop());
      const server = await scene.server("--http", `${line.far}:0`, "--advertise", line.far);
      const voice = line.file("voice.wav");
      await writeVoice(voice);
      const film = camera && line.file("camera.y4m");
      if (film) await writeCamera(film, { ...camera, fps });
      const options = { secure: server.origin, fps, voice, camera, film };
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
