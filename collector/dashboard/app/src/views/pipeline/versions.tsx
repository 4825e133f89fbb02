/** The versions that the centre has of a pipeline, their differences, and the rollouts that brought them to nodes. */

import { useState } from "preact/hooks";
import { findDefinition, listRollouts, listVersions, readDiff, rollBack, setPaused } from "../../api/control.ts";
import { report } from "../../state/notices.ts";
import { canAdminister, environment } from "../../state/session.ts";
import { ask, Dialog } from "../../ui/dialog.tsx";
import { Answered, Empty, Failure, Loading } from "../../ui/empty.tsx";
import { ACTIONS, PlainTable } from "../../ui/plain_table.tsx";
import { ScrollCard } from "../../ui/scroll_card.tsx";
import { Moment } from "../../ui/time.tsx";
import { useQuery } from "../../ui/use_query.ts";
import { RolloutTable } from "../rollouts/table.tsx";
import { DiffText } from "./diff.tsx";
import type { TabProps } from "./pipeline.tsx";

const REFRESH_MS = 10_000;

export function VersionsTab({ pipeline }: TabProps) {
  const id = pipeline.id;
  const definition = useQuery(`definition ${id}`, () => findDefinition(id, environment.value), REFRESH_MS);
  const versions = useQuery(
    definition.data === undefined ? undefined : `versions ${id} ${definition.data.version}`,
    () => listVersions(id, environment.value),
  );
  const rollouts = useQuery(
    definition.data === undefined ? undefined : `rollouts ${id}`,
    () => listRollouts({ pipeline: id, environment: environment.value, limit: 20 }),
    REFRESH_MS,
  );
  const [compared, setCompared] = useState<{ from: number; to: number } | undefined>(undefined);
  if (definition.isLoading) return <Loading />;
  if (definition.error !== undefined) return <Failure error={definition.error} retry={definition.reload} />;
  if (definition.data === undefined) {
    return (
      <div class="card">
        <Empty
          title="This pipeline comes from the agents' own files"
          command={`systole-collector apply -f ${id}.toml --dry-run`}
        >
          With a definition at the centre it has versions, differences and rollouts.
        </Empty>
      </div>
    );
  }
  const { version, stableVersion, paused } = definition.data;
  const reload = () => {
    definition.reload();
    rollouts.reload();
  };
  const pause = () =>
    ask({
      title: paused ? `Resume ${pipeline.name}?` : `Pause ${pipeline.name} on every node?`,
      text: paused ? "It starts again on its nodes." : "It is stopped on every node, and not removed.",
      action: paused ? "Resume" : "Pause",
      isDangerous: !paused,
      act: () => setPaused(id, !paused, environment.value),
      onDone: () => {
        report(paused ? "It is resumed" : "It is paused");
        reload();
      },
    });
  const back = (to: number) =>
    ask({
      title: `Go back to version ${to}?`,
      text: "A new version with the content of this one reaches the nodes through a rollout.",
      action: "Roll back",
      act: () => rollBack(id, to, environment.value),
      onDone: () => {
        report(`Version ${to} is on its way as a new version`);
        reload();
      },
    });
  return (
    <>
      <section>
        <div class="section-head">
          <h2 class="section-title">
            Version {version}
            {paused && <span class="badge is-warn">paused</span>}
          </h2>
          {canAdminister.value && (
            <button type="button" onClick={pause}>
              {paused ? "Resume" : "Pause"}
            </button>
          )}
        </div>
        <ScrollCard label="Versions">
          <PlainTable heads={["Version", "Made", "By", "Note", { title: "Checksum", isWideOnly: true }, ACTIONS]}>
            {(versions.data?.items ?? []).map((one) => (
              <tr key={one.version}>
                <td>
                  {one.version} {one.version === stableVersion && <span class="badge is-ok">stable</span>}
                </td>
                <td>
                  <Moment at={one.createdAt} />
                </td>
                <td>{one.author}</td>
                <td>{one.note}</td>
                <td class="mono faint wide-only">{one.checksum.slice(0, 12)}</td>
                <td class="right">
                  <span class="row-actions">
                    <button
                      type="button"
                      class="small"
                      onClick={() => setCompared({ from: one.version - 1, to: one.version })}
                    >
                      Changes
                    </button>
                    {canAdminister.value && one.version !== version && (
                      <button type="button" class="small" onClick={() => back(one.version)}>
                        Roll back to it
                      </button>
                    )}
                  </span>
                </td>
              </tr>
            ))}
          </PlainTable>
        </ScrollCard>
      </section>
      <section>
        <h2 class="section-title">Rollouts</h2>
        <ScrollCard label="Rollouts">
          <Answered answer={rollouts}>{({ items }) => <RolloutTable rollouts={items} onChange={reload} />}</Answered>
        </ScrollCard>
      </section>
      {compared !== undefined && <Compare id={id} {...compared} onClose={() => setCompared(undefined)} />}
    </>
  );
}

function Compare({ id, from, to, onClose }: { id: string; from: number; to: number; onClose: () => void }) {
  const diff = useQuery(`diff ${id} ${from} ${to}`, () => readDiff(id, from, to, environment.value));
  return (
    <Dialog title={from === 0 ? `Version ${to}` : `Version ${from} → ${to}`} onClose={onClose} wide>
      <Answered answer={diff}>{({ diff: text }) => <DiffText text={text} />}</Answered>
    </Dialog>
  );
}
