import { useEffect } from "preact/hooks";
import type { Alert } from "../../api/alerts.ts";
import { plural } from "../../format/numbers.ts";
import { alerts, alertsError, areAlertsCut, MAX_ALERTS, readAlerts } from "../../state/alerts.ts";
import { canOperate } from "../../state/session.ts";
import { toneOf } from "../../state/status.ts";
import { Empty, Failure, Loading } from "../../ui/empty.tsx";
import { type Column, Table } from "../../ui/table.tsx";
import { Ago } from "../../ui/time.tsx";
import { ABOUT, RULE, Severity, VALUE } from "./parts.tsx";
import { silenceAlert } from "./silences.tsx";

/** Values change without an event. */
const REFRESH_MS = 15_000;

const MUTED = {
  silence: "silenced",
  maintenance: "in maintenance",
  node_down: "its node is down",
} as const;

export function FiringTab() {
  useEffect(() => {
    void readAlerts();
    const timer = setInterval(() => document.visibilityState === "visible" && void readAlerts(), REFRESH_MS);
    return () => clearInterval(timer);
  }, []);
  const list = alerts.value;
  if (list === undefined)
    return alertsError.value === undefined ? (
      <Loading />
    ) : (
      <Failure error={alertsError.value} retry={() => void readAlerts()} />
    );
  if (list.length === 0) {
    return (
      <div class="card">
        <Empty title="All is well">No rule has anything to say. The tab of rules lists what they check.</Empty>
      </div>
    );
  }
  return (
    <>
      <Table
        label="Alerts, worst first"
        columns={canOperate.value ? [...COLUMNS, ACTIONS] : COLUMNS}
        rows={list}
        keyOf={({ id }) => id}
        rowHeight={46}
        classOf={({ severity, state, muted }) =>
          state === "firing" && muted === null ? `row-${toneOf(severity)}` : "row-muted"
        }
      />
      {areAlertsCut.value && <p class="faint note">These are the first {plural(MAX_ALERTS, "alert")}.</p>}
    </>
  );
}

const COLUMNS: readonly Column<Alert>[] = [
  { id: "severity", title: "Severity", cell: ({ severity }) => <Severity severity={severity} /> },
  ABOUT,
  RULE,
  {
    id: "state",
    title: "State",
    width: 2,
    cell: ({ state, muted, unknown }) => (
      <span>
        {state === "pending" ? "Pending" : "Firing"}
        {muted !== null && <span class="badge is-warn">{MUTED[muted]}</span>}
        {unknown && (
          <span class="badge is-info" title="There is no sample now: the state is kept">
            no sample
          </span>
        )}
      </span>
    ),
  },
  VALUE,
  { id: "since", title: "Since", align: "right", cell: ({ since }) => <Ago at={since} /> },
];

const ACTIONS: Column<Alert> = {
  id: "actions",
  title: "",
  heading: <span class="visually-hidden">Actions</span>,
  align: "right",
  cell: (alert) =>
    alert.muted === "silence" ? null : (
      <button type="button" class="small" onClick={() => silenceAlert(alert)}>
        Silence
      </button>
    ),
};
