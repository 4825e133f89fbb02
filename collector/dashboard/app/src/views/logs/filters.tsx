import type { LogLevel, NodeState } from "@systole/client";
import type { ComponentChildren } from "preact";
import { clockTime, day } from "../../format/times.ts";
import type { PipelineRow } from "../../state/pipelines.ts";
import { setQuery } from "../../state/route.ts";
import { Icon } from "../../ui/icons.tsx";
import type { LineFilter } from "./lines.ts";

/** A list of more names than these is no help; the name is typed in the search of everything. */
const MAX_NAMES = 500;

export interface LogFiltersProps {
  filter: LineFilter;
  levels: readonly LogLevel[];
  pipelines: readonly PipelineRow[];
  nodes: readonly NodeState[];
  children: ComponentChildren;
}

export function LogFilters({ filter, levels, pipelines, nodes, children }: LogFiltersProps) {
  const names = [...nodes].sort((one, other) => one.name.localeCompare(other.name, undefined, { numeric: true }));
  return (
    <div class="toolbar">
      <label class="search">
        <Icon name="search" size={16} />
        <input
          type="search"
          aria-label="Text in the lines"
          placeholder="Text in the lines"
          value={filter.text}
          onInput={({ currentTarget }) => setQuery({ q: currentTarget.value })}
        />
        <kbd>/</kbd>
      </label>
      <select
        aria-label="Level"
        value={filter.level ?? ""}
        onChange={({ currentTarget }) => setQuery({ level: currentTarget.value })}
      >
        <option value="">All levels</option>
        {levels.slice(1).map((level) => (
          <option key={level} value={level}>
            {level} and above
          </option>
        ))}
      </select>
      <select
        aria-label="Pipeline"
        value={filter.pipeline ?? ""}
        onChange={({ currentTarget }) => setQuery({ pipeline: currentTarget.value })}
      >
        <option value="">All pipelines</option>
        {pipelines.slice(0, MAX_NAMES).map(({ id, name }) => (
          <option key={id} value={id}>
            {name}
          </option>
        ))}
      </select>
      <select
        aria-label="Node"
        value={filter.node ?? ""}
        onChange={({ currentTarget }) => setQuery({ node: currentTarget.value })}
      >
        <option value="">All nodes</option>
        {names.slice(0, MAX_NAMES).map(({ nodeId, name }) => (
          <option key={nodeId} value={nodeId}>
            {name}
          </option>
        ))}
        {filter.node !== undefined && names.findIndex(({ nodeId }) => nodeId === filter.node) >= MAX_NAMES && (
          <option value={filter.node}>{filter.node}</option>
        )}
      </select>
      <input
        type="datetime-local"
        aria-label="Lines until"
        title="Lines until this time; empty follows what comes"
        value={filter.until === undefined ? "" : `${day(filter.until)}T${clockTime(filter.until, false)}`}
        onChange={({ currentTarget }) => {
          const at = new Date(currentTarget.value).getTime();
          setQuery({ until: Number.isFinite(at) ? String(at) : "" });
        }}
      />
      {filter.until !== undefined && (
        <button type="button" class="small" onClick={() => setQuery({ until: "" })}>
          Back to live
        </button>
      )}
      <span class="toolbar-end">{children}</span>
    </div>
  );
}
