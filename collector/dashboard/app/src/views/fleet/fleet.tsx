import type { FleetNode } from "@systole/client";
import { useEffect, useMemo, useState } from "preact/hooks";
import { queries } from "../../api/http.ts";
import { plural } from "../../format/numbers.ts";
import { clearQueue } from "../../state/background.ts";
import { areNodesKnown, nodes, nodesError, read, toSummaries } from "../../state/nodes.ts";
import { isKiosk, route, setQuery } from "../../state/route.ts";
import { canOperate, environment } from "../../state/session.ts";
import { readSparks, sparksVersion } from "../../state/sparks.ts";
import { Empty, Failure, Loading } from "../../ui/empty.tsx";
import { Choice, SearchField } from "../../ui/fields.tsx";
import { Icon } from "../../ui/icons.tsx";
import { Shape } from "../../ui/status.tsx";
import { type Column, ColumnMenu, type Group, Table } from "../../ui/table.tsx";
import { useQuery } from "../../ui/use_query.ts";
import { BulkBar } from "./bulk.tsx";
import { NODE_COLUMNS } from "./columns.tsx";
import { type NodeLists, useNodeLists } from "./list.ts";
import { FleetMap } from "./map.tsx";
import { labelNames, type NodeGroup, stateOf } from "./model.ts";
import { isFiltered, NO_FILTER, type NodeFilter, readFilter, readOrder } from "./query.ts";
import { TotalsRow } from "./totals.tsx";

/** Lines of rows in view follow their nodes. */
const SPARKS_EVERY_MS = 20_000;
/** A person who types does not want a query for each letter. */
const TYPING_MS = 200;
const MAP_EVERY_MS = 15_000;

export function FleetView() {
  useEffect(() => {
    document.title = "Fleet · Systole";
    return clearQueue;
  }, []);
  if (!areNodesKnown.value)
    return nodesError.value === undefined ? (
      <Loading />
    ) : (
      <Failure error={nodesError.value} retry={() => void read()} />
    );
  return nodes.value.length === 0 ? <NoNodes /> : <Fleet />;
}

function Fleet() {
  const { query } = route.value;
  const filter = useSettled(readFilter(query), TYPING_MS);
  const { by, isDescending, order } = readOrder(query);
  const group = query.get("group") ?? "";
  const hidden = new Set((query.get("hide") ?? "").split(",").filter(Boolean));
  const lists = useNodeLists(filter, order, group);
  const [visible, setVisible] = useState<readonly FleetNode[]>([]);
  const [selected, setSelected] = useState<ReadonlyMap<string, FleetNode>>(new Map());
  useEffect(() => {
    clearQueue();
    readSparks(visible);
    const timer = setInterval(() => document.visibilityState === "visible" && readSparks(visible), SPARKS_EVERY_MS);
    return () => clearInterval(timer);
  }, [visible]);
  // What the cells read.
  void sparksVersion.value;

  const { flat, groups } = lists;
  const entries = flat?.rows ?? groupEntries(groups ?? [], lists, group);
  const loaded = entries.filter((entry): entry is FleetNode => "sample" in entry);
  const total = flat?.total ?? groups?.reduce((sum, one) => sum + one.nodes.length, 0);
  const error = flat?.error;
  const labels = useMemo(() => labelNames(loaded), [entries]);
  const columns = NODE_COLUMNS.filter(({ id }) => !hidden.has(id));
  const shown = canOperate.value && !isKiosk ? [selectColumn(loaded, selected, setSelected), ...columns] : columns;
  const isKnown = flat?.isKnown ?? groups !== undefined;
  return (
    <>
      <h1 class="visually-hidden">Fleet</h1>
      <TotalsRow filter={filter} />
      <MapCard filter={filter} />
      {!isKiosk && (
        <div class="toolbar">
          <SearchField
            label="Search nodes and labels"
            placeholder="Name or label"
            value={query.get("q") ?? ""}
            onChange={(q) => setQuery({ q })}
          />
          <input
            class="label-filter"
            aria-label="Labels that must hold"
            placeholder="Labels: site:lab !canary"
            value={query.get("label") ?? ""}
            onInput={({ currentTarget }) => setQuery({ label: currentTarget.value })}
          />
          <Choice
            label="Group by a label"
            all="No groups"
            value={group}
            options={labels.map((name) => ({ value: name, title: `By ${name}` }))}
            onChange={(name) => setQuery({ group: name })}
          />
          <ColumnMenu
            columns={NODE_COLUMNS.filter(({ id }) => id !== "name")}
            hidden={hidden}
            onChange={(ids) => setQuery({ hide: ids.join(",") })}
          />
          {isFiltered(filter) && (
            <button type="button" class="quiet" onClick={() => setQuery(NO_FILTER)}>
              <Icon name="close" size={14} /> Clear
            </button>
          )}
          <span class="toolbar-count" data-count={total}>
            {total === undefined || total === nodes.value.length
              ? plural(nodes.value.length, "node")
              : `${total} of ${plural(nodes.value.length, "node")}`}
          </span>
        </div>
      )}
      {error !== undefined && loaded.length === 0 ? (
        <Failure error={error} retry={lists.refresh} />
      ) : !isKnown ? (
        <Loading />
      ) : entries.length === 0 ? (
        <div class="card">
          <Empty title="No node matches">
            <button type="button" onClick={() => setQuery(NO_FILTER)}>
              Remove the filters
            </button>
          </Empty>
        </div>
      ) : (
        <Table
          label="Nodes"
          columns={shown}
          rows={entries}
          total={total}
          keyOf={(row) => row.id}
          classOf={(row) => `row-${stateOf(row).tone}`}
          sort={{ by, descending: isDescending }}
          onSort={(id, isHighFirst) =>
            setQuery({ sort: id, desc: (by === id ? !isDescending : isHighFirst) ? "1" : "" })
          }
          onVisible={(rows) => {
            setVisible(rows);
            lists.setVisible(rows);
          }}
        />
      )}
      {selected.size > 0 && <BulkBar nodes={[...selected.values()]} onDone={() => setSelected(new Map())} />}
    </>
  );
}

