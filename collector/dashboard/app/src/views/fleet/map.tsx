/**
 * Every node as a cell of one canvas, in the order of names, so that a cell stays where a person expects it. The table below
 * has the same for screen readers.
 */

import { useEffect, useRef, useState } from "preact/hooks";
import { plural } from "../../format/numbers.ts";
import type { NodeSummary } from "../../state/nodes.ts";
import { navigate } from "../../state/route.ts";
import { type Tone, toneOf, wordOf } from "../../state/status.ts";
import { colour, isDark } from "../../state/theme.ts";
import { drawCell, type Layout, layOut } from "./cells.ts";

export function FleetMap({ nodes }: { nodes: readonly NodeSummary[] }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const frame = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  const [hovered, setHovered] = useState<{ index: number; x: number; y: number } | undefined>(undefined);
  const drawn = useRef<Drawn | undefined>(undefined);
  const layout = layOut(nodes.length, width);

  useEffect(() => {
    const element = frame.current;
    if (element === null) return;
    const observer = new ResizeObserver(([entry]) => setWidth(Math.floor(entry?.contentRect.width ?? 0)));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  useEffect(() => {
    if (canvas.current !== null && width > 0) drawn.current = draw(canvas.current, nodes, layout, width, drawn.current);
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
            {node.worst !== null &&
              node.tone !== toneOf(node.status) &&
              `, a pipeline: ${wordOf(node.worst).toLowerCase()}`}
          </span>
        </div>
      )}
    </div>
  );
}

/** What a canvas shows, so that only cells that have changed are drawn again. */
interface Drawn {
  key: string;
  tones: readonly Tone[];
}

function draw(
  canvas: HTMLCanvasElement,
  nodes: readonly NodeSummary[],
  { cell, columns, height }: Layout,
  width: number,
  before: Drawn | undefined,
): Drawn | undefined {
  const context = canvas.getContext("2d");
  if (context === null) return undefined;
  const scale = window.devicePixelRatio;
  const key = `${cell} ${columns} ${width} ${height} ${scale} ${isDark.value} ${nodes.length}`;
  const tones = nodes.map(({ tone }) => tone);
  const known = before?.key === key ? before.tones : undefined;
  if (known === undefined) {
    canvas.width = width * scale;
    canvas.height = height * scale;
    context.scale(scale, scale);
  }
  const pictures = new Map<Tone, OffscreenCanvas>();
  tones.forEach((tone, index) => {
    if (known?.[index] === tone) return;
    const picture = pictures.get(tone) ?? pictureOf(tone, cell, scale);
    pictures.set(tone, picture);
    const x = (index % columns) * cell;
    const y = Math.floor(index / columns) * cell;
    if (known !== undefined) context.clearRect(x, y, cell, cell);
    context.drawImage(picture, x, y, cell, cell);
  });
  return { key, tones };
}

/** The cell of a state, drawn once and copied to each place. */
function pictureOf(tone: Tone, cell: number, scale: number): OffscreenCanvas {
  const picture = new OffscreenCanvas(Math.ceil(cell * scale), Math.ceil(cell * scale));
  const context = picture.getContext("2d");
  context?.scale(scale, scale);
  if (context !== null)
    drawCell(context as unknown as CanvasRenderingContext2D, tone, cell, {
      fill: colour(`map-${tone}`),
      sign: colour("map-sign"),
    });
  return picture;
}
