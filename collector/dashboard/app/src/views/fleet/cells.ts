/** Cells of the map: their size, and a shape for each state, so that a state is never seen by its colour alone. */

import type { Tone } from "../../state/status.ts";

const MAX_HEIGHT = 168;
const MIN_CELL = 5;
const MAX_CELL = 26;
/** From this size on a cell has round corners and a sign in it; a smaller cell is itself the shape. */
const SIGN_FROM = 11;

export interface Layout {
  cell: number;
  columns: number;
  height: number;
}

export function layOut(count: number, width: number): Layout {
  // Not measured yet.
  if (width === 0) return { cell: MAX_CELL, columns: 1, height: MAX_CELL };
  let cell = MAX_CELL;
  for (; cell > MIN_CELL; cell -= 1) {
    const columns = Math.max(1, Math.floor(width / cell));
    if (Math.ceil(count / columns) * cell <= MAX_HEIGHT) break;
  }
  const columns = Math.max(1, Math.floor(width / cell));
  return { cell, columns, height: Math.max(cell, Math.ceil(count / columns) * cell) };
}

export interface CellColours {
  fill: string;
  sign: string;
}

/** Draws the cell of a state with its corner at the origin. */
export function drawCell(context: CanvasRenderingContext2D, tone: Tone, cell: number, colours: CellColours): void {
  context.fillStyle = colours.fill;
  context.strokeStyle = colours.fill;
  if (cell < SIGN_FROM) drawShape(context, tone, cell, colours.sign);
  else drawSign(context, tone, cell, colours.sign);
}

/** As in the legend: a square is well, a triangle is degraded, a diamond is lost, and a square with a hole has crashed. */
function drawShape(context: CanvasRenderingContext2D, tone: Tone, cell: number, sign: string): void {
  const size = cell - (cell > 7 ? 2 : 1);
  const polygon = (...points: [number, number][]) => {
    context.beginPath();
    for (const [x, y] of points) context.lineTo(x * cell, y * cell);
    context.closePath();
    context.fill();
  };
  switch (tone) {
    case "bad": {
      // It has no space around it: among thousands it is the one that stands out.
      context.fillRect(0, 0, cell, cell);
      const hole = Math.max(1, Math.round(cell / 3));
      context.fillStyle = sign;
      context.fillRect((cell - hole) / 2, (cell - hole) / 2, hole, hole);
      break;
    }
    case "lost":
      polygon([0.5, 0], [1, 0.5], [0.5, 1], [0, 0.5]);
      break;
    case "warn":
      polygon([0.5, 0], [1, 1], [0, 1]);
      break;
    case "busy":
      context.fillRect(0, 0, Math.ceil(size / 2), size);
      break;
    case "off":
      context.lineWidth = 1;
      context.strokeRect(0.5, 0.5, size - 1, size - 1);
      break;
    case "unknown":
      context.fillRect(size / 3, size / 3, size / 3, size / 3);
      break;
    case "ok":
      context.fillRect(0, 0, size, size);
      break;
  }
}

function drawSign(context: CanvasRenderingContext2D, tone: Tone, cell: number, sign: string): void {
  const size = cell - (cell > 12 ? 3 : 2);
  context.beginPath();
  context.roundRect(0, 0, size, size, Math.min(5, size / 4));
  context.fill();
  const r = (5 * cell) / MAX_CELL;
  const middle = size / 2;
  const line = (...points: [number, number][]) => {
    points.forEach(([x, y], index) => {
      if (index === 0) context.moveTo(middle + x * r, middle + y * r);
      else context.lineTo(middle + x * r, middle + y * r);
    });
  };
  context.strokeStyle = sign;
  context.lineWidth = (2.2 * cell) / MAX_CELL;
  context.lineCap = "round";
  context.lineJoin = "round";
  context.beginPath();
  switch (tone) {
    case "bad":
      line([0, -1], [0, 0.2]);
      line([0, 1], [0, 1]);
      break;
    case "lost":
      line([-0.8, -0.8], [0.8, 0.8]);
      line([0.8, -0.8], [-0.8, 0.8]);
      break;
    case "warn":
      line([-1, 0.8], [0, -0.8], [1, 0.8], [-1, 0.8]);
      break;
    case "busy":
      line([-0.9, 0], [-0.9, 0]);
      line([0, 0], [0, 0]);
      line([0.9, 0], [0.9, 0]);
      break;
    case "off":
      line([-0.9, 0], [0.9, 0]);
      break;
    case "unknown":
      line([0, 0], [0, 0]);
      break;
    case "ok":
      return;
  }
  context.stroke();
}
