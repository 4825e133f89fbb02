/** What surrounds the views, and which view an address shows. */

import { useEffect } from "preact/hooks";
import { openFleet } from "../state/fleet.ts";
import { followNodes } from "../state/nodes.ts";
import { followNotices } from "../state/notices.ts";
import { forgetPipelineNames } from "../state/pipeline_names.ts";
import { isKiosk, route } from "../state/route.ts";
import { environment, sessionState } from "../state/session.ts";
import { Questions } from "../ui/dialog.tsx";
import { Loading } from "../ui/empty.tsx";
import { FleetView } from "../views/fleet/fleet.tsx";
import { ConnectionBar } from "./connection.tsx";
import { Header } from "./header.tsx";
import { lazy } from "./lazy.tsx";
import { Notices } from "./notices.tsx";
import { Palette } from "./palette.tsx";
import { Shortcuts } from "./shortcuts.tsx";
import { SignIn } from "./signin.tsx";

const NodeView = lazy(() => import("../views/node/node.tsx").then((module) => module.NodeView));
const PipelinesView = lazy(() => import("../views/pipelines/pipelines.tsx").then((module) => module.PipelinesView));
const PipelineView = lazy(() => import("../views/pipeline/pipeline.tsx").then((module) => module.PipelineView));
const LogsView = lazy(() => import("../views/logs/logs.tsx").then((module) => module.LogsView));
const EventsView = lazy(() => import("../views/events/events.tsx").then((module) => module.EventsView));
const AlertsView = lazy(() => import("../views/alerts/alerts.tsx").then((module) => module.AlertsView));
const LedgerView = lazy(() => import("../views/ledger/ledger.tsx").then((module) => module.LedgerView));
const RolloutsView = lazy(() => import("../views/rollouts/rollouts.tsx").then((module) => module.RolloutsView));

export function App() {
  const session = sessionState.value;
  switch (session.is) {
    case "opening":
      return <Loading />;
    case "out":
      return <SignIn reason={session.reason} />;
    case "failed":
      return (
        <main class="signin">
          <div class="signin-card">
            <h1>The collector does not answer</h1>
            <p>{session.reason}</p>
            <p class="faint">The page tries again every few seconds.</p>
          </div>
        </main>
      );
    case "in":
      // Another environment is another fleet.
      return <Signed key={environment.value ?? ""} />;
  }
}

function Signed() {
  useEffect(() => {
    // The stream is open before the states are read, so that no change falls between the two.
    const stops = [openFleet(), followNodes(), followNotices(), forgetPipelineNames];
    return () => {
      for (const stop of stops) stop();
    };
  }, []);
  return (
    <div class={isKiosk ? "page kiosk" : "page"}>
      <button type="button" class="skip" onClick={() => document.getElementById("main")?.focus()}>
        Skip to the content
      </button>
      {!isKiosk && <Header />}
      <ConnectionBar />
      <main id="main" tabIndex={-1}>
        <View />
      </main>
      <Notices />
      <Questions />
      {!isKiosk && <Palette />}
      {!isKiosk && <Shortcuts />}
    </div>
  );
}

function View() {
  const [name, id] = route.value.path;
  switch (name) {
    case undefined:
    case "fleet":
      return <FleetView />;
    case "nodes":
      return id === undefined ? <FleetView /> : <NodeView key={id} id={id} />;
    case "pipelines":
      return id === undefined ? <PipelinesView /> : <PipelineView key={id} id={id} />;
    case "logs":
      return <LogsView />;
    case "events":
      return <EventsView />;
    case "alerts":
      return <AlertsView />;
    case "ledger":
      return <LedgerView />;
    case "rollouts":
      return <RolloutsView />;
    default:
      return (
        <div class="empty">
          <p class="empty-title">There is nothing at this address</p>
          <a href="#/">To the fleet</a>
        </div>
      );
  }
}
