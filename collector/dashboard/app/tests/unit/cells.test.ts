import { expect, test } from "vitest";
import { TONES } from "../../src/state/status.ts";
import { drawCell, layOut } from "../../src/views/fleet/cells.ts";

/** What is drawn, without its colours. */
function shapeOf(tone: (typeof TONES)[number], cell: number): string {
  const calls: string[] = [];
  const context = new Proxy(
    {},
    {
      get:
        (_, name) =>
        (...values: number[]) =>
          void calls.push(`${String(name)} ${values.join()}`),
      set: () => true,
    },
  ) as CanvasRenderingContext2D;
  drawCell(context, tone, cell, { fill: "red", sign: "white" });
  return calls.join("; ");
}

test("each state has a shape of its own at each size of a cell", () => {
  for (let cell = 5; cell <= 26; cell += 1) {
    const shapes = TONES.map((tone) => shapeOf(tone, cell));
    expect(new Set(shapes).size, `cells of ${cell} pixels`).toBe(TONES.length);
  }
});

test("cells shrink with their number, and stay large enough to be pointed at", () => {
  expect(layOut(20, 1_200).cell).toBe(26);
  const many = layOut(10_000, 1_200);
  expect(many.cell).toBe(5);
  expect(many.columns * (many.height / many.cell)).toBeGreaterThanOrEqual(10_000);
});
