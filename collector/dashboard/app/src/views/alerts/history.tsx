import { useEffect } from "preact/hooks";
import { listAlertHistory, type NumberedAlert } from "../../api/alerts.ts";
import { onAlert } from "../../state/fleet.ts";
import { environment } from "../../state/session.ts";
import { toneOf, wordOf } from "../../state/status.ts";
import { Empty, Failure, Loading } from "../../ui/empty.tsx";
import { ToneWord } from "../../ui/status.tsx";
import { type Column, Table } from "../../ui/table.tsx";
import { Moment } from "../../ui/time.tsx";
import { usePagedList } from "../../ui/use_paged_list.ts";
import { ABOUT, RULE, Severity, VALUE } from "./parts.tsx";

const PAGE = 100;
const REFRESH_MS = 30_000;

export function HistoryTab() {
  const { list, setVisible, refresh } = usePagedList<NumberedAlert>(
    "alerts",
    ({ seq }) => String(seq),
    async (cursor, signal) => {
      const page = await listAlertHistory({ environment: environment.value, cursor, limit: PAGE }, signal);
      return { ...page, total: page.items.length };
    },
    REFRESH_MS,
  );
  useEffect(() => onAlert(refresh), [list]);
  if (!list.isKnown) return list.error === undefined ? <Loading /> : <Failure error={list.error} retry={refresh} />;
  if (list.rows.length === 0) {
    return (
      <div class="card">
        <Empty title="No alert yet">Each change of an alert is kept here.</Empty>
      </div>
    );
  }
  return (
    <Table
      label="Changes of alerts, newest first"
      columns={COLUMNS}
      rows={list.rows}
      keyOf={({ seq }) => String(seq)}
      rowHeight={46}
      onVisible={setVisible}
    />
  );
}

const COLUMNS: readonly Column<NumberedAlert>[] = [
  { id: "time", title: "Time", cell: ({ timestamp }) => <Moment at={timestamp} /> },
  {
    id: "state",
    title: "State",
    cell: ({ state, severity }) => (
      <ToneWord
        tone={state === "firing" ? toneOf(severity) : state === "pending" ? "busy" : "ok"}
        word={wordOf(state)}
      />
    ),
  },
  { id: "severity", title: "Severity", width: 2, cell: ({ severity }) => <Severity severity={severity} /> },
  ABOUT,
  RULE,
  VALUE,
];
