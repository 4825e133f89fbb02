import { useEffect } from "preact/hooks";
import { listRollouts } from "../../api/control.ts";
import { onDeployment } from "../../state/fleet.ts";
import { environment } from "../../state/session.ts";
import { Answered } from "../../ui/empty.tsx";
import { ScrollCard } from "../../ui/scroll_card.tsx";
import { useQuery } from "../../ui/use_query.ts";
import { RolloutTable } from "./table.tsx";

const REFRESH_MS = 10_000;
/** A rollout sends several events at once. */
const GATHER_MS = 500;

export function RolloutsView() {
  const rollouts = useQuery("rollouts", () => listRollouts({ environment: environment.value, limit: 100 }), REFRESH_MS);
  useEffect(() => {
    document.title = "Rollouts · Systole";
    let timer: ReturnType<typeof setTimeout> | undefined;
    const unlisten = onDeployment(() => {
      timer ??= setTimeout(() => {
        timer = undefined;
        rollouts.reload();
      }, GATHER_MS);
    });
    return () => {
      unlisten();
      clearTimeout(timer);
    };
  }, []);
  return (
    <>
      <h1 class="view-title">Rollouts</h1>
      <ScrollCard label="Rollouts">
        <Answered answer={rollouts}>
          {({ items }) => <RolloutTable rollouts={items} onChange={rollouts.reload} withPipeline />}
        </Answered>
      </ScrollCard>
    </>
  );
}
