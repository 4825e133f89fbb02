/** Events of a component as they pass, of this browser only. */

import { EventStreamParser } from "@systole/client";
import { useEffect, useRef, useState } from "preact/hooks";
import { type CaughtEvent, pipelinePath, readGraph } from "../../api/control.ts";
import { address, CLIENT, describe, isAbort, sessionFetch } from "../../api/http.ts";
import { plural } from "../../format/numbers.ts";
import { preciseTime } from "../../format/times.ts";
import { componentsOf, liveVersion } from "../../state/live.ts";
import { canOperate, environment } from "../../state/session.ts";
import { download } from "../../ui/copy.tsx";
import { Empty } from "../../ui/empty.tsx";
import { useQuery } from "../../ui/use_query.ts";
import type { TabProps } from "./pipeline.tsx";

/** What a person can look through. */
const KEPT = 200;

export function TapTab({ pipeline, node }: TabProps) {
  const [chosenNode, setNode] = useState(node ?? pipeline.on[0]?.nodeId ?? "");
  const [component, setComponent] = useState("");
  const [events, setEvents] = useState<readonly (CaughtEvent & { key: number })[]>([]);
  const [state, setState] = useState<{ isOpen: boolean; text: string }>({ isOpen: false, text: "" });
  const stop = useRef<AbortController | undefined>(undefined);
  const lastKey = useRef(0);
  useEffect(() => () => stop.current?.abort(), []);
  useEffect(() => {
    if (node !== undefined) setNode(node);
  }, [node]);
  void liveVersion.value;
  const graph = useQuery(`graph ${pipeline.id}`, (signal) =>
    readGraph(pipeline.id, { environment: environment.value }, signal),
  );
  if (!canOperate.value) {
    return (
      <div class="card">
        <Empty title="A tap needs an operator's token" command="systole-collector token create --kind operator">
          Events can contain what a viewer must not read.
        </Empty>
      </div>
    );
  }
  // A graph is known before the next report comes; without one, the reports name the components.
  const reported = componentsOf(chosenNode, pipeline.id);
  const known = graph.data !== undefined && graph.data.components.length > 0 ? graph.data.components : reported;
  const components = known.filter(({ kind }) => kind !== "sink");
  const target = component || components[0]?.componentId || "";

  const begin = async () => {
    stop.current?.abort();
    const controller = new AbortController();
    stop.current = controller;
    setEvents([]);
    setState({ isOpen: true, text: "Waiting for the agent …" });
    const parser = new EventStreamParser({
      onEvent({ type, data }) {
        const message = JSON.parse(data) as CaughtEvent & { dropped?: number; reason?: string };
        if (type === "tap_event") {
          lastKey.current += 1;
          const key = lastKey.current;
          setEvents((before) => [...before.slice(-KEPT + 1), { ...message, key }]);
          setState({ isOpen: true, text: "" });
        } else if (type === "tap_dropped")
          setState({ isOpen: true, text: `${plural(message.dropped ?? 0, "event")} were too many and are not shown.` });
        else if (type === "tap_stopped") setState({ isOpen: false, text: `The tap has ended: ${message.reason}.` });
      },
    });
    try {
      const response = await sessionFetch(
        address(pipelinePath(pipeline.id, "/tap"), { node: chosenNode, component: target }),
        {
          headers: { Accept: "text/event-stream", "X-Systole-Client": CLIENT },
          signal: controller.signal,
        },
      );
      if (!response.ok || response.body === null) {
        const problem = (await response.json().catch(() => ({}))) as { detail?: string };
        throw new Error(problem.detail ?? `HTTP ${response.status}`);
      }
      for await (const bytes of readBody(response.body)) parser.push(bytes);
      setState((before) => ({ isOpen: false, text: before.text || "The tap has ended." }));
    } catch (error) {
      if (!isAbort(error)) setState({ isOpen: false, text: describe(error) });
    }
  };
  const end = () => {
    stop.current?.abort();
    setState({ isOpen: false, text: "" });
  };
  return (
    <>
      <div class="toolbar">
        <select
          aria-label="Node of the tap"
          value={chosenNode}
          disabled={state.isOpen}
          onChange={({ currentTarget }) => setNode(currentTarget.value)}
        >
          {pipeline.on.map(({ nodeId, nodeName }) => (
            <option key={nodeId} value={nodeId}>
              {nodeName}
            </option>
          ))}
        </select>
        <select
          aria-label="Component of the tap"
          value={target}
          disabled={state.isOpen}
          onChange={({ currentTarget }) => setComponent(currentTarget.value)}
        >
          {components.map(({ componentId, kind }) => (
            <option key={componentId} value={componentId}>
              {componentId} ({kind})
            </option>
          ))}
        </select>
        {state.isOpen ? (
          <button type="button" onClick={end}>
            Stop
          </button>
        ) : (
          <button type="button" class="primary" disabled={target === ""} onClick={() => void begin()}>
            Tap
          </button>
        )}
        <span role="status" class="muted">
          {state.text}
        </span>
        {events.length > 0 && (
          <button
            type="button"
            class="quiet"
            onClick={() =>
              download(`${pipeline.id}-${target}.jsonl`, events.map(({ event }) => JSON.stringify(event)).join("\n"))
            }
          >
            Download
          </button>
        )}
      </div>
      <div class="card tap">
        {events.length === 0 ? (
          <Empty title={state.isOpen ? "No event has passed yet" : "Watch events as they leave a component"}>
            {state.isOpen
              ? ""
              : "The engine sends them to this page only, for at most 5 minutes. Sinks have no output to tap."}
          </Empty>
        ) : (
          [...events].reverse().map(({ key, at, event }) => (
            <details key={key} class="tap-event">
              <summary>
                <span class="faint mono">{preciseTime(at)}</span> <code>{JSON.stringify(event).slice(0, 240)}</code>
              </summary>
              <pre>{JSON.stringify(event, null, 2)}</pre>
            </details>
          ))
        )}
      </div>
    </>
  );
}

async function* readBody(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
}
