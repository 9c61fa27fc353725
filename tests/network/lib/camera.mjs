// A camera's picture that an encoder needs all of its bits for: the fake ones of browsers are so plain that they fit any line.
import { open } from "node:fs/promises";

/** Frames until it begins again. */
const FRAMES = 60;
/** Of the noise, in steps of 256: that of a camera in a dim room. */
const NOISE = 14;

/** Writes a Y4M file, `fps` frames a second: shapes that move, under noise that is the same each time. */
export async function writeCamera(path, { width, height, fps }) {
  const file = await open(path, "w");
  let seed = 1;
  try {
    await file.write(`YUV4MPEG2 W${width} H${height} F${fps}:1 Ip A1:1 C420jpeg\n`);
    const luma = Buffer.alloc(width * height);
    const chroma = Buffer.alloc((width * height) / 2, 128);
    for (let frame = 0; frame < FRAMES; frame++) {
      const turn = (2 * Math.PI * frame) / FRAMES;
      for (let y = 0, at = 0; y < height; y++) {
        const row = Math.sin(y / 23 + turn) * 40;
        for (let x = 0; x < width; x++, at++) {
          // xorshift32
          seed ^= seed << 13;
          seed ^= seed >>> 17;
          seed ^= seed << 5;
          luma[at] = 128 + row + Math.sin(x / 31 - turn) * 40 + ((seed & 255) / 255 - 0.5) * 2 * NOISE;
        }
      }
      await file.write("FRAME\n");
      await file.write(luma);
      await file.write(chroma);
    }
  } finally {
    await file.close();
  }
}
