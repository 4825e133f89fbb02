/** Every pipeline over a day: the ones that lost most come first. Each one's hours are one click away. */

import { useEffect, useMemo, useState } from "preact/hooks";
import { queries } from "../../api/http.ts";
import { count } from "../../format/numbers.ts";
import { clearQueue, enqueue } from "../../state/background.ts";
import { areNodesKnown } from "../../state/nodes.ts";
import { type PipelineName, pipelineNames, readPipelineNames } from "../../state/pipeline_names.ts";
import { pipelineLink, route } from "../../state/route.ts";
import { environment } from "../../state/session.ts";
import { Empty, Loading } from "../../ui/empty.tsx";
import { type Column, Table } from "../../ui/table.tsx";
import { keptOf, type LedgerRow, sumRows, toLedger } from "./model.ts";
import { Kept, readTarget, TargetField } from "./table.tsx";

const DAY = 86_400_000;

type Entry = PipelineName & { sum: LedgerRow | undefined };

export function LedgerView() {
  const target = readTarget(route.value.query);
  const [sums, setSums] = useState<ReadonlyMap<string, LedgerRow>>(new Map());
  const [visible, setVisible] = useState<readonly Entry[]>([]);
  useEffect(() => {
    document.title = "Loss ledger · Systole";
    readPipelineNames();
    return clearQueue;
  }, []);
  // The day of a pipeline is asked for when its row is in view.
  useEffect(() => {
    for (const { id } of [...visible].reverse()) {
      if (sums.has(id)) continue;
      enqueue(`ledger ${id}`, async () => {
        const to = Date.now();
        const { items, step } = await queries.pipelineMinutes(id, {
          environment: environment.value,
          from: to - DAY,
          to,
          step: "hour",
        });
        const sum = sumRows(toLedger(items, step, to - DAY, to, 3_600_000));
        setSums((before) => new Map(before).set(id, sum));
      });
    }
  }, [visible]);
  const rows = useMemo(() => {
    const lost = ({ sum }: Entry) => (sum === undefined ? -1 : 1 - (keptOf(sum) ?? 1));
    return pipelineNames.value
      .map((row) => ({ ...row, sum: sums.get(row.id) }))
      .sort((one, other) => lost(other) - lost(one) || one.name.localeCompare(other.name));
  }, [pipelineNames.value, sums]);
  if (!areNodesKnown.value) return <Loading />;
  return (
    <>
      <div class="view-head">
        <div>
          <h1>Loss ledger</h1>
          <p class="muted">The last 24 hours of each pipeline, exact to the event.</p>
        </div>
        <TargetField target={target} />
      </div>
      {rows.length === 0 ? (
        <Empty title="No node has reported a pipeline yet" />
      ) : (
        <Table
          label="Loss ledger"
          columns={columns(target)}
          rows={rows}
          keyOf={({ id }) => id}
          onVisible={setVisible}
        />
      )}
    </>
  );
}

function columns(target: number): Column<Entry>[] {
  const cell = (pick: (sum: LedgerRow) => number, tone: string) => (row: Entry) => {
    if (row.sum === undefined) return <span class="faint">…</span>;
    const value = pick(row.sum);
    return <span class={value > 0 ? `number ${tone}` : "number faint"}>{count(value)}</span>;
  };
  return [
    {
      id: "name",
      title: "Pipeline",
      cell: ({ id, name }) => <a href={pipelineLink(id, { tab: "ledger", target: String(target) })}>{name}</a>,
    },
    {
      id: "kept",
      title: "Kept",
      align: "right",
      cell: ({ sum }) => (sum === undefined ? <span class="faint">…</span> : <Kept kept={sum.kept} target={target} />),
    },
    { id: "in", title: "In", align: "right", cell: cell((sum) => sum.in, "") },
    { id: "out", title: "Out", align: "right", width: 2, cell: cell((sum) => sum.out, "") },
    { id: "discarded", title: "Discarded", align: "right", cell: cell((sum) => sum.discarded, "tone-warn") },
    { id: "errors", title: "Errors", align: "right", width: 2, cell: cell((sum) => sum.errors, "tone-bad") },
    { id: "gaps", title: "Failed scrapes", align: "right", width: 3, cell: cell((sum) => sum.gaps, "tone-warn") },
    { id: "missing", title: "Missing reports", align: "right", width: 3, cell: cell((sum) => sum.missing, "tone-bad") },
    { id: "late", title: "Late", align: "right", width: 3, cell: cell((sum) => sum.late, "") },
    { id: "restarts", title: "Restarts", align: "right", width: 3, cell: cell((sum) => sum.restarts, "") },
  ];
}
