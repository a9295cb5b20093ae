// Draw masks on a canvas, pixel by pixel: a pixel outside of every mask stays transparent.

const MOST_PIXELS = 24e6; // of a canvas; a larger image is drawn on a coarser grid

/** Return how many pixels of an image, along each side, become one of its canvas. */
function gridOf(image) {
  return Math.max(1, Math.ceil(Math.sqrt((image.width * image.height) / MOST_PIXELS)));
}

/** Return [red, green, blue] of `#RRGGBB`. */
function channels(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

// How much of a fill covers the pixel, by its pattern: a second sign beside the colour.
const FILLS = {
  plain: () => 0.55,
  faint: () => 0.2,
  stripes: (x, y, width) => (Math.floor((x + y) / width) % 2 ? 0.75 : 0.3),
  checks: (x, y, width) => ((Math.floor(x / width) + Math.floor(y / width)) % 2 ? 0.65 : 0.4),
};

/**
 * Draw layers over each other on a canvas.
 *
 * A layer is {mask, colour, fill, outline, dashed, strength}: `fill` is a name in FILLS, `outline`
 * its width in pixels of the canvas (0 for none), `strength` from 0 to 1 weakens everything.
 * `pattern` is the width of stripes and dashes.
 */
function paint(canvas, layers, pattern) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const target = context.createImageData(canvas.width, canvas.height);
  for (const layer of layers) paintLayer(target, layer, pattern);
  context.putImageData(target, 0, 0);
}

function paintLayer(target, layer, pattern) {
  const { mask, outline, dashed, strength } = layer;
  const colour = channels(layer.colour);
  const fill = FILLS[layer.fill];
  const found = outline ? depths(mask) : null;
  const casing = Math.floor(outline / 3); // a white ring around the coloured one
  for (let row = 0, place = 0; row < mask.height; row++) {
    const y = mask.y + row;
    for (let column = 0; column < mask.width; column++, place++) {
      if (!mask.bits[place]) continue;
      const x = mask.x + column;
      const depth = found ? found[place] : Infinity;
      if (depth > outline) {
        blend(target, x, y, colour, fill(x, y, pattern) * strength);
      } else {
        const gap = dashed && Math.floor((x + y) / (2 * pattern)) % 2;
        blend(target, x, y, depth <= casing || gap ? [255, 255, 255] : colour, strength);
      }
    }
  }
}

/** Lay a colour over a pixel. A pixel of a mask never becomes wholly transparent. */
function blend(target, x, y, colour, alpha) {
  const at = 4 * (y * target.width + x);
  const { data } = target;
  const below = (data[at + 3] / 255) * (1 - alpha);
  const total = alpha + below;
  for (let n = 0; n < 3; n++) data[at + n] = (colour[n] * alpha + data[at + n] * below) / total;
  data[at + 3] = Math.max(1, 255 * total);
}
