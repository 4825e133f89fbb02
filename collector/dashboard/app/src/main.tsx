import { render } from "preact";
import { App } from "./shell/app.tsx";
import { begin } from "./state/session.ts";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/parts.css";
import "./styles/table.css";
import "./styles/fleet.css";
import "./styles/views.css";
import "./styles/charts.css";
import "./styles/logs.css";
import "./styles/graph.css";

const root = document.getElementById("app");
if (root === null) throw new Error("the index has an element for the application");
void begin();
render(<App />, root);
