import { useEffect, useState } from "preact/hooks";
import { queries } from "../api/http.ts";
import { plural } from "../format/numbers.ts";
import { hasAlerts, loudAlerts } from "../state/alerts.ts";
import { route } from "../state/route.ts";
import { environment, sessionState, signOut } from "../state/session.ts";
import { cycleTheme, isDark } from "../state/theme.ts";
import { Brand } from "../ui/brand.tsx";
import { Icon, type IconName } from "../ui/icons.tsx";
import { ConnectionDot } from "./connection.tsx";
import { isPaletteOpen } from "./palette.tsx";

const PAGES: readonly { path: string; title: string; icon: IconName; views: readonly (string | undefined)[] }[] = [
  { path: "#/", title: "Fleet", icon: "fleet", views: [undefined, "fleet", "nodes"] },
  { path: "#/pipelines", title: "Pipelines", icon: "pipelines", views: ["pipelines"] },
  { path: "#/logs", title: "Logs", icon: "logs", views: ["logs"] },
  { path: "#/events", title: "Events", icon: "events", views: ["events"] },
  { path: "#/ledger", title: "Ledger", icon: "ledger", views: ["ledger"] },
  { path: "#/rollouts", title: "Rollouts", icon: "rollouts", views: ["rollouts"] },
];

export function Header() {
  const view = route.value.path[0];
  return (
    <header class="header">
      <a class="brand" href="#/" aria-label="Systole: the fleet">
        <Brand size={26} />
        <span class="brand-name">Systole</span>
      </a>
      <nav aria-label="Views">
        {PAGES.map(({ path, title, icon, views }) => (
          <a key={path} href={path} aria-current={views.includes(view) ? "page" : undefined}>
            <Icon name={icon} />
            <span>{title}</span>
          </a>
        ))}
      </nav>
      <div class="header-tools">
        <EnvironmentSelect />
        <button type="button" class="search-button" onClick={() => (isPaletteOpen.value = true)}>
          <Icon name="search" size={16} />
          <span>Search</span>
          <kbd>Ctrl K</kbd>
        </button>
        <Bell />
        <ConnectionDot />
        <button
          type="button"
          class="icon-button"
          aria-label={isDark.value ? "Light colours" : "Dark colours"}
          title={isDark.value ? "Light" : "Dark"}
          onClick={cycleTheme}
        >
          <Icon name={isDark.value ? "sun" : "moon"} />
        </button>
        <button
          type="button"
          class="icon-button"
          aria-label="Sign out"
          title={`Sign out (${roleOf()})`}
          onClick={() => void signOut()}
        >
          <Icon name="out" />
        </button>
      </div>
    </header>
  );
}

/** How many alerts fire, the worst of them by its colour. */
function Bell() {
  if (!hasAlerts.value) return null;
  const loud = loudAlerts.value;
  const worst = loud[0]?.severity;
  const text = loud.length === 0 ? "Alerts: none fires" : `Alerts: ${plural(loud.length, "alert")} firing`;
  return (
    <a
      class="button icon-button bell"
      href="#/alerts"
      aria-label={text}
      title={text}
      aria-current={route.value.path[0] === "alerts" ? "page" : undefined}
    >
      <Icon name="bell" />
      {worst !== undefined && (
        <span class={`bell-count is-${worst}`} aria-hidden="true">
          {loud.length > 99 ? "99+" : loud.length}
        </span>
      )}
    </a>
  );
}

function roleOf(): string {
  return sessionState.value.is === "in" ? sessionState.value.session.role : "";
}

/** For tokens that see several environments. */
function EnvironmentSelect() {
  const [names, setNames] = useState<string[]>([]);
  useEffect(() => {
    queries.environments().then(
      ({ items }) => setNames(items.map(({ name }) => name)),
      () => {},
    );
  }, []);
  if (names.length < 2) return null;
  return (
    <select
      aria-label="Environment"
      value={environment.value ?? ""}
      onChange={({ currentTarget }) => (environment.value = currentTarget.value || undefined)}
    >
      <option value="">All environments</option>
      {names.map((name) => (
        <option key={name}>{name}</option>
      ))}
    </select>
  );
}
