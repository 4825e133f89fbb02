/** How the agent itself is: what waits, and what was lost. */

import type { AgentHealth, ReportGap } from "@systole/client";
import { bytes, count } from "../../format/numbers.ts";
import { Empty } from "../../ui/empty.tsx";
import { PlainTable } from "../../ui/plain_table.tsx";
import { Moment } from "../../ui/time.tsx";

interface Entry {
  name: string;
  value: string;
  isTrouble: boolean;
  meaning: string;
}

export function AgentHealthCard({ health, gaps }: { health: AgentHealth | undefined; gaps: readonly ReportGap[] }) {
  return (
    <section>
      <h2 class="section-title">Agent</h2>
      {health === undefined ? (
        <div class="card">
          <Empty title="The agent has not reported yet" />
        </div>
      ) : (
        <div class="card health">
          {entries(health).map(({ name, value, isTrouble, meaning }) => (
            <div key={name} class={isTrouble ? "health-entry is-trouble" : "health-entry"} title={meaning}>
              <span class="health-value number">{value}</span>
              <span class="health-name">{name}</span>
            </div>
          ))}
        </div>
      )}
      {health?.configError ? (
        <p class="banner is-bad">
          Its configuration file is invalid, so it runs with the last valid state: {health.configError}
        </p>
      ) : null}
      {health?.lastSendError ? (
        <p class="banner">
          Its last failed request{health.lastSendErrorAt ? " at " : ""}
          {health.lastSendErrorAt ? <Moment at={health.lastSendErrorAt} /> : null}: {health.lastSendError}
        </p>
      ) : null}
      {gaps.length > 0 && (
        <div class="card gaps">
          <h3>Reports that never came</h3>
          <PlainTable heads={["Noticed", { title: "Reports", align: "right" }, "Numbers"]}>
            {gaps.map(({ bootId, fromSeq, toSeq, recordedAt }) => (
              <tr key={`${bootId}${fromSeq}`}>
                <td>
                  <Moment at={recordedAt} />
                </td>
                <td class="right">{count(toSeq - fromSeq + 1)}</td>
                <td class="mono">
                  {fromSeq}–{toSeq}
                </td>
              </tr>
            ))}
          </PlainTable>
        </div>
      )}
    </section>
  );
}

function entries(health: AgentHealth): Entry[] {
  const counted = (name: string, value: number | undefined, meaning: string): Entry => ({
    name,
    value: count(value ?? 0),
    isTrouble: (value ?? 0) > 0,
    meaning,
  });
  const skew = health.clockSkewMs ?? 0;
  return [
    {
      name: "reports wait",
      value: count(health.spoolReports ?? 0),
      isTrouble: (health.spoolReports ?? 0) > 12,
      meaning: `Reports on the agent's disk that the collector has not committed: ${bytes(health.spoolBytes ?? 0)}`,
    },
    counted("reports lost", health.lostReports, "Reports that were dropped because the disk had no room"),
    counted("lines lost", health.lostLogLines, "Log lines that were dropped"),
    counted("items refused", health.refusedItems, "Items that the collector refuses"),
    counted("send errors", health.sendErrors, "Requests that failed"),
    counted("scrape errors", health.scrapeErrors, "Scrapes of metrics that failed: each is a gap"),
    counted("garbage lines", health.garbageMetricLines, "Lines of metrics endpoints that are not samples"),
    counted("reconnects", health.reconnects, "How often the collector answered again after a failure"),
    {
      name: "clock skew",
      value: `${skew > 0 ? "+" : ""}${count(skew)} ms`,
      isTrouble: Math.abs(skew) > 1_000,
      meaning: "How far the agent's clock is ahead of the collector's",
    },
  ];
}
