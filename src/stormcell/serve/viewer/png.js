// Reads indexed PNG pictures to levels. A canvas could change a level by its colour management; this cannot.

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];

/** Read a picture: its size, a level for each pixel, and the colours of the 256 levels as pixels of a canvas. */
export async function decode(buffer) {
  const bytes = new Uint8Array(buffer);
  const view = new DataView(buffer);
  if (!SIGNATURE.every((byte, index) => bytes[index] === byte)) throw new Error("The picture is not a PNG file.");
  const parts = { IDAT: [] };
  for (let at = 8; at < bytes.length; ) {
    const size = view.getUint32(at);
    const name = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const content = bytes.subarray(at + 8, at + 8 + size);
    if (name === "IDAT") parts.IDAT.push(content);
    else parts[name] = content;
    at += size + 12;
  }
  const width = view.getUint32(16);
  const height = view.getUint32(20);
  const [depth, kind, , , interlaced] = bytes.subarray(24, 29);
  if (depth !== 8 || kind !== 3 || interlaced) throw new Error("The picture is not a plain PNG of 256 levels.");
  const levels = unfiltered(await inflated(parts.IDAT), width, height);
  return { width, height, levels, colours: colours(parts.PLTE, parts.tRNS ?? []) };
}

async function inflated(chunks) {
  const stream = new Blob(chunks).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Undo the filters of the PNG specification, section 9, for one byte per pixel. */
function unfiltered(data, width, height) {
  const levels = new Uint8Array(width * height);
  for (let row = 0; row < height; row++) {
    const filter = data[row * (width + 1)];
    const line = data.subarray(row * (width + 1) + 1, (row + 1) * (width + 1));
    const start = row * width;
    if (filter === 0) {
      levels.set(line, start);
      continue;
    }
    for (let column = 0; column < width; column++) {
      const left = column ? levels[start + column - 1] : 0;
      const above = row ? levels[start + column - width] : 0;
      const corner = row && column ? levels[start + column - width - 1] : 0;
      levels[start + column] = line[column] + predicted(filter, left, above, corner);
    }
  }
  return levels;
}

function predicted(filter, left, above, corner) {
  if (filter === 1) return left;
  if (filter === 2) return above;
  if (filter === 3) return (left + above) >> 1;
  const estimate = left + above - corner;
  const distances = [left, above, corner].map((value) => Math.abs(estimate - value));
  if (distances[0] <= distances[1] && distances[0] <= distances[2]) return left;
  return distances[1] <= distances[2] ? above : corner;
}

function colours(palette, alpha) {
  const bytes = new Uint8Array(4 * 256);
  for (let level = 0; level < 256; level++) {
    bytes.set(palette.subarray(3 * level, 3 * level + 3), 4 * level);
    bytes[4 * level + 3] = alpha[level] ?? 255;
  }
  return new Uint32Array(bytes.buffer);
}
