/** The components as cards and what flows between them as lines: a number, a width, and the receiver's buffer. */

import type { GraphComponent } from "@systole/client";
import { useEffect, useRef, useState } from "preact/hooks";
import { milliseconds, percent, rate, short } from "../format/numbers.ts";
import { Sparkline } from "../ui/sparkline.tsx";
import { CARD, layOut, type Placed } from "./layout.ts";
import { edgeRate, edgeWidth, type Flow, type Frame, pathThrough, rateOf, type Shape } from "./model.ts";

export interface GraphProps {
  shape: Shape;
  frame: Frame;
  /** The receiver's buffer of a component, 0 to 1. */
  fills: ReadonlyMap<string, number>;
  /** Rates of the last hour by component. */
  history: ReadonlyMap<string, (number | null)[]>;
  selected: string | undefined;
  onSelect: (id: string | undefined) => void;
}

const NARROW = 720;
/** Below it the text is too small. */
const MIN_SCALE = 0.6;

export function FlowGraph({ shape, frame, fills, history, selected, onSelect }: GraphProps) {
  const [placed, setPlaced] = useState<Placed | undefined>(undefined);
  const frameElement = useRef<HTMLElement>(null);
  const [room, setRoom] = useState(window.innerWidth);
  const isVertical = window.innerWidth < NARROW;
  const key = JSON.stringify([
    shape.components.map(({ componentId }) => componentId),
    shape.edges.map((edge) => edge.key),
  ]);
  useEffect(() => {
    let isCurrent = true;
    void layOut(shape, isVertical).then((result) => isCurrent && setPlaced(result));
    return () => {
      isCurrent = false;
    };
  }, [key, isVertical]);
  useEffect(() => {
    const element = frameElement.current;
    if (element === null) return;
    const observer = new ResizeObserver(([entry]) => setRoom(entry?.contentRect.width ?? 0));
    observer.observe(element);
    return () => observer.disconnect();
  }, [placed === undefined]);
  if (placed === undefined) return <div class="graph" style={{ minHeight: "240px" }} />;
  // A graph that is a little too wide shrinks; a wider one scrolls.
  const scale = Math.max(MIN_SCALE, Math.min(1, room / placed.width));
  const path = selected === undefined ? undefined : pathThrough(selected, shape.edges);
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard
    <section ref={frameElement} class="graph" aria-label="Components of the pipeline" tabIndex={0}>
      <div class="graph-room" style={{ width: `${placed.width * scale}px`, height: `${placed.height * scale}px` }}>
        <div
          class="graph-plane"
          style={{ width: `${placed.width}px`, height: `${placed.height}px`, transform: `scale(${scale})` }}
        >
          <svg width={placed.width} height={placed.height} aria-hidden="true">
            {shape.edges.map((edge) => {
              const place = placed.edges.get(edge.key);
              if (place === undefined) return null;
              const value = edgeRate(edge, shape.edges, frame);
              const isOnPath = path?.edges.has(edge.key);
              const className = `edge${isOnPath === true ? " is-on" : path === undefined ? "" : " is-off"}${value === 0 ? " is-idle" : ""}`;
              return (
                <g key={edge.key} class={className}>
                  <path class="edge-line" d={place.path} style={{ strokeWidth: edgeWidth(value) }} />
                  {isOnPath === true && <path class="edge-run" d={place.path} />}
                </g>
              );
            })}
          </svg>
          {shape.edges.map((edge) => {
            const place = placed.edges.get(edge.key);
            if (place === undefined) return null;
            const value = edgeRate(edge, shape.edges, frame);
            return (
              <span
                key={edge.key}
                class={path === undefined || path.edges.has(edge.key) ? "edge-label" : "edge-label is-off"}
                style={{ left: `${place.middle.x}px`, top: `${place.middle.y}px` }}
              >
                <span class="visually-hidden">
                  {edge.from} to {edge.to}:
                </span>
                {edge.output !== undefined && <span class="edge-output">{edge.output}</span>}
                <span title={value === null ? "Its component reports only the sum of its outputs" : undefined}>
                  {value === null ? "?" : `${short(value)}/s`}
                </span>
              </span>
            );
          })}
          {shape.components.map((component) => {
            const at = placed.cards.get(component.componentId);
            if (at === undefined) return null;
            return (
              <Card
                key={component.componentId}
                component={component}
                flow={frame.get(component.componentId)}
                fill={fills.get(component.componentId)}
                history={history.get(component.componentId) ?? []}
                at={at}
                isVertical={isVertical}
                state={path === undefined ? "" : path.components.has(component.componentId) ? "is-on" : "is-off"}
                isSelected={selected === component.componentId}
                onSelect={onSelect}
              />
            );
          })}
        </div>
      </div>
    </section>
  );
}

interface CardProps {
  component: GraphComponent;
  flow: Flow | undefined;
  fill: number | undefined;
  history: (number | null)[];
  at: { x: number; y: number };
  isVertical: boolean;
  state: string;
  isSelected: boolean;
  onSelect: (id: string | undefined) => void;
}

function Card({ component, flow, fill, history, at, isVertical, state, isSelected, onSelect }: CardProps) {
  const { componentId, kind, componentType } = component;
  const hasErrors = (flow?.errors ?? 0) > 0;
  const hasDiscards = (flow?.discarded ?? 0) > 0;
  return (
    <>
      {fill !== undefined && <Buffer fill={fill} at={at} isVertical={isVertical} isOff={state === "is-off"} />}
      <button
        type="button"
        class={`component kind-${kind} ${state}`}
        aria-pressed={isSelected}
        style={{ left: `${at.x}px`, top: `${at.y}px`, width: `${CARD.width}px`, height: `${CARD.height}px` }}
        onClick={() => onSelect(isSelected ? undefined : componentId)}
      >
        <span class="component-head">
          <span class="component-name" title={componentId}>
            {componentId}
          </span>
          <span class="component-kind">{kind}</span>
        </span>
        <span class="component-type faint">
          {componentType ?? "–"}
          {flow?.latencyMs != null && ` · ${milliseconds(flow.latencyMs)}`}
        </span>
        <span class="component-foot">
          <strong>{rate(rateOf(kind, flow))}</strong>
          {hasErrors && (
            <span class="badge is-bad" title="Errors a second">
              {short(flow?.errors)} err
            </span>
          )}
          {hasDiscards && (
            <span class="badge is-warn" title="Discarded events a second">
              {short(flow?.discarded)} drop
            </span>
          )}
          {!hasErrors && !hasDiscards && <Sparkline values={history} width={72} height={22} tone={`kind-${kind}`} />}
        </span>
      </button>
    </>
  );
}

function Buffer({
  fill,
  at,
  isVertical,
  isOff,
}: {
  fill: number;
  at: { x: number; y: number };
  isVertical: boolean;
  isOff: boolean;
}) {
  const tone = fill > 0.9 ? "bad" : fill > 0.7 ? "warn" : "ok";
  const style = isVertical
    ? { left: `${at.x + CARD.width / 2 - 27}px`, top: `${at.y - 13}px` }
    : { left: `${at.x - 14}px`, top: `${at.y + CARD.height / 2 - 27}px` };
  return (
    <span
      class={`buffer${isVertical ? " is-flat" : ""}${isOff ? " is-off" : ""}`}
      style={style}
      title={`Buffer: ${percent(fill)} full`}
    >
      <span
        class={`fill-${tone}`}
        style={isVertical ? { width: `${Math.max(3, fill * 100)}%` } : { height: `${Math.max(3, fill * 100)}%` }}
      />
      <span class="visually-hidden">Its buffer is {percent(fill)} full.</span>
    </span>
  );
}
