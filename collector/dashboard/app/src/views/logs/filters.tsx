import type { LogLevel } from "@systole/client";
import type { ComponentChildren } from "preact";
import { clockTime, day } from "../../format/times.ts";
import type { NodeSummary } from "../../state/nodes.ts";
import type { PipelineName } from "../../state/pipeline_names.ts";
import { setQuery } from "../../state/route.ts";
import { Choice, SearchField } from "../../ui/fields.tsx";
import { Menu } from "../../ui/menu.tsx";
import type { LineFilter } from "./lines.ts";

/** A list of more names than these is no help; the name is typed in the search of everything. */
const MAX_NAMES = 500;

export interface LogFiltersProps {
  filter: LineFilter;
  levels: readonly LogLevel[];
  pipelines: readonly PipelineName[];
  nodes: readonly NodeSummary[];
  children: ComponentChildren;
}

export function LogFilters({ filter, levels, pipelines, nodes, children }: LogFiltersProps) {
  return (
    <div class="toolbar">
      <SearchField label="Text in the lines" value={filter.text} onChange={(q) => setQuery({ q })} />
      <Choice
        label="Level"
        all="All levels"
        value={filter.level}
        options={levels.slice(1).map((level) => ({ value: level, title: `${level} and above` }))}
        onChange={(level) => setQuery({ level })}
      />
      <Choice
        label="Pipeline"
        all="All pipelines"
        value={filter.pipeline}
        options={pipelines.slice(0, MAX_NAMES).map(({ id, name }) => ({ value: id, title: name }))}
        onChange={(pipeline) => setQuery({ pipeline })}
      />
      <Choice
        label="Node"
        all="All nodes"
        value={filter.node}
        options={nodes.slice(0, MAX_NAMES).map(({ id, name }) => ({ value: id, title: name }))}
        onChange={(node) => setQuery({ node })}
      />
      <Menu
        summary={
          filter.until === undefined ? "Until now" : `Until ${day(filter.until)} ${clockTime(filter.until, false)}`
        }
        isCurrent={filter.until !== undefined}
      >
        <label class="stacked">
          Lines until
          <input
            type="datetime-local"
            value={filter.until === undefined ? "" : `${day(filter.until)}T${clockTime(filter.until, false)}`}
            onChange={({ currentTarget }) => {
              const at = new Date(currentTarget.value).getTime();
              setQuery({ until: Number.isFinite(at) ? String(at) : "" });
            }}
          />
        </label>
      </Menu>
      {filter.until !== undefined && (
        <button type="button" onClick={() => setQuery({ until: "" })}>
          Back to live
        </button>
      )}
      <span class="toolbar-end">{children}</span>
    </div>
  );
}
