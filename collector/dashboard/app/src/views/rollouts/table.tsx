import { useState } from "preact/hooks";
import { decideRollout, type Rollout, readRollout } from "../../api/control.ts";
import { report } from "../../state/notices.ts";
import { nodeLink, pipelineLink } from "../../state/route.ts";
import { canAdminister } from "../../state/session.ts";
import { ask, Dialog } from "../../ui/dialog.tsx";
import { Answered, Empty } from "../../ui/empty.tsx";
import { ACTIONS, PlainTable } from "../../ui/plain_table.tsx";
import { Status } from "../../ui/status.tsx";
import { Ago, Moment } from "../../ui/time.tsx";
import { useQuery } from "../../ui/use_query.ts";

const REFRESH_MS = 3_000;

export function RolloutTable({
  rollouts,
  onChange,
  withPipeline,
}: {
  rollouts: readonly Rollout[];
  onChange: () => void;
  withPipeline?: boolean;
}) {
  const [opened, setOpened] = useState<number | undefined>(undefined);
  if (rollouts.length === 0)
    return <Empty title="No rollout yet" command="systole-collector apply -f orders.toml --wait" />;
  return (
    <>
      <PlainTable
        heads={[
          "Rollout",
          "State",
          ...(withPipeline === true ? ["Of"] : []),
          "Version",
          "Nodes",
          "Started",
          { title: "By", isWideOnly: true },
          ACTIONS,
        ]}
      >
        {rollouts.map((rollout) => (
          <tr key={rollout.id}>
            <td>#{rollout.id}</td>
            <td>
              <div class="two-lines">
                <Status status={rollout.state} />
                {rollout.reason !== "" && (
                  <span class="reason-line" title={rollout.reason}>
                    {rollout.reason}
                  </span>
                )}
              </div>
            </td>
            {withPipeline === true && (
              <td>
                {rollout.pipelineId === null ? (
                  "agents"
                ) : (
                  <a href={pipelineLink(rollout.pipelineId, { tab: "versions" })}>{rollout.pipelineId}</a>
                )}
              </td>
            )}
            <td>
              {rollout.fromVersion != null && <span class="faint">{rollout.fromVersion} → </span>}
              {rollout.pipelineId === null ? (rollout.agentUpdate?.version ?? "–") : rollout.version}
            </td>
            <td>
              <Progress rollout={rollout} />
            </td>
            <td>
              <Moment at={rollout.startedAt} />
            </td>
            <td class="wide-only">{rollout.author}</td>
            <td class="right">
              <span class="row-actions">
                <button type="button" class="small" onClick={() => setOpened(rollout.id)}>
                  Nodes
                </button>
                {canAdminister.value && <Decisions rollout={rollout} onChange={onChange} />}
              </span>
            </td>
          </tr>
        ))}
      </PlainTable>
      {opened !== undefined && <RolloutNodes id={opened} onClose={() => setOpened(undefined)} />}
    </>
  );
}

function Progress({ rollout: { healthy, deploying, failed } }: { rollout: Rollout }) {
  return (
    <span class="progress" title={`${healthy} healthy, ${deploying} deploying, ${failed} failed`}>
      {healthy + deploying + failed > 0 && (
        <span class="state-bar" aria-hidden="true">
          {healthy > 0 && <span class="fill-ok" style={{ flexGrow: healthy }} />}
          {deploying > 0 && <span class="fill-busy" style={{ flexGrow: deploying }} />}
          {failed > 0 && <span class="fill-bad" style={{ flexGrow: failed }} />}
        </span>
      )}
      {healthy} healthy{deploying > 0 && `, ${deploying} deploying`}
      {failed > 0 && `, ${failed} failed`}
    </span>
  );
}

function Decisions({ rollout: { id, state }, onChange }: { rollout: Rollout; onChange: () => void }) {
  const decide = (decision: "resume" | "abort") =>
    ask({
      title: decision === "resume" ? `Continue rollout #${id}?` : `Abort rollout #${id}?`,
      text: decision === "resume" ? "The next nodes get the version." : "Every node goes back to the version before.",
      action: decision === "resume" ? "Continue" : "Abort",
      isDangerous: decision === "abort",
      act: () => decideRollout(id, decision),
      onDone: () => {
        report(`Rollout #${id}: ${decision === "resume" ? "continues" : "is aborted"}`);
        onChange();
      },
    });
  return (
    <>
      {state === "halted" && (
        <button type="button" class="small" onClick={() => decide("resume")}>
          Continue
        </button>
      )}
      {(state === "running" || state === "halted") && (
        <button type="button" class="small danger" onClick={() => decide("abort")}>
          Abort
        </button>
      )}
    </>
  );
}

function RolloutNodes({ id, onClose }: { id: number; onClose: () => void }) {
  const rollout = useQuery(`rollout ${id}`, () => readRollout(id), REFRESH_MS);
  return (
    <Dialog title={`Rollout #${id}`} onClose={onClose} wide>
      <Answered answer={rollout}>
        {({ nodes }) => (
          <PlainTable heads={["Node", "State", "Stage", "Runs", "Changed"]}>
            {nodes.map((node) => (
              <tr key={node.nodeId}>
                <td>
                  <a href={nodeLink(node.nodeId)} onClick={onClose}>
                    {node.nodeName}
                  </a>
                </td>
                <td>
                  <div class="two-lines">
                    <Status status={node.state} />
                    {node.reason !== "" && <span class="reason-line">{node.reason}</span>}
                  </div>
                </td>
                <td>{node.canary ? "canary" : node.stage}</td>
                <td>{node.runningVersion ?? "–"}</td>
                <td>
                  <Ago at={node.changedAt} />
                </td>
              </tr>
            ))}
          </PlainTable>
        )}
      </Answered>
    </Dialog>
  );
}
