import type { FleetPipeline } from "@systole/client";
import { useEffect } from "preact/hooks";
import { queries } from "../../api/http.ts";
import { count, plural, rate } from "../../format/numbers.ts";
import { pipelineLink, route, setQuery } from "../../state/route.ts";
import { environment } from "../../state/session.ts";
import { rankOf, toneOf, wordOf } from "../../state/status.ts";
import { Empty, Failure, Loading } from "../../ui/empty.tsx";
import { SearchField } from "../../ui/fields.tsx";
import { ToneWord } from "../../ui/status.tsx";
import { type Column, Table } from "../../ui/table.tsx";
import { usePagedList } from "../../ui/use_paged_list.ts";
import { summaryOf } from "../pipeline/model.ts";
import { Trouble } from "../trouble.tsx";

const PAGE = 100;
/** As often as agents report. */
const REFRESH_MS = 5_000;

/** Columns by which the collector sorts, with the name that it has for each. */
const SORTS = {
  state: "worst",
  name: "id",
  in: "eventsIn",
  out: "eventsOut",
  errors: "errors",
  discarded: "discards",
} as const;

const COLUMNS: readonly Column<FleetPipeline>[] = [
  {
    id: "state",
    title: "State",
    isSortable: true,
    cell: ({ statuses }) => <ToneWord {...summaryOf(new Map(Object.entries(statuses)))} />,
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
    cell: ({ nodes, statuses }) => <StateShares total={nodes} statuses={statuses} />,
  },
  {
    id: "in",
    title: "Events in",
    align: "right",
    isSortable: true,
    isHighFirst: true,
    cell: ({ sample }) => <span class="number">{rate(sample?.eventsInRate)}</span>,
  },
  {
    id: "out",
    title: "Events out",
    align: "right",
    width: 2,
    isSortable: true,
    isHighFirst: true,
    cell: ({ sample }) => <span class="number">{rate(sample?.eventsOutRate)}</span>,
  },
  {
    id: "errors",
    title: "Errors",
    align: "right",
    width: 2,
    isSortable: true,
    isHighFirst: true,
    cell: ({ sample }) => <Trouble value={sample?.errorsRate} tone="bad" />,
  },
  {
    id: "discarded",
    title: "Discarded",
    align: "right",
    width: 2,
    isSortable: true,
    isHighFirst: true,
    cell: ({ sample }) => <Trouble value={sample?.discardedRate} tone="warn" />,
  },
];

/** On how many nodes it is, and the share of each state. */
function StateShares({ total, statuses }: { total: number; statuses: FleetPipeline["statuses"] }) {
  const shares = Object.entries(statuses).sort(([one], [other]) => rankOf(toneOf(other)) - rankOf(toneOf(one)));
  return (
    <span class="progress" title={shares.map(([status, many]) => `${many} ${wordOf(status).toLowerCase()}`).join(", ")}>
      <span class="state-bar" aria-hidden="true">
        {shares.map(([status, many]) => (
          <span key={status} class={`fill-${toneOf(status)}`} style={{ flexGrow: many }} />
        ))}
      </span>
      <span class="number">{count(total)}</span>
    </span>
  );
}

export function PipelinesView() {
  const { query } = route.value;
  const [by, isDescending] = [query.get("sort") ?? "state", query.get("desc") === "1"];
  const q = query.get("q")?.trim() || undefined;
  const { list, setVisible, refresh } = usePagedList<FleetPipeline>(
    `pipelines ${q} ${by} ${isDescending}`,
    ({ id }) => id,
    (cursor, signal) =>
      queries.fleetPipelines(
        {
          q,
          environment: environment.value,
          sort: SORTS[by as keyof typeof SORTS] ?? "worst",
          order: isDescending ? "desc" : "asc",
          limit: PAGE,
          cursor,
        },
        { signal },
      ),
    REFRESH_MS,
  );
  useEffect(() => {
    document.title = "Pipelines · Systole";
  }, []);
  if (!list.isKnown) return list.error === undefined ? <Loading /> : <Failure error={list.error} retry={refresh} />;
  return (
    <>
      <h1 class="visually-hidden">Pipelines</h1>
      <div class="toolbar">
        <SearchField
          label="Search pipelines"
          placeholder="Name or id"
          value={query.get("q") ?? ""}
          onChange={(text) => setQuery({ q: text })}
        />
        <span class="toolbar-count">{plural(list.total, "pipeline")}</span>
      </div>
      {list.rows.length > 0 ? (
        <Table
          label="Pipelines"
          columns={COLUMNS}
          rows={list.rows}
          total={list.total}
          keyOf={({ id }) => id}
          classOf={({ worst }) => `row-${toneOf(worst ?? "STOPPED")}`}
          sort={{ by, descending: isDescending }}
          onSort={(id, isHighFirst) =>
            setQuery({ sort: id, desc: (by === id ? !isDescending : isHighFirst) ? "1" : "" })
          }
          onVisible={setVisible}
        />
      ) : (
        <div class="card">
          {q === undefined ? (
            <Empty title="No node has reported a pipeline yet" command="systole-collector apply -f orders.toml">
              A pipeline is named in an agent's own file, or applied here for all nodes with a label.
            </Empty>
          ) : (
            <Empty title="No pipeline matches">
              <button type="button" onClick={() => setQuery({ q: "" })}>
                Remove the filter
              </button>
            </Empty>
          )}
        </div>
      )}
    </>
  );
}
