import { useEffect, useMemo, useState } from "preact/hooks";
import { plural } from "../../format/numbers.ts";
import { clearQueue } from "../../state/background.ts";
import { directoryVersion, isDirectoryComplete } from "../../state/directory.ts";
import { fleet } from "../../state/fleet.ts";
import { hostsVersion, readHosts } from "../../state/hosts.ts";
import { liveVersion, watch } from "../../state/live.ts";
import { isKiosk, route, setQuery } from "../../state/route.ts";
import { canOperate } from "../../state/session.ts";
import { Empty, Loading } from "../../ui/empty.tsx";
import { Choice, SearchField } from "../../ui/fields.tsx";
import { Shape } from "../../ui/status.tsx";
import { type Column, ColumnMenu, type Group, Table } from "../../ui/table.tsx";
import { BulkBar } from "./bulk.tsx";
import { NODE_COLUMNS } from "./columns.tsx";
import { FleetMap } from "./map.tsx";
import { filterRows, groupRows, labelNames, type NodeRow, nodeRows, readFilter, sortRows } from "./model.ts";
import { TotalsRow } from "./totals.tsx";

/** Sparklines of rows in view follow their hosts. */
const HOSTS_EVERY_MS = 20_000;

export function FleetView() {
  const { query } = route.value;
  const [visible, setVisible] = useState<readonly NodeRow[]>([]);
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set());
  const filter = readFilter(query);
  const [by, descending] = [query.get("sort") ?? "state", query.get("desc") === "1"];
  const group = query.get("group") ?? "";
  const hidden = new Set((query.get("hide") ?? "").split(",").filter(Boolean));

  const all = nodeRows.value;
  const rows = useMemo(
    () => sortRows(filterRows(all, filter), by, descending),
    [all, directoryVersion.value, query.get("q"), query.get("state"), query.get("label"), by, descending],
  );
  const labels = useMemo(() => labelNames(all), [all.length, directoryVersion.value]);
  const entries = useMemo<readonly (NodeRow | Group)[]>(
    () => (group === "" ? rows : withGroups(rows, group)),
    [rows, group],
  );

  useEffect(() => {
    document.title = "Fleet · Systole";
    return () => {
      watch(undefined);
      clearQueue();
    };
  }, []);
  useEffect(() => {
    clearQueue();
    watch({
      nodes: visible.map(({ id }) => id),
      pipelineCount: visible.reduce((sum, { pipelines }) => sum + pipelines.length, 0),
    });
    readHosts(visible);
    const timer = setInterval(() => document.visibilityState === "visible" && readHosts(visible), HOSTS_EVERY_MS);
    return () => clearInterval(timer);
  }, [visible]);
  // What the cells read.
  void liveVersion.value;
  void hostsVersion.value;

  if (!fleet.value.isComplete) return <Loading />;
  if (all.length === 0) return <NoNodes />;
  const columns = NODE_COLUMNS.filter(({ id }) => !hidden.has(id));
  const shown = canOperate.value && !isKiosk ? [selectColumn(rows, selected, setSelected), ...columns] : columns;
  return (
    <>
      <h1 class="visually-hidden">Fleet</h1>
      <TotalsRow chosen={filter.tones} />
      {rows.length > 0 && (
        <section class="card map-card" aria-label="Map of nodes">
          <FleetMap rows={rows} />
        </section>
      )}
      {!isKiosk && (
        <div class="toolbar">
          <SearchField
            label="Search nodes, pipelines and labels"
            placeholder="Name, pipeline or label"
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
          <span class="toolbar-count" data-count={rows.length}>
            {rows.length === all.length
              ? plural(all.length, "node")
              : `${rows.length} of ${plural(all.length, "node")}`}
            {!isDirectoryComplete.value && <span class="faint"> · reading labels …</span>}
          </span>
        </div>
      )}
      {rows.length === 0 ? (
        <Empty title="No node matches">
          <button type="button" onClick={() => setQuery({ q: "", state: "", label: "" })}>
            Remove the filters
          </button>
        </Empty>
      ) : (
        <Table
          label="Nodes"
          columns={shown}
          rows={entries}
          keyOf={(row) => row.id}
          classOf={(row) => `row-${row.tone}`}
          sort={{ by, descending }}
          onSort={(id) => setQuery({ sort: id, desc: by === id && !descending ? "1" : "" })}
          onVisible={setVisible}
        />
      )}
      {selected.size > 0 && (
        <BulkBar rows={all.filter(({ id }) => selected.has(id))} onDone={() => setSelected(new Set())} />
      )}
    </>
  );
}

function withGroups(rows: readonly NodeRow[], label: string): (NodeRow | Group)[] {
  return groupRows(rows, label).flatMap((group) => [
    {
      group: group.value,
      heading: (
        <span class="group-heading">
          <Shape tone={group.tone} /> {group.value === "" ? `without ${label}` : `${label}: ${group.value}`}
          <span class="faint">{plural(group.rows.length, "node")}</span>
        </span>
      ),
    },
    ...group.rows,
  ]);
}

function selectColumn(
  rows: readonly NodeRow[],
  selected: ReadonlySet<string>,
  onChange: (selected: ReadonlySet<string>) => void,
): Column<NodeRow> {
  const isAll = rows.length > 0 && rows.every(({ id }) => selected.has(id));
  return {
    id: "select",
    title: "Selection",
    heading: (
      <input
        type="checkbox"
        aria-label="Select all that match"
        checked={isAll}
        onChange={() => onChange(isAll ? new Set() : new Set(rows.map(({ id }) => id)))}
      />
    ),
    cell: (row) => (
      <input
        type="checkbox"
        aria-label={`Select ${row.name}`}
        checked={selected.has(row.id)}
        onChange={({ currentTarget }) => {
          const next = new Set(selected);
          if (currentTarget.checked) next.add(row.id);
          else next.delete(row.id);
          onChange(next);
        }}
      />
    ),
  };
}

/** The two commands, in their order. */
function NoNodes() {
  return (
    <>
      <Empty
        title="No node has enrolled yet"
        command="systole-collector token create --kind enroll --expires 24h --data-dir /var/lib/systole"
      >
        On the collector's host, make a token for agents:
      </Empty>
      <Empty title="" command={`SYSTOLE_TOKEN=systole_enroll_… systole-agent --url ${location.origin}`}>
        On a node, start an agent with it. It appears here by itself.
      </Empty>
    </>
  );
}
