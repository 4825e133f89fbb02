import { useEffect, useMemo, useState } from "preact/hooks";
import { milliseconds, plural, rate } from "../../format/numbers.ts";
import { nodeName } from "../../state/directory.ts";
import { fleet } from "../../state/fleet.ts";
import { liveVersion, watch } from "../../state/live.ts";
import { liveSum, type PipelineRow, pipelineRows } from "../../state/pipelines.ts";
import { pipelineLink, route, setQuery } from "../../state/route.ts";
import { rankOf, toneOf, wordOf } from "../../state/status.ts";
import { Empty, Loading } from "../../ui/empty.tsx";
import { SearchField } from "../../ui/fields.tsx";
import { Shape, ToneWord } from "../../ui/status.tsx";
import { type Column, Table } from "../../ui/table.tsx";
import { Trouble } from "../trouble.tsx";

const MAX_SHAPES = 24;

const COLUMNS: readonly Column<PipelineRow>[] = [
  {
    id: "state",
    title: "State",
    isSortable: true,
    cell: ({ tone, note }) => <ToneWord tone={tone} word={note} />,
  },
  {
    id: "name",
    title: "Pipeline",
    isSortable: true,
    cell: ({ id, name }) => (
      <span class="node-name">
        <a href={pipelineLink(id)}>{name}</a>
        {name !== id && <span class="faint mono wide-only">{id}</span>}
      </span>
    ),
  },
  {
    id: "nodes",
    title: "Nodes",
    width: 2,
    isSortable: true,
    cell: ({ on }) => (
      <span class="pipeline-shapes" title={plural(on.length, "node")}>
        {on.slice(0, MAX_SHAPES).map(({ nodeId, status }) => (
          <span key={nodeId} title={`${nodeName(nodeId)}: ${wordOf(status)}`}>
            <Shape tone={toneOf(status)} size={10} />
          </span>
        ))}
        {on.length > MAX_SHAPES && <span class="faint">+{on.length - MAX_SHAPES}</span>}
      </span>
    ),
  },
  {
    id: "in",
    title: "Events in",
    align: "right",
    cell: ({ on }) => <span class="number">{rate(liveSum(on)?.in)}</span>,
  },
  {
    id: "out",
    title: "Events out",
    align: "right",
    width: 2,
    cell: ({ on }) => <span class="number">{rate(liveSum(on)?.out)}</span>,
  },
  {
    id: "errors",
    title: "Errors",
    align: "right",
    width: 2,
    cell: ({ on }) => <Trouble value={liveSum(on)?.errors} tone="bad" />,
  },
  {
    id: "discarded",
    title: "Discarded",
    align: "right",
    width: 3,
    cell: ({ on }) => <Trouble value={liveSum(on)?.discarded} tone="warn" />,
  },
  {
    id: "latency",
    title: "Slowest node",
    align: "right",
    width: 3,
    cell: ({ on }) => <span class="number">{milliseconds(liveSum(on)?.latencyMs)}</span>,
  },
];

export function PipelinesView() {
  const { query } = route.value;
  const [visible, setVisible] = useState<readonly PipelineRow[]>([]);
  const [by, descending] = [query.get("sort") ?? "state", query.get("desc") === "1"];
  const text = (query.get("q") ?? "").trim().toLowerCase();
  const all = pipelineRows.value;
  const rows = useMemo(
    () =>
      sort(
        all.filter(({ id, name }) => id.toLowerCase().includes(text) || name.toLowerCase().includes(text)),
        by,
        descending,
      ),
    [all, text, by, descending],
  );
  useEffect(() => {
    document.title = "Pipelines · Systole";
    return () => watch(undefined);
  }, []);
  useEffect(() => {
    watch({
      pipelines: visible.map(({ id }) => id),
      pipelineCount: visible.reduce((sum, { on }) => sum + on.length, 0),
    });
  }, [visible]);
  void liveVersion.value;
  if (!fleet.value.isComplete) return <Loading />;
  return (
    <>
      <h1 class="visually-hidden">Pipelines</h1>
      <div class="toolbar">
        <SearchField
          label="Search pipelines"
          placeholder="Name or id"
          value={query.get("q") ?? ""}
          onChange={(q) => setQuery({ q })}
        />
        <span class="toolbar-count">
          {rows.length === all.length
            ? plural(all.length, "pipeline")
            : `${rows.length} of ${plural(all.length, "pipeline")}`}
        </span>
      </div>
      {all.length === 0 ? (
        <Empty title="No node has reported a pipeline yet" command="systole-collector apply -f orders.toml">
          A pipeline is named in an agent's own file, or applied here for all nodes with a label.
        </Empty>
      ) : rows.length === 0 ? (
        <Empty title="No pipeline matches">
          <button type="button" onClick={() => setQuery({ q: "" })}>
            Remove the filter
          </button>
        </Empty>
      ) : (
        <Table
          label="Pipelines"
          columns={COLUMNS}
          rows={rows}
          keyOf={({ id }) => id}
          classOf={({ tone }) => `row-${tone}`}
          sort={{ by, descending }}
          onSort={(id) => setQuery({ sort: id, desc: by === id && !descending ? "1" : "" })}
          onVisible={setVisible}
        />
      )}
    </>
  );
}

function sort(rows: readonly PipelineRow[], by: string, descending: boolean): PipelineRow[] {
  const byName = (one: PipelineRow, other: PipelineRow) =>
    one.name.localeCompare(other.name) || one.id.localeCompare(other.id);
  const sign = descending ? -1 : 1;
  return [...rows].sort((one, other) => {
    if (by === "name") return sign * byName(one, other);
    if (by === "nodes") return sign * (one.on.length - other.on.length) || byName(one, other);
    return sign * (rankOf(one.tone) - rankOf(other.tone)) || byName(one, other);
  });
}