/** All nodes, or those that the filters leave, in the order of names. */
function MapCard({ filter }: { filter: NodeFilter }) {
  const isPart = isFiltered(filter);
  const part = useQuery(
    isPart ? `map ${JSON.stringify(filter)}` : undefined,
    (signal) => queries.fleetMap({ ...filter, environment: environment.value }, { signal }),
    MAP_EVERY_MS,
  );
  const found = useMemo(() => (part.data === undefined ? undefined : toSummaries(part.data)), [part.data]);
  const shown = isPart ? (found ?? []) : nodes.value;
  if (shown.length === 0) return null;
  return (
    <section class="card map-card" aria-label="Map of nodes">
      <FleetMap nodes={shown} />
    </section>
  );
}

function groupEntries(groups: readonly NodeGroup[], { listOf, toggle }: NodeLists, label: string) {
  return groups.flatMap((group): (FleetNode | Group)[] => {
    const list = listOf(group);
    const title = group.value === null ? `without ${label}` : `${label}: ${group.value}`;
    const heading = (
      <button type="button" class="group-heading" aria-expanded={list !== undefined} onClick={() => toggle(group)}>
        <Icon name={list === undefined ? "chevron" : "down"} size={14} />
        <Shape tone={group.tone} /> {title}
        <span class="faint">{plural(group.nodes.length, "node")}</span>
      </button>
    );
    return [{ group: title, heading }, ...(list?.rows ?? [])];
  });
}

function selectColumn(
  rows: readonly FleetNode[],
  selected: ReadonlyMap<string, FleetNode>,
  onChange: (selected: ReadonlyMap<string, FleetNode>) => void,
): Column<FleetNode> {
  const isAll = rows.length > 0 && rows.every(({ id }) => selected.has(id));
  return {
    id: "select",
    title: "Selection",
    heading: (
      <input
        type="checkbox"
        aria-label="Select all rows that were read"
        title={`Select ${plural(rows.length, "row")}`}
        checked={isAll}
        onChange={() => onChange(isAll ? new Map() : new Map(rows.map((row) => [row.id, row])))}
      />
    ),
    cell: (row) => (
      <input
        type="checkbox"
        aria-label={`Select ${row.name}`}
        checked={selected.has(row.id)}
        onChange={({ currentTarget }) => {
          const next = new Map(selected);
          if (currentTarget.checked) next.set(row.id, row);
          else next.delete(row.id);
          onChange(next);
        }}
      />
    ),
  };
}

/** The value once it has not changed for a while; the first one at once. */
function useSettled<T>(value: T, waitMs: number): T {
  const [settled, setSettled] = useState(value);
  const key = JSON.stringify(value);
  useEffect(() => {
    if (JSON.stringify(settled) === key) return;
    const timer = setTimeout(() => setSettled(value), waitMs);
    return () => clearTimeout(timer);
  }, [key]);
  return settled;
}

/** The two commands, in their order. */
function NoNodes() {
  return (
    <div class="card">
      <Empty
        title="No node has enrolled yet"
        command="systole-collector token create --kind enroll --expires 24h --data-dir /var/lib/systole"
      >
        On the collector's host, make a token for agents:
      </Empty>
      <Empty title="" command={`SYSTOLE_TOKEN=systole_enroll_… systole-agent --url ${location.origin}`}>
        On a node, start an agent with it. It appears here by itself.
      </Empty>
    </div>
  );
}
