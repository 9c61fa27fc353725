// A synthetic voice: encoders treat it as speech, which a fake microphone's beeps are not (Opus corrects errors in-band only where somebody speaks).
import { writeFile } from "node:fs/promises";

const RATE = 48_000;
/** Seconds until it begins anew. */
const LENGTH = 12;
/** Resonances of a mouth, in Hz, for some vowels. */
const VOWELS = [
  [730, 1090, 2440],
  [270, 2290, 3010],
  [300, 870, 2240],
  [530, 1840, 2480],
  [570, 840, 2410],
];
/** How wide each resonance is. */
const WIDTHS = [80, 100, 140];
/** Seconds of a syllable, and of a pause after each fifth. */
const SYLLABLE = 0.22;
const PAUSE = 0.18;

/** Writes the voice as a WAV file: syllables of pulses through resonances, each begun by a little noise. */
export function writeVoice(path) {
  const samples = new Float64Array(RATE * LENGTH);
  let seed = 1;
  const noise = () => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    return seed / 2 ** 31 - 1;
  };
  let phase = 0;
  for (let start = 0, syllable = 0; start < samples.length; syllable += 1) {
    const length = Math.round(SYLLABLE * RATE);
    const formants = VOWELS[(syllable * 2 + Math.floor(syllable / 5)) % VOWELS.length];
    const filters = formants.map((frequency, index) => resonator(frequency, WIDTHS[index]));
    const pitch = 105 + 25 * Math.sin(syllable * 1.3);
    for (let index = 0; index < length && start + index < samples.length; index += 1) {
      const part = index / length;
      phase += (pitch * (1 - 0.1 * part)) / RATE;
      const pulse = phase >= 1 ? 1 : 0;
      phase %= 1;
      const source = pulse * 40 + noise() * (part < 0.15 ? 2 : 0.05);
      const loudness = Math.min(1, part * 8, (1 - part) * 4);
      samples[start + index] = loudness * filters.reduce((sum, filter, formant) => sum + filter(source) / (formant + 1), 0);
    }
    start += length + (syllable % 5 === 4 ? Math.round(PAUSE * RATE) : 0);
  }
  const peak = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
  const file = Buffer.alloc(44 + samples.length * 2);
  file.write("RIFF", 0);
  file.writeUInt32LE(file.length - 8, 4);
  file.write("WAVEfmt ", 8);
  // 16 bytes of format: PCM, one channel.
  for (const [at, value] of [[16, 16], [24, RATE], [28, RATE * 2]]) file.writeUInt32LE(value, at);
  for (const [at, value] of [[20, 1], [22, 1], [32, 2], [34, 16]]) file.writeUInt16LE(value, at);
  file.write("data", 36);
  file.writeUInt32LE(samples.length * 2, 40);
  samples.forEach((sample, index) => file.writeInt16LE(Math.round((sample / peak) * 20_000), 44 + index * 2));
  return writeFile(path, file);
}

/** A filter with two poles. */
function resonator(frequency, width) {
  const radius = Math.exp((-Math.PI * width) / RATE);
  const [first, second] = [2 * radius * Math.cos((2 * Math.PI * frequency) / RATE), -radius * radius];
  let [one, two] = [0, 0];
  return (input) => {
    [one, two] = [(1 - radius) * input + first * one + second * two, one];
    return one;
  };
}
