/** Answers of a collector about alerts, as docs/api.md has them. Which alerts fire is tested with the collector. */

import type { BrowserContext } from "playwright-core";

const MINUTE_MS = 60_000;

export function alert(change: Record<string, unknown>) {
  return {
    id: "node-unreachable node/12",
    rule: "node-unreachable",
    severity: "critical",
    state: "firing",
    subject: "edge-7",
    nodeId: "0193",
    nodeName: "edge-7",
    pipelineId: null,
    text: "no report for 15 s",
    value: null,
    since: Date.now() - 5 * MINUTE_MS,
    firedAt: Date.now() - 4 * MINUTE_MS,
    endedAt: null,
    notifiedAt: null,
    unknown: false,
    muted: null,
    silenceId: null,
    ...change,
  };
}

export interface AlertAnswers {
  alerts: unknown[];
  silences: { id: number; [name: string]: unknown }[];
  /** Bodies of new silences. */
  asked: unknown[];
}

/** The page sees these alerts, and events of the feed that `body` has at first. */
export async function answerAlerts(context: BrowserContext, answers: AlertAnswers, body: string): Promise<void> {
  const page = (items: unknown[]) => ({ json: { items, next: null } });
  await context.route(/\/api\/v1\/alerts(\?|$)/, (route) => route.fulfill(page(answers.alerts)));
  await context.route(/\/api\/v1\/alerts\/rules(\?|$)/, (route) =>
    route.fulfill(
      page([
        {
          name: "errors",
          builtin: true,
          on: "rate",
          condition: "errors / events_in > 0.01 over 5 min",
          summary: "errors",
          match: [],
          forMs: 300_000,
          clearForMs: 150_000,
          severity: "warning",
          notify: [],
          firing: 1,
          pending: 0,
        },
      ]),
    ),
  );
  await context.route(/\/alerts\/rules\/errors\/preview/, (route) =>
    route.fulfill({
      json: { rule: "errors", condition: "errors > 0.01", from: 0, to: 1, cut: false, fired: 0, items: [] },
    }),
  );
  await context.route(/\/api\/v1\/alerts\/history/, (route) =>
    route.fulfill(
      page([
        {
          seq: 4711,
          rule: "errors",
          subject: "edge-7/orders",
          nodeId: "0193",
          pipelineId: "orders",
          state: "resolved",
          severity: "warning",
          value: 0.034,
          since: Date.now() - MINUTE_MS,
          text: "errors / events_in: 0.034",
          timestamp: Date.now(),
        },
      ]),
    ),
  );
  await context.route(/\/api\/v1\/alerts\/targets/, (route) =>
    route.fulfill(
      page([
        {
          name: "slack:hooks.slack.com",
          kind: "slack",
          host: "hooks.slack.com",
          lastAttemptAt: Date.now(),
          lastSuccessAt: null,
          failingSince: Date.now() - MINUTE_MS,
          lastError: "it answered 404 Not Found",
          sent: 12,
          failed: 3,
          waiting: 1,
        },
      ]),
    ),
  );
  await context.route(/\/api\/v1\/silences/, (route) => {
    const method = route.request().method();
    if (method === "POST") {
      answers.asked.push(route.request().postDataJSON());
      answers.silences.push({
        id: 3,
        environmentName: null,
        matchers: (route.request().postDataJSON() as { matchers: string[] }).matchers,
        startsAt: Date.now(),
        endsAt: Date.now() + MINUTE_MS,
        active: true,
        author: "ops",
        note: "kernel",
      });
      return route.fulfill({ status: 201, json: answers.silences.at(-1) });
    }
    if (method === "DELETE") {
      answers.silences.length = 0;
      return route.fulfill({ status: 204 });
    }
    return route.fulfill(page(answers.silences));
  });
  let isFirst = true;
  await context.route(/\/api\/v1\/events\?[^#]*alert/, (route) => {
    if (isFirst) {
      isFirst = false;
      return route.fulfill({ contentType: "text/event-stream", body });
    }
    return route.continue({
      url: route
        .request()
        .url()
        .replace(/(%2C|,)alert/, ""),
    });
  });
}
