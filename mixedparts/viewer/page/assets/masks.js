// Masks: from COCO compressed run lengths to bits. Run lengths go column by column, background
// first. Bits are row by row, in the smallest box around the mask.

/** Return the run lengths that a COCO string encodes; throw if it is invalid. */
function runLengths(text) {
  const runs = [];
  let at = 0;
  while (at < text.length) {
    let value = 0;
    let weight = 1; // of the next five bits; a product, for shifts are cut to 32 bits
    let code;
    do {
      code = text.charCodeAt(at++) - 48;
      if (!(code >= 0 && code < 64) || weight > 2 ** 50) throw new Error("a broken mask");
      value += (code & 31) * weight;
      weight *= 32;
    } while (code & 32);
    if (code & 16) value -= weight;
    // From the fourth on, a number is the difference to the run two before it.
    if (runs.length > 2) value += runs[runs.length - 2];
    runs.push(value);
  }
  return runs;
}

/** Call `visit(x, top, bottom)` for each piece of a column that belongs to the mask. */
function eachColumnPiece(runs, height, visit) {
  let at = 0;
  runs.forEach((length, number) => {
    const end = at + length;
    if (number % 2) {
      for (let from = at; from < end; ) {
        const x = Math.floor(from / height);
        const to = Math.min(end, (x + 1) * height);
        visit(x, from - x * height, to - x * height);
        from = to;
      }
    }
    at = end;
  });
}

/**
 * Return a mask as {x, y, width, height, bits, area}; `grid` pixels of the image become one.
 * A mask without pixels has a box without pixels.
 */
function maskOf(text, width, height, grid = 1) {
  const runs = runLengths(text);
  const total = runs.reduce((sum, run) => sum + run, 0);
  if (total !== width * height || runs.some((run) => run < 0)) throw new Error("a broken mask");
  let [left, top, right, bottom, area] = [Infinity, Infinity, 0, 0, 0];
  eachColumnPiece(runs, height, (x, from, to) => {
    left = Math.min(left, x);
    right = Math.max(right, x + 1);
    top = Math.min(top, from);
    bottom = Math.max(bottom, to);
    area += to - from;
  });
  if (!area) return { x: 0, y: 0, width: 0, height: 0, bits: new Uint8Array(0), area };
  const [x0, y0] = [Math.floor(left / grid), Math.floor(top / grid)];
  const columns = Math.ceil(right / grid) - x0;
  const rows = Math.ceil(bottom / grid) - y0;
  const bits = new Uint8Array(columns * rows);
  eachColumnPiece(runs, height, (x, from, to) => {
    const column = Math.floor(x / grid) - x0;
    for (let y = Math.floor(from / grid); y * grid < to; y++) bits[(y - y0) * columns + column] = 1;
  });
  return { x: x0, y: y0, width: columns, height: rows, bits, area };
}

/**
 * Return for each pixel of a mask its distance to the background, in steps along rows and columns;
 * 1 at the edge. What is outside of the mask's box is background. Computed once.
 */
function depths(mask) {
  if (mask.depths) return mask.depths;
  const { width, height, bits } = mask;
  const found = new Uint16Array(width * height);
  const at = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? 0 : found[y * width + x]);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (bits[y * width + x]) found[y * width + x] = 1 + Math.min(at(x - 1, y), at(x, y - 1), 65000);
    }
  }
  for (let y = height - 1; y >= 0; y--) {
    for (let x = width - 1; x >= 0; x--) {
      const place = y * width + x;
      if (bits[place]) found[place] = Math.min(found[place], 1 + Math.min(at(x + 1, y), at(x, y + 1)));
    }
  }
  mask.depths = found;
  return found;
}

/** Return the innermost pixel [x, y] of a mask, in pixels of the canvas. */
function innermost(mask) {
  if (!mask.inner) {
    const found = depths(mask);
    let best = 0;
    for (let place = 1; place < found.length; place++) if (found[place] > found[best]) best = place;
    mask.inner = [mask.x + (best % mask.width), mask.y + Math.floor(best / mask.width)];
  }
  return mask.inner;
}

/** Return whether a mask has the pixel (x, y) of the canvas. */
function contains(mask, x, y) {
  const [column, row] = [x - mask.x, y - mask.y];
  const inside = column >= 0 && row >= 0 && column < mask.width && row < mask.height;
  return inside && mask.bits[row * mask.width + column] === 1;
}
