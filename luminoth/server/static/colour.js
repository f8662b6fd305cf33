// The colours of classes: those that `lumi predict` draws with (luminoth/inference/draw.py), so that a class looks the
// same on this page, in every drawn picture and in every video.

// 20 bright colours, each the one farthest from those before it in the OKLab colour space.
const PALETTE = [
  "ff3c3c", "00ff00", "0f87ff", "e100ff", "ffd25a", "1effff", "ffa5f0", "00a55a", "ff0fa5", "c37800",
  "a569e1", "a5ff96", "4bc3ff", "d26996", "a5b400", "ff69f0", "ff8778", "00c300", "00e1a5", "e1f000",
];
const SEED = 9682;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let code = byte;
  for (let bit = 0; bit < 8; bit += 1) code = code & 1 ? (code >>> 1) ^ 0xedb88320 : code >>> 1;
  return code;
});

/** CRC-32 of a text's UTF-8 bytes, going on from `start`: zlib's. */
export function crc32(text, start = 0) {
  let code = ~start;
  for (const byte of new TextEncoder().encode(text)) code = CRC_TABLE[(code ^ byte) & 255] ^ (code >>> 8);
  return ~code >>> 0;
}

/** "#ff3c3c" */
export const classColour = (name) => `#${PALETTE[crc32(name, SEED) % PALETTE.length]}`;

/** Black or white, whichever contrasts more with the colour (WCAG 2.1, relative luminance). */
export function textColour(background) {
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const share = parseInt(background.slice(at, at + 2), 16) / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000000" : "#ffffff";
}
