/**
 * Every node as a cell of one canvas, in the order of names, so that a cell stays where a person expects it. The table below
 * has the same for screen readers.
 */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { plural } from "../../format/numbers.ts";
import { navigate } from "../../state/route.ts";
import { TONES, type Tone, wordOf } from "../../state/status.ts";
import { colour, isDark } from "../../state/theme.ts";
import type { NodeRow } from "./model.ts";

const MAX_HEIGHT = 168;
const MIN_CELL = 5;
const MAX_CELL = 26;
/** Above this size a cell shows its state by a shape too. */
const SHAPE_FROM = 11;

function layOut(count: number, width: number): { cell: number; columns: number; height: number } {
  // Not measured yet.
  if (width === 0) return { cell: MAX_CELL, columns: 1, height: MAX_HEIGHT };
  let cell = MAX_CELL;
  for (; cell > MIN_CELL; cell -= 1) {
    const columns = Math.max(1, Math.floor(width / cell));
    if (Math.ceil(count / columns) * cell <= MAX_HEIGHT) break;
  }
  const columns = Math.max(1, Math.floor(width / cell));
  return { cell, columns, height: Math.max(cell, Math.ceil(count / columns) * cell) };
}

export function FleetMap({ rows }: { rows: readonly NodeRow[] }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const frame = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  const [hovered, setHovered] = useState<{ index: number; x: number; y: number } | undefined>(undefined);
  const nodes = useMemo(() => [...rows].sort((one, other) => one.place - other.place), [rows]);
  const layout = layOut(nodes.length, width);

  useEffect(() => {
    const element = frame.current;
    if (element === null) return;
    const observer = new ResizeObserver(([entry]) => setWidth(Math.floor(entry?.contentRect.width ?? 0)));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  useEffect(() => {
    if (canvas.current !== null && width > 0) draw(canvas.current, nodes, layout, width);
  }, [nodes, width, isDark.value]);

  const at = (event: MouseEvent): number | undefined => {
    const column = Math.floor(event.offsetX / layout.cell);
    const index = Math.floor(event.offsetY / layout.cell) * layout.columns + column;
    return column < layout.columns && index < nodes.length ? index : undefined;
  };
  const node = hovered === undefined ? undefined : nodes[hovered.index];
  const troubled = nodes.filter(({ tone }) => tone === "bad" || tone === "lost" || tone === "warn").length;
  return (
    <div class="map" ref={frame}>
      <canvas
        ref={canvas}
        role="img"
        aria-label={`Map of ${plural(nodes.length, "node")}, ${troubled} of them in trouble`}
        style={{
          width: `${width}px`,
          height: `${layout.height}px`,
          cursor: hovered === undefined ? "default" : "pointer",
        }}
        onMouseMove={(event) => {
          const index = at(event);
          setHovered(index === undefined ? undefined : { index, x: event.offsetX, y: event.offsetY });
        }}
        onMouseLeave={() => setHovered(undefined)}
        onClick={(event) => {
          const index = at(event);
          const chosen = index === undefined ? undefined : nodes[index];
          if (chosen !== undefined) navigate(["nodes", chosen.id]);
        }}
      />
      {hovered !== undefined && node !== undefined && (
        <div class="tooltip" style={{ left: `${Math.min(hovered.x + 12, width - 200)}px`, top: `${hovered.y + 16}px` }}>
          <strong>{node.name}</strong>
          <span>
            {wordOf(node.status)}
            {node.note === "" ? "" : `, ${node.note}`}
          </span>
        </div>
      )}
    </div>
  );
}

function draw(
  canvas: HTMLCanvasElement,
  nodes: readonly NodeRow[],
  { cell, columns, height }: ReturnType<typeof layOut>,
  width: number,
): void {
  const scale = window.devicePixelRatio;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const context = canvas.getContext("2d");
  if (context === null) return;
  context.scale(scale, scale);
  const colours = new Map(TONES.map((tone) => [tone, colour(`map-${tone}`)]));
  const markColour = colour("map-mark");
  const space = cell > 12 ? 3 : cell > 7 ? 2 : 1;
  nodes.forEach(({ tone }, index) => {
    const x = (index % columns) * cell;
    const y = Math.floor(index / columns) * cell;
    context.fillStyle = colours.get(tone) ?? "gray";
    // Ten thousand round corners take long, and no one sees them.
    if (cell < SHAPE_FROM) {
      context.fillRect(x, y, cell - space, cell - space);
      return;
    }
    context.beginPath();
    context.roundRect(x, y, cell - space, cell - space, 4);
    context.fill();
    mark(context, markColour, tone, x + (cell - space) / 2, y + (cell - space) / 2, cell / 26);
  });
}

/** What distinguishes a cell without its colour. */
function mark(
  context: CanvasRenderingContext2D,
  stroke: string,
  tone: Tone,
  x: number,
  y: number,
  scale: number,
): void {
  context.strokeStyle = stroke;
  context.lineWidth = 2.2 * scale;
  context.lineCap = "round";
  const r = 5 * scale;
  context.beginPath();
  if (tone === "bad") {
    context.moveTo(x, y - r);
    context.lineTo(x, y + r * 0.2);
    context.moveTo(x, y + r);
    context.lineTo(x, y + r);
  } else if (tone === "lost") {
    context.moveTo(x - r * 0.8, y - r * 0.8);
    context.lineTo(x + r * 0.8, y + r * 0.8);
    context.moveTo(x + r * 0.8, y - r * 0.8);
    context.lineTo(x - r * 0.8, y + r * 0.8);
  } else if (tone === "warn") {
    context.moveTo(x - r, y + r * 0.8);
    context.lineTo(x, y - r * 0.8);
    context.lineTo(x + r, y + r * 0.8);
    context.closePath();
  } else return;
  context.stroke();
}
