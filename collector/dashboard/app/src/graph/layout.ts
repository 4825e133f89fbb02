/** Where cards and edges are. dagre is fetched when the first graph is shown. */

import type { Shape } from "./model.ts";

export const CARD = { width: 180, height: 84 } as const;

export interface Placed {
  width: number;
  height: number;
  cards: ReadonlyMap<string, { x: number; y: number }>;
  /** Paths of SVG by the key of the edge, and the middle of each for its number. */
  edges: ReadonlyMap<string, { path: string; middle: { x: number; y: number }; end: { x: number; y: number } }>;
}

interface Point {
  x: number;
  y: number;
}

export async function layOut({ components, edges }: Shape, isVertical: boolean): Promise<Placed> {
  if (edges.length === 0) return inColumns(components, isVertical);
  const { Graph, layout } = await import("@dagrejs/dagre");
  const graph = new Graph({ multigraph: true });
  graph.setGraph({
    rankdir: isVertical ? "TB" : "LR",
    nodesep: 26,
    ranksep: isVertical ? 40 : 30,
    marginx: 6,
    marginy: 6,
  });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const { componentId } of components) graph.setNode(componentId, { ...CARD });
  for (const { from, to, key } of edges) {
    if (graph.hasNode(from) && graph.hasNode(to))
      graph.setEdge(from, to, { width: 62, height: 20, labelpos: "c" }, key);
  }
  layout(graph);
  const cards = new Map<string, Point>();
  for (const { componentId } of components) {
    const { x, y } = graph.node(componentId) as Point;
    cards.set(componentId, { x: x - CARD.width / 2, y: y - CARD.height / 2 });
  }
  const placed = new Map<string, { path: string; middle: Point; end: Point }>();
  for (const { from, to, key } of edges) {
    if (!graph.hasNode(from) || !graph.hasNode(to)) continue;
    const { points, x, y } = graph.edge(from, to, key) as { points: Point[]; x?: number; y?: number };
    const end = points.at(-1) ?? { x: 0, y: 0 };
    const middle = x === undefined || y === undefined ? (points[Math.floor(points.length / 2)] ?? end) : { x, y };
    placed.set(key, { path: smooth(points, isVertical), middle, end });
  }
  const { width = 0, height = 0 } = graph.graph() as { width?: number; height?: number };
  return { width, height, cards, edges: placed };
}

/** Between two points the line leaves and arrives in the direction of the flow. */
function smooth(points: readonly Point[], isVertical: boolean): string {
  const [first, ...rest] = points;
  if (first === undefined) return "";
  let path = `M${first.x} ${first.y}`;
  let before = first;
  for (const point of rest) {
    const half = isVertical ? (point.y - before.y) / 2 : (point.x - before.x) / 2;
    path += isVertical
      ? `C${before.x} ${before.y + half} ${point.x} ${point.y - half} ${point.x} ${point.y}`
      : `C${before.x + half} ${before.y} ${point.x - half} ${point.y} ${point.x} ${point.y}`;
    before = point;
  }
  return path;
}

/** Without edges: sources, transforms and sinks beside each other. */
function inColumns(components: Shape["components"], isVertical: boolean): Placed {
  const columns = ["source", "transform", "sink"];
  const cards = new Map<string, Point>();
  const counts = [0, 0, 0];
  for (const { componentId, kind } of components) {
    const column = Math.max(0, columns.indexOf(kind === "unknown" ? "transform" : kind));
    const row = counts[column] ?? 0;
    counts[column] = row + 1;
    cards.set(
      componentId,
      isVertical
        ? { x: 6, y: 6 + cards.size * (CARD.height + 16) }
        : { x: 6 + column * (CARD.width + 90), y: 6 + row * (CARD.height + 20) },
    );
  }
  const rows = isVertical ? components.length : Math.max(...counts, 1);
  return {
    width: isVertical ? CARD.width + 12 : 3 * CARD.width + 192,
    height: rows * (CARD.height + 20) + 12,
    cards,
    edges: new Map(),
  };
}
